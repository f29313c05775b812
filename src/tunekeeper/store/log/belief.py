"""Whether the clock is believed when it says that records are past their keeping: one that is wrong, for a moment or since the
machine started, would take a year of them with it.

A clock that goes on from where it was believed last is right. One that is more than a day ahead of that (it was set, or the
machine was off) is believed once it has gone on for an hour of running: by then a clock that was wrong is set right. When that
was is kept with the log, for the next start. The records' own stamps are no evidence: the same clock makes them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tunekeeper.store.log import partitions

JUMP = 86_400.0
"""Seconds that a clock may be ahead of where it was believed last."""
DOUBT = 3600.0
"""Seconds for which one that is further ahead is doubted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """What is thought of the clock."""

    ahead: float
    """By how many seconds the calendar was ahead of the steady clock when it was believed last."""
    doubted: float | None = None
    """The same of a calendar that is doubted; None: it is believed."""
    since: float = 0.0
    """Steady second from which on that one was seen."""


def look(belief: Belief, calendar: float, steady: float) -> Belief:
    """What to think of a clock that says `calendar` (seconds since 1970) at the second `steady`."""
    ahead = calendar - steady
    if ahead <= belief.ahead + JUMP:
        return Belief(ahead=ahead)
    if belief.doubted is None or abs(ahead - belief.doubted) > JUMP:
        return replace(belief, doubted=ahead, since=steady)
    return Belief(ahead=ahead) if steady - belief.since >= DOUBT else belief


def note(root: Path, moment: datetime) -> None:
    """Keep with the log that the clock was believed at `moment`; a full disk leaves it unsaid."""
    with contextlib.suppress(OSError):
        partitions.write_whole(_path(root), moment.isoformat().encode())


def noted(root: Path) -> datetime | None:
    """When the clock was believed last; None where nobody ever looked, or the file is damaged."""
    try:
        return datetime.fromisoformat(_path(root).read_text("ascii")).astimezone(UTC)
    except (OSError, ValueError, OverflowError):
        return None


def _path(root: Path) -> Path:
    return root / "log" / "believed"
