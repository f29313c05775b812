from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.patience import until
from tunekeeper.core.errors import DataError, NotFound, OutsideError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import duplicates
from tunekeeper.data.duplicates import Groups, exact_duplicates, near_duplicates, near_pairs_of_file, similar_pairs

MakeExample = Callable[..., Example]
Write = Callable[[str, Iterable[Any]], Path]


SENTENCES = ("the parcel left our house on monday", "please send it back to us", "we charged your card once", "regards from oslo")


def drafted(write: Write, prompts: Sequence[str], answer: str = "as you like it") -> Path:
    """A draft's file with these prompts."""
    system = {"role": "system", "content": "Answer each of these questions in a friendly way"}
    talks = [[system, {"role": "user", "content": text}, {"role": "assistant", "content": answer}] for text in prompts]
    return write("draft.jsonl", [{"id": f"r{i}", "messages": talk, "metadata": {}} for i, talk in enumerate(talks)])


def varied(n: int) -> list[str]:
    rng = random.Random(3)
    texts = [f"{rng.choice(SENTENCES)} and {rng.choice(SENTENCES)} {rng.randrange(30)}" for _ in range(n - 3)]
    return [*texts, "", texts[0].upper(), "再见了，我的朋友们"]


def test_a_file_has_the_pairs_of_its_texts(write: Write) -> None:
    texts = varied(500)
    path = drafted(write, texts)
    expected = list(similar_pairs(texts, 0.7))
    assert len(expected) > 100
    assert list(near_pairs_of_file(path, 0.7, of="prompt")) == expected
    whole = list(similar_pairs([f"{text}\nas you like it" for text in texts], 0.7))
    assert list(near_pairs_of_file(path, 0.7, of="conversation")) == whole != expected


def test_many_texts_are_compared_by_another_process_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*varied(400), "a lone \ud800 surrogate here", "a lone \ud800 surrogate here!"]
    here = list(similar_pairs(texts, 0.8))
    monkeypatch.setattr(duplicates, "MANY", 100)
    assert list(similar_pairs(texts, 0.8)) == here


def test_a_file_without_rows_has_no_pairs_and_none_is_refused(tmp_path: Path, write: Write) -> None:
    assert list(near_pairs_of_file(write("draft.jsonl", []), 0.7, of="prompt")) == []
    with pytest.raises(NotFound, match=r"gone\.jsonl is not there"):
        list(near_pairs_of_file(tmp_path / "gone.jsonl", 0.7, of="prompt"))


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"messages": 3}', b'{"messages": [3]}', b'"\xff"'])
def test_a_line_that_is_no_row_is_named(write: Write, line: bytes) -> None:
    path = write("draft.jsonl", [{"messages": []}, line])
    with pytest.raises(DataError, match=r"draft\.jsonl:2: not a row with messages"):
        list(near_pairs_of_file(path, 0.7, of="conversation"))


def searches() -> list[psutil.Process]:
    """The searches that this process has started; what other tests left running is none of them."""
    return [child for child in psutil.Process().children() if "tunekeeper.data.nearfile" in child.cmdline()]


def test_a_killed_search_is_an_error_and_not_fewer_pairs(write: Write) -> None:
    pairs = near_pairs_of_file(drafted(write, ["the same again"] * 20_000), 0.7, of="prompt")
    assert next(pairs) == (0, 1, 1.0)
    (child,) = searches()  # it waits: more pairs than a pipe holds
    child.kill()
    with pytest.raises(OutsideError, match=r"near duplicates in draft\.jsonl was killed by signal 9"):
        list(pairs)


def test_a_search_ends_when_nobody_wants_it_any_more(write: Write) -> None:
    pairs = near_pairs_of_file(drafted(write, ["the same again"] * 20_000), 0.7, of="prompt")
    next(pairs)
    assert len(searches()) == 1
    pairs.close()  # type: ignore[attr-defined]
    assert searches() == []


def test_a_search_ends_with_the_process_that_asked(write: Write) -> None:
    path = drafted(write, ["the same again"] * 20_000)
    code = (
        "import sys, time, psutil; from pathlib import Path; from tunekeeper.data.duplicates import near_pairs_of_file as near;"
        "pairs = near(Path(sys.argv[1]), 0.7, of='prompt'); next(pairs);"
        "print(psutil.Process().children()[0].pid, flush=True); time.sleep(600)"
    )
    asking = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert asking.stdout is not None
    child = psutil.Process(int(asking.stdout.readline()))
    asking.kill()
    asking.communicate()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_near_duplicate_names_the_row_it_is_most_like(row: MakeExample) -> None:
    text = " ".join(f"word{i}" for i in range(40))
    rows = [
        row(text, "a", id="a"),
        row(text + " more", "a", id="b"),
        row(text + " more!", "a", id="c"),
        row("short", "a", id="d"),
    ]
    assert [(f.id, f.of) for f in near_duplicates(rows, 0.85)] == [("b", "a"), ("c", "b")]


def test_an_exact_duplicate_names_the_first(row: MakeExample) -> None:
    rows = [row("Hi", "a", id="a"), row("Hi ", "a", id="b"), row("hi", "a", id="c")]
    assert [(f.id, f.of, f.file, f.line) for f in exact_duplicates(rows)] == [("b", "a", "x.jsonl", 1)]


def test_groups_join_transitively() -> None:
    groups = Groups(5)
    groups.join(3, 4)
    groups.join_equal(["a", None, "b", "a", None])
    assert groups.members() == {0: [0, 3, 4], 1: [1], 2: [2]}
