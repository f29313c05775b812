from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data import balance, lines, tallies
from tunekeeper.data.config import Config
from tunekeeper.store.marks import Mark
from tunekeeper.workspace import Workspace


def test_what_packs_know_of_rows_counts_like_the_rows_themselves(ws: Workspace, row: Any) -> None:
    rng = random.Random(1)
    rows = []
    for n in range(300):
        more = {"category": rng.choice(("bug", "refund"))} if rng.random() < 0.8 else {}
        more |= {"created": f"2026-0{rng.randint(1, 9)}-03"} if rng.random() < 0.7 else {}
        made = row(f"q{n}", "a", id=f"t{n}", synthetic=rng.random() < 0.3, **more)
        rows.append(replace(made, split=rng.choice(("train", "eval"))))
    manifest = ws.rows.keep(lines.of_examples(rows), lines.look).manifest
    a, b = tallies.of_examples(rows), tallies.of_reader(ws.rows.open(manifest))
    assert (b.rows, b.topics, b.made_up, b.sides) == (300, a.topics, a.made_up, a.sides)
    assert sorted(b.dates) == sorted(a.dates)
    section = Config(synthetic_share=0.1, recent_share=0.01)
    assert tallies.warnings(b, section) == tallies.warnings(a, section)
    assert len(tallies.warnings(a, section)) >= 2
    assert tallies.recent(a, section) == tallies.recent(b, section) > 0


def test_an_empty_set_has_no_troubles_and_one_of_made_up_rows_is_refused(ws: Workspace, row: Any) -> None:
    nothing = ws.rows.keep([], lambda line: (line, Mark("", False, 0.0))).manifest
    empty = tallies.of_reader(ws.rows.open(nothing))
    assert (empty.rows, tallies.warnings(empty, Config())) == (0, [])
    with pytest.raises(DataError, match="all 2 rows are synthetic"):
        balance.refuse_made_up("desk", tallies.of_examples([row("a", "b", synthetic=True), row("c", "d", synthetic="yes")]))


@pytest.mark.parametrize(("held", "told"), [(5, False), (10, False), (20, False), (50, True), (4, True)])
def test_a_side_that_whole_groups_make_much_larger_or_smaller_than_was_asked_for_is_told(row: Any, held: int, told: bool) -> None:
    rows = [replace(row(f"q{n}", "a"), split="eval" if n < held else "train") for n in range(100)]
    said = tallies.warnings(tallies.of_examples(rows), Config())
    assert [each.startswith(f"{held} of 100 rows ({held:.1f}%) are held out") for each in said] == [True] * told
    assert tallies.warnings(tallies.of_examples(rows[:held]), Config()) == [], "an empty side is refused elsewhere"
