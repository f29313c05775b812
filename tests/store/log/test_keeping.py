"""How long the log keeps: what a keeper would drop, and what it said of itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.store.log import Log
from tunekeeper.store.log.keeper import Keeper
from tunekeeper.store.log.keeping import Keeping, Survey, kept, note, noted, survey


def inference(clock: ManualClock, age: timedelta, *, text: bool = True) -> Inference:
    request = {"messages": []} if text else None
    return Inference(request_id=f"r{age.total_seconds()}", timestamp=clock.utc() - age, model_id="m", request=request)


@pytest.mark.parametrize("minutes", [30, 59, 61, 90, 119, 121])
def test_what_is_said_to_be_dropped_is_what_a_keeper_drops(root: Path, clock: ManualClock, minutes: int) -> None:
    keeping, days = Keeping(days=1.0), timedelta(days=1, minutes=minutes)
    one, log = inference(clock, days), Log(root, clock)
    log.append_import([one])
    Keeper(root, clock, days=1.0).once()
    assert [each.request_id for each in log.find()] == [each.request_id for each in kept([one], keeping, clock.utc())]


def test_a_survey_counts_records_and_texts_apart(clock: ManualClock) -> None:
    ages = [timedelta(days=days) for days in (50, 9, 8, 1)]
    rows = [*(inference(clock, age) for age in ages), inference(clock, timedelta(days=9), text=False)]
    keeping = Keeping(days=40.0, body_days=7.0)
    assert survey(rows, keeping, clock.utc()) == Survey(rows=5, past_days=1, past_body_days=2)
    assert survey(rows, Keeping(), clock.utc()) == Survey(rows=5)


def test_a_keeper_says_what_it_keeps(root: Path) -> None:
    assert noted(root) is None
    (root / "run").mkdir(parents=True)
    note(root, Keeping(days=395.0, body_days=None))
    assert noted(root) == Keeping(days=395.0)
    (root / "run" / "keeping.json").write_text("{broken")
    assert noted(root) is None
