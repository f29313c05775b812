from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.reviewpace import BusFactor, bus_factor, pace, time_budget

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def item(place: int, *said: tuple[str, float | None, int], why: str = "sample", **fields: Any) -> ReviewItem:
    """An item with opinions: by, seconds, days ago."""
    opinions = tuple(Opinion(by=by, verdict="good", seconds=s, at=NOW - timedelta(days=days)) for by, s, days in said)
    state = "done" if said else "open"
    return ReviewItem(
        **{"id": f"rev_{place}", "model": "desk", "request_id": "", "why": why, "state": state, "opinions": opinions, **fields}
    )


def test_pace_is_told_in_all_per_source_and_per_reviewer() -> None:
    items = [
        item(1, ("ana", 60, 0)),
        item(2, ("ana", 180, 0), ("bob", None, 0), why="thumb"),
        item(3, ("bob", 600, 0), why="incident"),
        item(4),
    ]
    found = pace(items)
    assert (found.judged, found.minutes_each, found.an_hour, found.slow) == (
        4,
        pytest.approx(14 / 3),
        pytest.approx(90 / 7),
        True,
    )
    assert {name: s.minutes_each for name, s in found.by_source.items()} == {"incident": 10.0, "sample": 1.0, "thumb": 3.0}
    assert {name: (s.judged, s.minutes_each) for name, s in found.by_reviewer.items()} == {"ana": (2, 2.0), "bob": (2, 10.0)}
    mine = pace(items, by="ana")
    assert (mine.judged, mine.minutes_each, mine.an_hour, mine.slow) == (2, 2.0, 30.0, False)


def test_three_minutes_exactly_are_not_slow_and_no_times_are_no_pace() -> None:
    assert pace([item(1, ("ana", 180, 0))]).slow is False
    assert pace([item(1, ("ana", 180.1, 0))]).slow is True
    empty = pace([])
    assert (empty.judged, empty.minutes_each, empty.an_hour, empty.slow) == (0, None, None, False)
    assert pace([item(1, ("ana", 0.0, 0))]).an_hour is None


def test_a_gold_item_counts_as_what_it_looks_like() -> None:
    assert list(pace([item(1, ("ana", 60, 0), why="thumb", state="gold")]).by_source) == ["sample"]


def test_the_bus_factor_counts_the_fewest_who_did_half_lately() -> None:
    many = [item(i, ("ana", 1, 1)) for i in range(6)] + [item(10 + i, (f"p{i}", 1, 1)) for i in range(6)]
    assert bus_factor(many, NOW).people == 1
    assert bus_factor([*many, item(99, ("bob", 1, 1))], NOW).people == 2
    old = [item(i, ("ana", 1, 91)) for i in range(9)]
    assert bus_factor(old, NOW) == BusFactor(people=0, judged=0, shares={})
    assert bus_factor([*old, item(50, ("bob", 1, 90))], NOW).shares == {"bob": 1.0}


def test_hours_are_held_against_what_is_meant_for_a_first_pass_and_an_update() -> None:
    items = [item(1, ("ana", 3600, 20)), item(2, ("ana", 1800, 1)), item(3), item(4, wants=2)]
    first = time_budget(items, None)
    assert (first.kind, first.low, first.high, first.spent, first.over) == ("first pass", 4.0, 8.0, 1.5, False)
    assert first.ahead == pytest.approx(3 * 0.75)
    update = time_budget(items, NOW - timedelta(days=7))
    assert (update.kind, update.high, update.spent, update.over) == ("update", 2.0, 0.5, True)
    assert time_budget([item(1)], None).ahead is None
