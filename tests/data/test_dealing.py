from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, drafts
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]
SYLLABLES = ("ka", "lo", "mi", "tu", "re", "sa", "vo", "ne")


def test_an_import_of_rows_that_resemble_each_other_leaks_nothing_to_the_side_it_holds_out(
    ws: Workspace, task: Model, write: Write
) -> None:
    rng = random.Random(5)
    words = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]
    asked = []
    for _ in range(60):
        *begin, end = rng.sample(words, 16)
        asked += [" ".join([*begin[:-1], other, end]) for other in rng.sample(words, 3)]  # 75 % alike, no near duplicates
    rows = [{"prompt": text, "completion": f"That is answer {n}."} for n, text in enumerate(asked)]
    data.import_files(ws, task, Config(), [write("first.jsonl", rows[::2])])
    data.import_files(ws, task, Config(), [write("later.jsonl", rows[1::2])])
    assert checks.check(ws, task, Config(), only="leak").findings == ()
    assert 14 <= sum(row.split == "eval" for row in drafts.load_draft(ws, "desk")) <= 18
    assert len(checks.check(ws, task, Config(near_duplicate=0.6), only="near_duplicate").findings) > 100
