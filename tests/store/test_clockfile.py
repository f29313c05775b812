from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.patience import until
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.store import clockfile
from tunekeeper.store.clockfile import CompressedClock, create_clock
from tunekeeper.workspace import compress_clock, create_workspace, open_workspace

Spawn = Callable[..., "subprocess.Popen[str]"]
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = 3600.0


def ask(reader: subprocess.Popen[str]) -> tuple[float, float]:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("\n")
    reader.stdin.flush()
    steady, utc = reader.stdout.readline().split()
    return float(steady), float(utc)


def test_two_processes_read_the_same_compressed_time(tmp_path: Path, spawn: Spawn) -> None:
    create_workspace(tmp_path, clock=compress_clock(tmp_path, start=START, factor=0.0))
    mine = open_workspace(tmp_path).clock
    assert isinstance(mine, CompressedClock)
    mine.heartbeat()
    reader = spawn("read", tmp_path)
    assert ask(reader) == (0.0, START.timestamp())
    mine.heartbeat()
    mine.set_factor(HOUR)
    before = mine.steady()
    theirs, utc = ask(reader)
    after = mine.steady()
    assert before <= theirs <= after
    assert theirs > 0
    assert theirs <= utc - START.timestamp() + 1e-3 <= after + 2e-3
    mine.freeze()
    assert ask(reader)[0] == ask(reader)[0] == mine.steady()


def test_an_hour_passes_in_a_second_and_real_time_does_not_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clockfile, "GRACE", 60.0)
    clock = create_clock(tmp_path, start=START, factor=HOUR)
    clock.heartbeat()
    before, steady, after = clock.real(), clock.steady(), clock.real()
    clock.sleep(0.1)
    early, hurried, late = clock.real(), clock.steady(), clock.real()
    assert early - after >= 0.1
    assert 0.99 * (early - after) * HOUR <= hurried - steady <= 1.01 * (late - before) * HOUR
    assert clock.utc() - START >= timedelta(minutes=6)


def test_without_a_heartbeat_time_stands_still_and_goes_on_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(clockfile, "_boottime", lambda: now[0])
    clock = create_clock(tmp_path, start=START, factor=10.0)
    now[0] += 1.0
    assert clock.steady() == pytest.approx(10.0)
    now[0] += 500.0
    assert clock.steady() == pytest.approx(10.0 * clockfile.GRACE), "it ran for the grace and froze"
    again = CompressedClock(tmp_path)
    again.heartbeat()
    assert again.steady() == clock.steady() == pytest.approx(10.0 * clockfile.GRACE), "the pause was not made up for"
    now[0] += 1.0
    assert clock.steady() == pytest.approx(10.0 * clockfile.GRACE + 10.0)
    assert clock.utc() == START + timedelta(seconds=30)


def test_time_goes_on_where_it_stood_after_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50_000.0]
    monkeypatch.setattr(clockfile, "_boottime", lambda: now[0])
    create_clock(tmp_path, start=START, factor=2.0).heartbeat()
    now[0] = 50_010.0
    first = CompressedClock(tmp_path)
    first.heartbeat()
    stood = first.steady()
    now[0] = 3.0
    monkeypatch.setattr(clockfile, "_boot_id", lambda: "another-boot".ljust(36, "-"))
    after = CompressedClock(tmp_path)
    assert after.steady() <= stood
    after.heartbeat()
    base = after.steady()
    now[0] = 4.0
    assert after.steady() == pytest.approx(base + 2.0)


def test_a_change_of_factor_neither_jumps_nor_runs_back(tmp_path: Path) -> None:
    clock = create_clock(tmp_path, start=START, factor=1000.0)
    other = CompressedClock(tmp_path)
    seen = []
    for factor in (0.0, 5000.0, 1.0, 100.0):
        clock.heartbeat()
        clock.set_factor(factor)
        assert other.factor() == factor
        seen += [clock.steady(), other.steady()]
    assert seen == sorted(seen)
    assert seen[-1] < 5000.0


def test_a_beating_clock_outlives_its_grace_and_stops_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clockfile, "GRACE", 0.6)
    clock = create_clock(tmp_path, start=START, factor=1.0)
    with clock.beating():
        until(lambda: clock.steady() > 0.9)  # without a beat it would stand still at 0.6
    monkeypatch.setattr(clockfile, "GRACE", 0.0)
    assert clock.steady() == clock.steady()


def test_a_clock_that_is_there_is_never_set_back(tmp_path: Path) -> None:
    first = create_clock(tmp_path, start=START, factor=0.0)
    assert compress_clock(tmp_path, start=START + timedelta(days=9), factor=7.0).utc() == START == first.utc()
    assert os.listdir(tmp_path) == ["clock"]


def test_a_workspace_without_a_clock_file_runs_on_the_machines_time(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        CompressedClock(tmp_path)
    assert abs(create_workspace(tmp_path).clock.utc() - datetime.now(UTC)) < timedelta(seconds=60)


@pytest.mark.parametrize("factor", [-1.0, float("inf"), float("nan")])
def test_a_clock_cannot_run_backwards_or_infinitely_fast(tmp_path: Path, factor: float) -> None:
    with pytest.raises(UserError):
        create_clock(tmp_path, start=START, factor=1.0).set_factor(factor)
