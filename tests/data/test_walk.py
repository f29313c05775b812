from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data import lines, walk
from tunekeeper.data.examples import encode
from tunekeeper.data.tallies import SIDES
from tunekeeper.data.walk import Walk
from tunekeeper.store.marks import digest_of
from tunekeeper.store.runs import MARK, NEW, ROW, Known, Looked


@pytest.fixture
def rows(row: Any) -> list[bytes]:
    """Lines of a draft."""
    made = [row(f"q{n}", "a", id=f"t{n}", category=f"c{n % 3}") for n in range(400)]
    return [encode(replace(each, split="eval" if n % 10 == 0 else "train"), with_split=True) for n, each in enumerate(made)]


def known_of(draft: Sequence[bytes], stretch: int = 100) -> Known:
    """What is known of a draft after it was gone through in stretches of some lines."""
    way = Walk(Known(seed=7))
    seen = [way.over(b"".join(draft[i : i + stretch])) for i in range(0, len(draft), stretch)]
    return Known(
        manifest="m",
        seed=7,
        marks=b"".join(each.marks for each in seen),
        sizes=array("I", b"".join(each.sizes for each in seen)),
        counts=array("I", b"".join(each.counts for each in seen)),
        hashes=b"".join(each.hashes for each in seen),
        sides=b"".join(each.sides for each in seen),
    )


def told(known: Sequence[bytes], seen: Sequence[Looked]) -> list[tuple[bytes, str]]:
    """The rows that were seen, each a line and a side; `known`: the lines of the draft before."""
    found = []
    for each in seen:
        new = iter(zip(lines_of(each), each.sides, strict=True))
        steps = array("I", each.steps).tolist()
        for first, count in zip(steps[::2], steps[1::2], strict=True):
            for turn in range(count):
                if first == NEW:
                    line, side = next(new)
                    found.append((line, SIDES[side]))
                else:
                    found.append(lines.row_of(known[first + turn]))
        assert next(new, None) is None
    return found


def lines_of(seen: Looked) -> list[bytes]:
    """The new rows of a stretch, each with its line end."""
    return seen.text.splitlines(keepends=True)


def new_rows(seen: Sequence[Looked]) -> int:
    return sum(len(lines_of(each)) for each in seen)


def test_where_nothing_is_known_every_row_is_new_and_told(rows: list[bytes]) -> None:
    seen = Walk(Known(seed=3)).over(b"".join(rows))
    assert told([], [seen]) == [lines.row_of(line) for line in rows]
    assert (seen.seed, array("I", seen.steps).tolist()) == (3, [NEW, 400])
    assert array("I", seen.lengths).tolist() == [len(line) for line in lines_of(seen)]
    assert seen.digests == b"".join(digest_of(line) for line in lines_of(seen))
    counted = zip(seen.topics, map(bool, seen.made_up), array("d", seen.dates), strict=True)
    assert [str(each) for each in counted] == [str(tuple(lines.look(line)[1])) for line in lines_of(seen)]
    assert (len(seen.hashes), len(seen.marks)) == (ROW * 400, MARK * len(array("I", seen.counts)))
    assert sum(array("I", seen.counts)) == 400
    assert sum(array("I", seen.sizes)) == len(b"".join(rows))


def test_the_same_draft_is_known_whole_with_the_runs_it_had(rows: list[bytes]) -> None:
    known = known_of(rows)
    seen = Walk(known).over(b"".join(rows))
    assert (seen.text, array("I", seen.steps).tolist()) == (b"", [0, 400])
    assert (seen.marks, array("I", seen.sizes), array("I", seen.counts)) == (known.marks, known.sizes, known.counts)


def changed(rows: Sequence[bytes], how: str, fresh: list[bytes]) -> tuple[list[bytes], int]:
    """The draft after a change, and how many of its rows are new at most."""
    rng, made = random.Random(5), list(rows)
    if how == "edited":
        for at in rng.sample(range(400), 20):
            made[at] = fresh.pop()
        return made, 20
    if how == "removed":
        return [line for line in made if rng.random() > 0.1], 0
    if how == "inserted":
        for _ in range(20):
            made.insert(rng.randrange(400), fresh.pop())
        return made, 20
    if how == "twice":
        return [*made[:50], made[49], *made[50:], made[0]], 1
    if how == "before":
        return [*fresh[:60], *made], 60
    if how == "behind":
        return [*made, *fresh[:60]], 60
    if how == "moved":
        return [*made[200:], *made[:200]], walk.LOST
    if how == "shuffled":
        rng.shuffle(made)
        return made, 3 * walk.LOST
    return made[:3], 0


HOW = ("edited", "removed", "inserted", "twice", "before", "behind", "moved", "shuffled", "cut")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("stretch", [37, 1000])
def test_whatever_was_changed_is_seen_and_little_else_is_looked_at(rows: list[bytes], row: Any, how: str, stretch: int) -> None:
    fresh = [encode(row(f"new {n}", "b", id=f"n{n}"), with_split=True) for n in range(100)]
    after, most = changed(rows, how, fresh)
    way = Walk(known_of(rows))
    seen = [way.over(b"".join(after[i : i + stretch])) for i in range(0, len(after), stretch)]
    assert told(rows, seen) == [lines.row_of(line) for line in after]
    assert new_rows(seen) <= most
    # What is then known is as good as what a first look would know.
    counts = [n for each in seen for n in array("I", each.counts)]
    assert sum(counts) == len(after)
    assert sum(n for each in seen for n in array("I", each.sizes)) == len(b"".join(after))


def test_a_way_that_begins_inside_finds_where_it_is(rows: list[bytes]) -> None:
    seen = Walk(known_of(rows), inside=True).over(b"".join(rows[250:]))
    assert told(rows, [seen]) == [lines.row_of(line) for line in rows[250:]]
    assert new_rows([seen]) == 0


def test_many_small_changes_leave_runs_that_are_worth_it(rows: list[bytes]) -> None:
    rng, draft = random.Random(2), list(rows)
    for _ in range(30):
        known = known_of(draft)
        before = list(draft)
        for _ in range(4):
            draft.pop(rng.randrange(len(draft)))
        seen = Walk(known).over(b"".join(draft))
        assert told(before, [seen]) == [lines.row_of(line) for line in draft]
    assert len(draft) == 280
    assert len(draft) / len(array("I", seen.counts)) > walk.LEAST


def test_a_stretch_may_begin_behind_other_bytes_and_end_without_a_line_end(rows: list[bytes]) -> None:
    seen = Walk(known_of(rows)).over(b"xx" + b"".join(rows)[:-1], 2)
    assert told(rows, [seen]) == [lines.row_of(line) for line in rows]
    assert new_rows([seen]) == 1


def test_a_line_that_is_no_row_is_an_error(rows: list[bytes]) -> None:
    with pytest.raises(DataError, match="a stored row is damaged"):
        Walk(Known()).over(b"".join([*rows, b"not a row\n"]))


def test_a_row_that_is_written_otherwise_is_new_and_becomes_canonical(rows: list[bytes]) -> None:
    seen = Walk(known_of(rows)).over(b"".join([*rows[:5], b" " + rows[5], *rows[6:]]))
    assert seen.text == lines.row_of(rows[5])[0]
