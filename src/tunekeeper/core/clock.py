"""Time, injected. Stamps come from `utc`, deadlines of the product's life from `steady`, latencies and leases from `real`.

`utc` and `steady` may run compressed (the demo's four-hour canary passes in seconds; `store/clockfile.py`); `real` never does:
a compressed clock compresses waiting, never evidence.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What every verb that needs time takes."""

    def utc(self) -> datetime:
        """The moment to stamp records with, in UTC."""

    def steady(self) -> float:
        """Workspace seconds that survive clock jumps and restarts; time powered off counts zero. For deadlines."""

    def real(self) -> float:
        """Monotonic real seconds, never compressed. For latency, leases and time-outs."""

    def sleep(self, seconds: float) -> None:
        """Wait `seconds` of real time."""


class SystemClock:
    """The machine's own time, uncompressed."""

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    real = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to: four hours pass in a test in no time."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)) -> None:
        self.start = start
        self.elapsed = 0.0

    def utc(self) -> datetime:
        return self.start + timedelta(seconds=self.elapsed)

    def steady(self) -> float:
        return self.elapsed

    def real(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; negative values raise ValueError."""
        if seconds < 0:
            raise ValueError("time does not run backwards; set start to simulate a clock jump")
        self.elapsed += seconds
