"""How short of room the data directory is: from two numbers of the file system to one of five levels. Loads no database.

A level needs both a share and little room in absolute terms: 85 % of a disk of terabytes is no shortage.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

RESERVE = 4 << 20
"""Bytes of the reserve file that a rollback may use on a full disk."""
MARGIN = 1 << 20
"""Free bytes under which a disk counts as full for whoever may use the reserve."""
EASE = 0.02
"""How far the used share must fall below a threshold before its level ends, so that nothing flaps."""


class Level(IntEnum):
    """What is given up as room gets short; each level includes those before it."""

    OK = 0
    """Room enough."""
    LOW = 1
    """An alert."""
    NO_BODIES = 2
    """Requests and answers are logged without their bodies."""
    NO_SHADOW = 3
    """No copies go to shadow slots."""
    FULL = 4
    """Requests are refused: nothing can be logged, and what is left belongs to rollbacks."""

    @property
    def word(self) -> str:
        """The level's name as answers and alerts say it, e.g. `no_bodies`."""
        return self.name.lower()


THRESHOLDS = ((Level.NO_SHADOW, 0.95, 1 << 30), (Level.NO_BODIES, 0.90, 2 << 30), (Level.LOW, 0.80, 5 << 30))
"""Level, used share from which it holds, free bytes below which it holds: both must."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A file system's room."""

    total: int
    """Bytes that we could ever use on it, the used ones included; at least 1."""
    free: int
    """Bytes that we can still use."""

    @property
    def used(self) -> float:
        """Used share, 0 to 1."""
        return 1.0 - self.free / self.total


def level_of(space: Space, before: Level = Level.OK, *, reserved: bool = True) -> Level:
    """The level that holds now. `before`: the level until now, which ends only `EASE` below its threshold. `reserved`: whether
    the reserve file lies there; where it was given away, the room it left is nobody else's and the disk counts as full."""
    if not reserved and space.free < RESERVE + MARGIN:
        return Level.FULL
    for level, share, free in THRESHOLDS:
        if space.used >= (share - EASE if before >= level else share) and space.free < free:
            return level
    return Level.OK


def measure(root: Path) -> Space:
    """The room of the file system that `root` lies on, as an ordinary user sees it. Raises OSError."""
    found = os.statvfs(root)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    free = found.f_bavail * found.f_frsize
    return Space(total=max(1, used + free), free=free)
