"""The file of the keys' counters: a row a key, a column a worker, a cell of some words where they meet. `counters.py` says what
they mean.

Only its worker writes a column. Whoever takes a column or a row holds the file's lock for some microseconds. A row is given to
another key when nothing in it counts any more.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from tunekeeper.core.errors import OurFault
from tunekeeper.gateway.quotas import Moment

FOLDER, FILE, LOG = "limits", "counters-3", "log"
ROWS, COLUMNS, WORDS = 16_384, 32, 12
"""Keys with limits that count at one time; workers of different names; numbers in a cell."""
_MAGIC = int.from_bytes(b"tklimit3", "little")
_NAMES = 2
_DIRECTORY = 512
CELLS = _DIRECTORY + ROWS
COLUMN = ROWS * WORDS
REQUESTS, TOKENS, PERIOD, SPENT, RUNNING, ASKS, HELD_TOKENS, HELD_SPENT = 0, 2, 4, 6, 8, 9, 10, 11
"""Where each number of a cell lies. The first four have two words: an even and an odd minute, and two budget periods."""
UNDER_WAY = (RUNNING, ASKS, HELD_TOKENS, HELD_SPENT)
"""What dies with its worker."""
MASK = 0xFFFF_FFFF
"""A minute's count lies in the lower half of its word, the minute's number in the upper one."""


class Cells:
    """One worker's column, and its view of the others'."""

    def __init__(self, root: Path, name: str, living: Callable[[], Collection[str]], *, file: str = FILE) -> None:
        """`name`: this worker's. `living`: names of workers that live, this one's too. `file`: its name under `root`/limits.

        Raises OSError when there is no room for the file (its pages are reserved here: a full disk must not fail a later write),
        OurFault when it is not a counter file or has no column left.
        """
        self.path = root / FOLDER / file
        self._living = living
        self._cells: dict[str, tuple[int, int, int]] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with self._locked():
                self._prepare()
                self._map = mmap.mmap(self._fd, (CELLS + COLUMNS * COLUMN) * 8)
                self._view = memoryview(self._map).cast("Q")
                try:
                    self._mine = self._claim(_mark(name))
                except BaseException:
                    self._unmap()
                    raise
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Unmap; what was counted stays."""
        self._unmap()
        os.close(self._fd)

    def forget_dead(self, key_id: str, now: Moment) -> None:
        """Take what dead workers had under way out of a key's count; what they admitted and spent stays counted."""
        row = self._row(key_id, now)
        living = {_mark(name) for name in self._living()}
        for column in range(self._view[1]):
            if column != self._mine and self._view[_NAMES + column] not in living:
                cell = CELLS + column * COLUMN + row * WORDS
                for word in UNDER_WAY:
                    self._view[cell + word] = 0

    def _cell(self, key_id: str, now: Moment) -> int:
        """Our own cell of the key. Raises as `_row`."""
        found = self._cells.get(key_id)
        if found is not None and self._view[found[0]] == found[1]:
            return found[2]
        row = self._row(key_id, now)
        cell = CELLS + self._mine * COLUMN + row * WORDS
        self._cells[key_id] = (_DIRECTORY + row, _mark(key_id), cell)
        return cell

    # ---- rows ----

    def _row(self, key_id: str, now: Moment) -> int:
        """The key's row, taken when it has none. Raises OurFault when every row still counts for another key."""
        mark = _mark(key_id)
        row = self._search(mark)
        if row is not None:
            return row
        with self._locked():
            row = self._search(mark)
            return self._take(mark, now) if row is None else row

    def _search(self, mark: int) -> int | None:
        for row in _order(mark):
            held = self._view[_DIRECTORY + row]
            if held == mark:
                return row
            if not held:
                return None
        return None

    def _take(self, mark: int, now: Moment) -> int:
        free = next((row for row in _order(mark) if not self._view[_DIRECTORY + row]), None)
        if free is None:
            free = next((row for row in _order(mark) if self._void(row, now)), None)
        if free is None:
            raise OurFault(f"{self.path} counts {ROWS} keys already", fix="revoke keys, or make some without limits")
        for column in range(self._view[1]):
            at = CELLS + column * COLUMN + free * WORDS
            for word in range(at, at + WORDS):
                self._view[word] = 0
        self._view[_DIRECTORY + free] = mark
        return free

    def _void(self, row: int, now: Moment) -> bool:
        """Whether nothing in a row counts any more: no minute, no budget period, nothing under way."""
        periods = (now.period("day"), now.period("month"))
        for column in range(self._view[1]):
            at = CELLS + column * COLUMN + row * WORDS
            minutes = self._view[at : at + PERIOD]
            fresh = any(word & MASK and now.minute - 1 <= word >> 32 <= now.minute for word in minutes)
            spent = any(self._view[at + SPENT + one] and self._view[at + PERIOD + one] in periods for one in (0, 1))
            if fresh or spent or self._view[at + RUNNING]:
                return False
        return True

    # ---- the file ----

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Whoever takes a column or a row holds this for some microseconds. Raises OurFault when it cannot be had."""
        for _ in range(200):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.001)
        else:
            raise OurFault(f"{self.path} is locked", fix="end the process that holds it")
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _prepare(self) -> None:
        """Make a new file; look whether an old one is ours."""
        if os.fstat(self._fd).st_size == 0:
            os.posix_fallocate(self._fd, 0, (CELLS + COLUMN) * 8)
            os.pwrite(self._fd, b"".join(n.to_bytes(8, "little") for n in (_MAGIC, 1, _mark(LOG))), 0)
        whole = (CELLS + COLUMNS * COLUMN) * 8
        if os.fstat(self._fd).st_size < whole:
            os.ftruncate(self._fd, whole)
        if int.from_bytes(os.pread(self._fd, 8, 0), "little") != _MAGIC:
            raise OurFault(
                f"{self.path} is not a counter file", fix="remove it and start again: budgets are added up from the log"
            )

    def _claim(self, mark: int) -> int:
        """Our column: the one we had, a new one, or a dead worker's, whose counts go on as ours."""
        view = self._view
        names = list(view[_NAMES : _NAMES + view[1]])
        if mark in names:
            column = names.index(mark)
        elif len(names) < COLUMNS:
            column = len(names)
            os.posix_fallocate(self._fd, (CELLS + column * COLUMN) * 8, COLUMN * 8)
            view[_NAMES + column] = mark
            view[1] = column + 1
        else:
            living = {_mark(name) for name in (*self._living(), LOG)}
            free = next((column for column, held in enumerate(names) if held not in living), None)
            if free is None:
                raise OurFault(f"{self.path} has room for {COLUMNS - 1} workers", fix="start fewer gateway workers")
            column = free
            view[_NAMES + column] = mark
        for row in range(ROWS):
            if view[_DIRECTORY + row]:
                cell = CELLS + column * COLUMN + row * WORDS
                for word in UNDER_WAY:
                    view[cell + word] = 0  # what we had under way before died with us
        return column

    def _unmap(self) -> None:
        self._view.release()
        self._map.close()


def _order(mark: int) -> Iterator[int]:
    """The rows where a mark may lie, in the order in which they are looked at."""
    return ((mark + step) % ROWS for step in range(ROWS))


def _mark(name: str) -> int:
    """A name as one word, never 0."""
    return xxhash.xxh3_64_intdigest(name.encode()) or 1
