"""The disk that a log may take, with real files."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log import Log, cap, partitions
from tunekeeper.store.log.keeper import Keeper
from tunekeeper.store.log.spool import Spool

Record = Callable[..., dict[str, Any]]
HOURS = 4


def noise(seed: int, size: int) -> bytes:
    """A text that no packing makes smaller than `size` bytes."""
    return b'{"text":"%s"}' % random.Random(seed).randbytes(size).hex().encode()


@pytest.fixture
def filled(root: Path, clock: ManualClock, record: Record) -> Path:
    """Four hours of records whose texts take some 60 kB each hour."""
    keeper = Keeper(root, clock)
    for hour in range(HOURS):
        spool = Spool(root, "gateway-0", clock)
        for n in range(20):
            text = noise(hour * 100 + n, 1500)
            spool.ended(record(request=text, response=text))
        spool.close()
        keeper.once()
        clock.advance(3600)
    return root


def hours(root: Path) -> tuple[int, int]:
    """Hours with numbers, and hours with texts."""
    return len(partitions.hours(root, "metrics")), len(partitions.hours(root, "bodies"))


def test_within_its_bound_a_log_loses_nothing(filled: Path) -> None:
    assert cap.keep_within(filled, cap.size(filled)) == []
    assert hours(filled) == (HOURS, HOURS)


def test_the_oldest_texts_go_first_and_no_more_than_must(filled: Path) -> None:
    newest = partitions.hours(filled, "bodies")[-1]
    before = cap.size(filled)
    assert len(cap.keep_within(filled, before - 1)) == 1
    assert hours(filled) == (HOURS, HOURS - 1)
    assert cap.size(filled) < before - 1
    numbers = cap.size(filled) - sum(cap._size(filled / "log" / "bodies" / hour) for hour in partitions.hours(filled, "bodies"))
    cap.keep_within(filled, numbers + cap._size(filled / "log" / "bodies" / newest))
    assert partitions.hours(filled, "bodies") == [newest]
    assert hours(filled) == (HOURS, 1)


def test_numbers_go_when_no_text_is_left_but_for_those_of_the_newest_hour(filled: Path, clock: ManualClock) -> None:
    newest = partitions.hours(filled, "metrics")[-1]
    gone = cap.keep_within(filled, 1)
    assert hours(filled) == (1, 0)
    assert partitions.hours(filled, "metrics") == [newest]
    assert [word.split(" of ")[0] for word in gone] == ["texts"] * HOURS + ["everything"] * (HOURS - 1)
    assert [found.request for found in Log(filled, clock).find()] == [None] * 20


def test_a_keeper_keeps_a_flood_within_the_bound_and_says_what_went(
    root: Path, clock: ManualClock, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    most, keeper = 300_000, Keeper(root, clock, max_bytes=300_000)
    for n in range(20):
        spool = Spool(root, "gateway-0", clock)
        for i in range(10):
            spool.ended(record(request=noise(n * 100 + i, 2500)))
        spool.close()
        clock.advance(360)
        keeper.once()
        assert cap.size(root) <= most
    assert len(Log(root, clock).find(limit=1000)) == 200, "every request is still counted"
    assert "larger than max_gb allows: dropped texts of" in capsys.readouterr().err
