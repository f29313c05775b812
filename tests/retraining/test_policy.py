from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.retraining.config import Config
from tunekeeper.retraining.policy import Facts, choose

NOW = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)
READY = Facts(
    trigger=Trigger(id="trg_1", model="desk", reason="RETR-01", summary="accuracy is 80.0 % (n=60)"),
    cycle_open=False,
    last_closed=NOW - timedelta(days=8),
    corrections=50,
    level=3,
    now=NOW,
)


def test_a_reason_with_something_to_learn_from_opens_a_cycle_and_says_why() -> None:
    found = choose(READY, Config())
    assert (found.open, found.why) == (True, "RETR-01: accuracy is 80.0 % (n=60); 50 corrections collected")


@pytest.mark.parametrize(
    ("changes", "opens", "why"),
    [
        ({"cycle_open": True}, False, "under way"),
        ({"level": 2}, False, "maturity level 2: a person opens cycles"),
        ({"level": 4}, True, ""),
        ({"last_closed": NOW - timedelta(days=6, hours=23)}, False, "cool-down until 2026-01-12 10:00 UTC"),
        ({"last_closed": NOW - timedelta(days=7)}, True, ""),
        ({"last_closed": None}, True, ""),
        ({"corrections": 49}, False, "49 of 50 corrections"),
        ({"corrections": 0, "cycle_open": True}, False, "under way"),
    ],
)
def test_what_holds_a_cycle_back(changes: dict[str, Any], opens: bool, why: str) -> None:
    found = choose(replace(READY, **changes), Config(cooldown_days=7.0, min_corrections=50))
    assert found.open is opens
    assert why in found.why
