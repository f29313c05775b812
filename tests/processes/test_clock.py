from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunekeeper.processes import plans
from tunekeeper.workspace import compress_clock

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def test_a_clock_at_the_pace_of_the_world_is_kept_going(tmp_path: Path) -> None:
    clock = compress_clock(tmp_path, start=START, factor=1.0)
    beat, began = plans.heartbeat(tmp_path), time.monotonic()
    beat()
    before = clock.utc()
    time.sleep(0.05)
    assert clock.utc() > before
    assert clock.unattended() <= time.monotonic() - began


def test_a_hurried_clock_belongs_to_whoever_set_its_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "OWNER_GONE", 300.0)
    clock = compress_clock(tmp_path, start=START, factor=900.0)
    clock.heartbeat()
    plans.heartbeat(tmp_path)()
    assert clock.factor() == 900.0


@pytest.mark.parametrize("factor", [900.0, 0.0])
def test_when_its_owner_is_gone_time_goes_on_at_the_pace_of_the_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    clock = compress_clock(tmp_path, start=START, factor=factor)
    clock.heartbeat()
    monkeypatch.setattr(plans, "OWNER_GONE", 0.05)
    time.sleep(0.1)
    began = time.monotonic()
    plans.heartbeat(tmp_path)()
    assert clock.factor() == 1.0
    assert clock.unattended() <= time.monotonic() - began
