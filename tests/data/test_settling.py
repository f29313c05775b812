from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data import contradictions
from tunekeeper.data.archives import nameless
from tunekeeper.data.examples import answer_key
from tunekeeper.data.settling import believed, contradicting, described, is_later
from tunekeeper.data.shelf import Shelf

MakeExample = Callable[..., Example]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with nameless(tmp_path) as (file, _):
        yield Shelf(file=file)


def put(shelf: Shelf, examples: list[Example]) -> None:
    for example in examples:
        shelf.add(example)
    shelf.file.flush()


def test_groups_and_findings_are_those_of_the_rows_themselves(shelf: Shelf, row: MakeExample) -> None:
    rng = random.Random(4)
    rows = [row(f"question {rng.randint(0, 40)}!", rng.choice("abc"), id=str(n)) for n in range(200)]
    put(shelf, rows)
    theirs = contradictions.contradicting_groups(rows)
    ours = contradicting(shelf, range(len(rows)))
    assert [[rows[place] for place in group] for group in ours] == theirs
    assert len(ours) > 20
    for mine, group in zip(ours, theirs, strict=True):
        assert [found for _, found in described(shelf, mine, mine)] == contradictions.describe(group, group)
    backwards = list(range(200))[::-1]
    assert [[rows[p] for p in group] for group in contradicting(shelf, backwards)] == contradictions.contradicting_groups(
        rows[::-1]
    )
    assert contradicting(shelf, []) == []


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ([("a", "2026-01-01"), ("b", "2026-01-03"), ("a", "2026-01-02")], "b"),
        ([("a", "2026-01-03"), ("b", "2026-01-03T00:00:00+00:00"), ("a", "2026-01-01")], "a"),
        ([("a", None), ("b", "2026-01-03"), ("a", None)], "a"),
        ([("a", None), ("b", None)], None),
        ([("a", None), ("b", None), ("b", None), ("c", None)], None),
    ],
)
def test_the_newest_answer_is_believed_then_that_of_more_than_half_else_none(
    shelf: Shelf, row: MakeExample, said: list[tuple[str, str | None]], answer: str | None
) -> None:
    rows = [row("question", text, id=str(n), **({"created": at} if at else {})) for n, (text, at) in enumerate(said)]
    put(shelf, rows)
    found = believed(shelf, range(len(rows)), lambda place: 1)
    assert {answer_key(e) for e, known in zip(rows, shelf.answers, strict=True) if known == found} == (
        {answer} if answer else set()
    )


def test_votes_count_how_often_a_row_was_seen(shelf: Shelf, row: MakeExample) -> None:
    put(shelf, [row("question", "a"), row("question", "b")])
    votes = Counter({0: 1, 1: 2})
    assert believed(shelf, [0, 1], votes.__getitem__) == shelf.answers[1]


def test_a_row_is_later_only_where_both_sides_have_a_date(shelf: Shelf, row: MakeExample) -> None:
    put(shelf, [row("q", "a", created="2026-01-02"), row("q", "b", created="2026-01-01"), row("q", "c")])
    assert is_later(shelf, [0], [1])
    assert not is_later(shelf, [1], [0])
    assert not is_later(shelf, [0], [2])
    assert is_later(shelf, [0, 2], [1, 2])
