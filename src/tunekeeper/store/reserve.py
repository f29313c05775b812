"""A few megabytes laid by when the disk gets short, given up when it is full: a rollback works on a full disk.

The file `reserve` in the data directory is either allocated whole or empty. The gateway lays it by and refuses requests while
it is given away, so that its log never eats what a rollback needs. Loads no database.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tunekeeper.store.space import MARGIN, RESERVE, Level, Space, level_of, measure

Measure = Callable[[Path], Space]
NAME = "reserve"


def reserved(root: Path) -> bool:
    """Whether the reserve of `root` lies there whole."""
    try:
        return (root / NAME).stat().st_size >= RESERVE
    except OSError:
        return False


def lay_by(root: Path) -> bool:
    """Allocate the reserve of `root`; returns whether it lies there now. A disk without room for it keeps what it has."""
    try:
        fd = os.open(root / NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        # Two workers at once do no harm: both allocate the same bytes.
        os.posix_fallocate(fd, 0, RESERVE)
    except OSError:
        os.ftruncate(fd, 0)
        return False
    finally:
        os.close(fd)
    return True


def release(root: Path) -> bool:
    """Give the reserve's room back to the file system; returns whether there was any. Cutting a file needs no room."""
    if not reserved(root):
        return False
    try:
        os.truncate(root / NAME, 0)
    except OSError:
        return False
    return True


def make_room(root: Path, measure: Measure = measure) -> bool:
    """To be called before a write that must not fail for lack of room (a rollback): gives the reserve up when the disk is full.
    Returns whether it did."""
    try:
        return measure(root).free < MARGIN and release(root)
    except OSError:
        return False


class Room:
    """One gateway worker's view of its data directory's room, looked at about once a second."""

    def __init__(self, root: Path, measure: Measure = measure) -> None:
        """`measure`: tells the room of a folder's file system."""
        self._root = root
        self._measure = measure
        self.level = Level.OK

    def look(self) -> Level:
        """Measure, lay the reserve by while the disk is short and has room for it, and return the level."""
        try:
            space = self._measure(self._root)
            if level_of(space, self.level) is Level.OK:
                self.level = Level.OK
                return self.level
            there = reserved(self._root) or (space.free >= RESERVE + MARGIN and lay_by(self._root))
            self.level = level_of(self._measure(self._root), self.level, reserved=there)
        except OSError:
            pass  # a folder that cannot be asked keeps the level it had; writing to it will say what is wrong
        return self.level
