from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import freeze, import_files, worklog
from tunekeeper.data.config import Config
from tunekeeper.data.plan import as_text, good_pace, plan
from tunekeeper.store.ledgers.reviews import save_review
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]


def rows(n: int, start: int = 0, **more: Any) -> list[dict[str, Any]]:
    return [{"instruction": f"What is case {i}?", "output": f"It is answer number {i}.", **more} for i in range(start, start + n)]


def judged(place: int, seconds: float | None, verdict: Any = "good", at: Any = None, **fields: Any) -> ReviewItem:
    opinion = Opinion(by="ana", verdict=verdict, seconds=seconds, at=at)
    known = {"id": f"rev_{place}", "model": "desk", "request_id": f"r{place}", "why": "sample", "state": "done"}
    return ReviewItem(**{**known, "opinions": (opinion,), **fields})


def test_before_anything_is_collected_the_plan_goes_by_the_usual_pace(ws: Workspace) -> None:
    found = plan(ws, "desk")
    assert (found.kind, found.have, found.kept) == ("first", 0, None)
    assert (found.collecting.low, found.collecting.high) == (found.reviewing.low, found.reviewing.high) == (4, 8)
    assert (found.stage.low, found.stage.high, found.stage.spent) == (4, 20, 0)
    assert (found.pace.low, found.pace.high, found.pace.measured) == (30, 50, False)
    half, whole = found.goals
    assert (half.examples, half.missing, whole.examples, whole.missing) == (500, 500, 1000, 1000)
    assert (half.review_low, half.review_high) == (10, pytest.approx(500 / 30))
    assert (half.total_low, half.total_high, half.fits) == (14, pytest.approx(8 + 500 / 30), "perhaps")
    assert (whole.fits, plan(ws, "desk", examples=[200]).goals[0].fits) == ("over", "within")
    assert found.in_budget == (240, 400)
    assert as_text(found)[0] == "500 examples: 500 are missing; 14.0 to 24.7 h in all, perhaps within the 20 h meant"


def test_the_teams_own_pace_takes_the_place_of_the_usual_one_from_ten_timed_judgments_on() -> None:
    few = [judged(i, 60) for i in range(9)]
    assert not good_pace(few).measured
    steady = good_pace([*few, judged(9, 60)])
    assert (steady.measured, steady.low, steady.high, steady.minutes_each) == (True, 60, 60, 1)
    # Every second judgment gives nothing: two minutes an example, and gold items do not count.
    mixed = [judged(i, 60, "good" if i % 2 else "bad") for i in range(40)]
    gold = [judged(100 + i, 900, state="gold") for i in range(20)]
    found = good_pace([*mixed, *gold])
    assert (found.timed, found.good, found.minutes_each, found.slow) == (40, 20, pytest.approx(2), False)
    assert found.low < 30 < found.high
    assert good_pace([judged(i, 200) for i in range(12)]).slow
    assert not good_pace([judged(i, 60, "bad") for i in range(12)]).measured
    assert not good_pace([judged(i, None) for i in range(12)]).measured


def test_the_interval_of_the_pace_holds_the_true_one_nearly_always() -> None:
    rng, held = random.Random(3), 0
    for _ in range(300):
        items = [judged(i, rng.expovariate(1 / 80), "edited" if rng.random() < 0.8 else "bad") for i in range(40)]
        found = good_pace(items)
        held += found.low <= 3600 / (80 / 0.8) <= found.high
    assert held >= 275


def test_hours_spent_examples_that_are_there_and_the_yield_shorten_what_is_ahead(
    ws: Workspace, task: Model, write: Write, clock: ManualClock
) -> None:
    bad = [{"instruction": f"What is case {i}?", "output": ""} for i in range(900, 925)]
    import_files(ws, task, Config(), [write("a.jsonl", [*rows(75), *rows(5, 500, metadata={"synthetic": True}), *bad])])
    clock.advance(timedelta(minutes=12).total_seconds())
    import_files(ws, task, Config(), [write("b.jsonl", rows(20, 100))])
    worklog.save_hours(ws, "desk", 5, by="ana")
    with ws.state.write(by="test") as tx:
        for i in range(60):
            save_review(tx, judged(i, 60, at=clock.utc()))
    found = plan(ws, "desk", examples=[95, 575], hours_a_week=4)
    assert (found.have, found.kept) == (95, pytest.approx(100 / 125))
    assert "there are 95 examples; 5 synthetic ones do not count" in as_text(found)
    assert found.collecting.spent == pytest.approx(5.2)
    assert (found.reviewing.spent, found.stage.spent) == (pytest.approx(1), pytest.approx(6.2))
    done, ahead = found.goals
    assert (done.missing, done.total_low, done.total_high, done.fits) == (0, found.stage.spent, found.stage.spent, "within")
    assert (ahead.missing, ahead.rows) == (480, 600)
    assert (ahead.review_low, ahead.total_low, ahead.total_high) == (8, pytest.approx(14.2), pytest.approx(17))
    assert ahead.weeks == (2, pytest.approx((8 + 2.8) / 4))
    assert "measured pace: 60 to 60 good examples an hour" in "\n".join(as_text(found))


def test_after_a_freeze_the_plan_is_that_of_an_update(ws: Workspace, task: Model, write: Write, clock: ManualClock) -> None:
    import_files(ws, task, Config(), [write("a.jsonl", rows(40))])
    worklog.save_hours(ws, "desk", 5, by="ana")
    clock.advance(60)
    freeze(ws, task, Config())
    clock.advance(60)
    import_files(ws, task, Config(), [write("b.jsonl", rows(7, 100))])
    found = plan(ws, "desk")
    assert (found.kind, found.have, found.collecting.spent) == ("update", 7, 0)
    assert (found.collecting.high, found.reviewing.high, found.stage.low, found.stage.high) == (4, 2, 3, 6)
    assert [(goal.examples, goal.missing) for goal in found.goals] == [(50, 43), (100, 93)]


@pytest.mark.parametrize("bad", [{"examples": [0]}, {"hours_a_week": 0.0}, {"hours_a_week": float("nan")}])
def test_a_plan_for_nothing_is_refused(ws: Workspace, bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="at least one example"):
        plan(ws, "desk", **bad)
