from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.archives import nameless
from tunekeeper.data.examples import answer_key, encode, question_key
from tunekeeper.data.shelf import Shelf
from tunekeeper.text.fingerprints import prompt_key


def test_rows_come_back_as_they_were_put_down_under_the_id_they_have_now(tmp_path: Path, row: Callable[..., Example]) -> None:
    rows = [row(f"Größe {n}\u2028?", "so", id=f"t{n}", user_id=n % 2) for n in range(20)]
    with nameless(tmp_path) as (file, path):
        shelf = Shelf(file=file)
        assert [shelf.add(example) for example in rows] == list(range(20))
        file.flush()
        assert path.read_bytes() == b"".join(map(encode, rows))
        assert list(tmp_path.iterdir()) == [], "nothing is left where this process is killed"
        assert [shelf.example(place) for place in (19, 0, 7)] == [rows[19], rows[0], rows[7]]
        shelf.rename(7, "t7#2")
        assert shelf.example(7) == replace(rows[7], id="t7#2")
        assert list(shelf.lines([7, 8])) == [encode(replace(rows[7], id="t7#2")), encode(rows[8])]


def test_rows_that_ask_answer_or_belong_the_same_have_the_same_digests(tmp_path: Path, row: Callable[..., Example]) -> None:
    rows = [row(question, answer, conversation_id=talk) for question in ("A?", " a", "b") for answer in ("1", "1.", "2")
            for talk in (None, "x", "y")]  # fmt: skip
    rows.append(replace(rows[0], tools=({"type": "function"},)))
    with nameless(tmp_path) as (file, _):
        shelf = Shelf(file=file)
        for example in rows:
            shelf.add(example)
        found = shelf.rows(np.arange(len(rows)))
    for numbers, key in (
        (shelf.questions, question_key),
        (shelf.answers, answer_key),
        (found.prompts.tolist(), lambda e: prompt_key(e.messages)),
        (found.groups[0].tolist(), lambda e: e.metadata.get("conversation_id")),
    ):
        for i, a in enumerate(rows):
            for j, b in enumerate(rows):
                assert (numbers[i] == numbers[j]) == (key(a) == key(b))
