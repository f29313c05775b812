"""What keys with limits used, in one mapped file that all workers share: `limits/counters-2`.

A key has a row, a worker a column, and only that worker writes its cell; a row's sum is what counts. Every number is one aligned
word, so it is read whole, and it is in the kernel's page as soon as it is written: kill -9 loses nothing that was counted. Minute
counts carry the number of their minute and are void in any other one, so nothing has to be reset in time.

Several workers never let more through than a limit, nor less: before one reads the sum it marks in its cell that it asks, and
whoever reads that counts one more for it. Only where that one more decides do they go one after the other, behind a lock.

What a request may use at most is held while it is under way. A worker writes that first and then reads the sum, so that two never
both take the last of a limit; who finds too much gives it back and looks again behind the lock.

Column 0 belongs to the log: what was spent before, as the supervisor added it up at its start (`processes/budgets.py`).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import xxhash

from tunekeeper.core.errors import OurFault
from tunekeeper.gateway.quotas import NOTHING, Held, Moment, Used
from tunekeeper.gateway.refusals import Refusal

FOLDER, FILE, LOG = "limits", "counters-2", "log"
ROWS, COLUMNS, WORDS = 16_384, 32, 10
"""Keys with limits that count at one time; workers of different names; numbers in a cell."""
_MAGIC = int.from_bytes(b"tklimit2", "little")
_NAMES = 2
_DIRECTORY = 512
_CELLS = _DIRECTORY + ROWS
_COLUMN = ROWS * WORDS
_REQUESTS, _TOKENS, _PERIOD, _SPENT, _RUNNING, _ASKS, _HELD_TOKENS, _HELD_SPENT = 0, 2, 4, 5, 6, 7, 8, 9
_ASKING, _QUEUED = 1, 2
"""What a worker does at a key: reads the sum, or waits for its turn to."""
_LOOKS = 20
"""How often, a ten thousandth of a second apart, whoever has the lock looks whether the others have read."""
_WHOLE_CELL = struct.Struct(f"@{WORDS}Q").unpack_from
"""A cell's words, each read whole: native order and alignment."""
_ALONE = 2
"""Columns of a file in which one worker counts."""
_MASK = 0xFFFF_FFFF
_MOST = 2**63 - 1


class Counters:
    """One worker's column, and its view of the others'."""

    def __init__(self, root: Path, name: str, living: Callable[[], Collection[str]], *, file: str = FILE) -> None:
        """`name`: this worker's. `living`: names of workers that live, this one's too. `file`: its name under `root`/limits.

        Raises OSError when there is no room for the file (its pages are reserved here: a full disk must not fail a later write),
        OurFault when it is not a counter file or has no column left.
        """
        self.path = root / FOLDER / file
        self._living = living
        self._cells: dict[str, tuple[int, int, int]] = {}
        self._fence = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with self._locked():
                self._prepare()
                self._map = mmap.mmap(self._fd, (_CELLS + COLUMNS * _COLUMN) * 8)
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

    # ---- reading ----

    def used(self, key_id: str, period: int, now: Moment) -> Used:
        """What all workers counted of a key. `period`: number of its budget period. Raises as `_row`."""
        minute = now.minute
        now_at, last_at = minute & 1, 1 - (minute & 1)
        last_requests = requests = last_tokens = tokens = running = held_tokens = held_spent = 0
        first = self._cell(key_id, now) - self._mine * _COLUMN
        spent = self._view[first + _SPENT] if self._view[first + _PERIOD] == period else 0  # the log's column: nothing else in it
        for column in range(1, self._view[1]):
            cell = _WHOLE_CELL(self._map, (first + column * _COLUMN) * 8)
            if cell[now_at] >> 32 == minute:
                requests += cell[now_at] & _MASK
            if cell[last_at] >> 32 == minute - 1:
                last_requests += cell[last_at] & _MASK
            if cell[_TOKENS + now_at] >> 32 == minute:
                tokens += cell[_TOKENS + now_at] & _MASK
            if cell[_TOKENS + last_at] >> 32 == minute - 1:
                last_tokens += cell[_TOKENS + last_at] & _MASK
            if cell[_PERIOD] == period:
                spent += cell[_SPENT]
            running += cell[_RUNNING]
            held_tokens += cell[_HELD_TOKENS]
            held_spent += cell[_HELD_SPENT]
        return Used(last_requests, requests, last_tokens, tokens, spent, running, held_tokens, held_spent)

    # ---- taking one of what a limit allows ----

    def take(
        self, key_id: str, period: int, now: Moment, judge: Callable[[Used], Refusal | None], *, runs: bool
    ) -> tuple[Refusal | None, Used]:
        """Count one more request unless `judge` refuses it for what is used. Returns the refusal and what was used before.

        `runs`: one more is under way as well. Raises as `_row`, and OurFault when the others' lock cannot be had.
        """
        cell, view = self._cell(key_id, now), self._view
        if view[1] <= _ALONE:
            return self._decide(cell, now, judge, self.used(key_id, period, now), 0, runs=runs)
        view[cell + _ASKS] = _ASKING
        with self._fence:  # taken and given back: our mark is in memory before the others' are read
            pass
        try:
            others = self._asking(cell)  # first: what is no longer marked when it is looked at is counted then
            refusal, used = self._decide(cell, now, judge, self.used(key_id, period, now), others, runs=runs)
            if refusal is None or not others or judge(used) is not None:
                return refusal, used
            view[cell + _ASKS] = _QUEUED
            with self._locked():
                others = self._still_reading(key_id, cell, now)
                return self._decide(cell, now, judge, self.used(key_id, period, now), others, runs=runs)
        finally:
            view[cell + _ASKS] = 0

    def _decide(
        self, cell: int, now: Moment, judge: Callable[[Used], Refusal | None], used: Used, others: int, *, runs: bool
    ) -> tuple[Refusal | None, Used]:
        """`others`: requests that may be counted at this moment, and are taken to be."""
        refusal = judge(_more(used, others) if others else used)
        if refusal is None:
            self._add(cell + _REQUESTS, now.minute, 1)
            if runs:
                self._view[cell + _RUNNING] += 1
        return refusal, used

    def _asking(self, cell: int, *marks: int) -> int:
        """How many others ask at the key of our `cell`: with one of `marks`, or with any."""
        view, first, found = self._view, cell - self._mine * _COLUMN + _ASKS, 0
        for column in range(1, view[1]):
            mark = view[first + column * _COLUMN]
            if mark and column != self._mine and (not marks or mark in marks):
                found += 1
        return found

    def _still_reading(self, key_id: str, cell: int, now: Moment) -> int:
        """With the lock held: wait for those that read when we came, and return how many still do. A dead worker's mark is taken
        away."""
        for _ in range(_LOOKS):
            if not self._asking(cell, _ASKING):
                return 0
            time.sleep(0.0001)
        self.forget_dead(key_id, now)
        return self._asking(cell, _ASKING)

    def hold(
        self, key_id: str, period: int, now: Moment, held: Held, used: Used, judge: Callable[[Used], Refusal | None]
    ) -> tuple[Refusal | None, Used]:
        """Hold what one request may use unless `judge` refuses it for what is used and held by others. `used`: what `take` said
        in this moment, which is still so where one worker counts. Returns the refusal and what was judged. Raises as `take`."""
        cell, view = self._cell(key_id, now), self._view
        if view[1] <= _ALONE:
            refusal = judge(used)
            if refusal is None:
                view[cell + _HELD_TOKENS] += held.tokens
                view[cell + _HELD_SPENT] += held.spent
            return refusal, used
        refusal, used = self._hold_first(cell, key_id, period, now, held, judge)
        if refusal is None:
            return None, used
        with self._locked():  # somebody may have held what it then gave back
            return self._hold_first(cell, key_id, period, now, held, judge)

    def _hold_first(
        self, cell: int, key_id: str, period: int, now: Moment, held: Held, judge: Callable[[Used], Refusal | None]
    ) -> tuple[Refusal | None, Used]:
        view = self._view
        view[cell + _HELD_TOKENS] += held.tokens
        view[cell + _HELD_SPENT] += held.spent
        with self._fence:  # as in `take`: what we hold is in memory before the others' is read
            pass
        used = self.used(key_id, period, now)
        used = msgspec.structs.replace(used, held_tokens=used.held_tokens - held.tokens, held_spent=used.held_spent - held.spent)
        refusal = judge(used)
        if refusal is not None:
            self._let_go(cell, held)
        return refusal, used

    def _let_go(self, cell: int, held: Held) -> None:
        view = self._view
        for word, count in ((cell + _HELD_TOKENS, held.tokens), (cell + _HELD_SPENT, held.spent)):
            if count:
                view[word] -= min(count, view[word])

    # ---- writing: our own cell only ----

    def admitted(self, key_id: str, now: Moment) -> None:
        """One more request."""
        self._add(self._cell(key_id, now) + _REQUESTS, now.minute, 1)

    def began(self, key_id: str, now: Moment) -> None:
        """One more under way."""
        self._view[self._cell(key_id, now) + _RUNNING] += 1

    def refused(self, key_id: str, now: Moment) -> None:
        """One request less: it was admitted in this minute, and refused before anybody was asked."""
        at = self._cell(key_id, now) + _REQUESTS + (now.minute & 1)
        if self._view[at] >> 32 == now.minute and self._view[at] & _MASK:
            self._view[at] -= 1

    def stopped(self, key_id: str, now: Moment) -> None:
        """One less under way, which used nothing."""
        at = self._cell(key_id, now) + _RUNNING
        if self._view[at]:
            self._view[at] -= 1

    def ended(self, key_id: str, period: int, now: Moment, *, tokens: int, spent: int, held: Held = NOTHING) -> None:
        """One less under way, what it used, and what was held for it. `spent`: thousand-millionths of a USD."""
        at, view = self._cell(key_id, now), self._view
        if view[at + _RUNNING]:
            view[at + _RUNNING] -= 1
        if tokens:
            self._add(at + _TOKENS, now.minute, tokens)
        if spent:
            self._spend(at, period, spent)
        if held is not NOTHING:
            self._let_go(at, held)  # last: at no moment is it neither held nor counted

    def spend(self, key_id: str, period: int, now: Moment, spent: int) -> None:
        """Charge a key's budget of `period`."""
        self._spend(self._cell(key_id, now), period, spent)

    def _spend(self, at: int, period: int, spent: int) -> None:
        view = self._view
        if view[at + _PERIOD] != period:
            view[at + _SPENT] = 0  # before its period is named, so that nobody reads the old sum under the new one
            view[at + _PERIOD] = period
        view[at + _SPENT] = min(view[at + _SPENT] + spent, _MOST)

    def forget_dead(self, key_id: str, now: Moment) -> None:
        """Take what dead workers had under way out of a key's count; what they admitted and spent stays counted."""
        row = self._row(key_id, now)
        living = {_mark(name) for name in self._living()}
        for column in range(self._view[1]):
            if column != self._mine and self._view[_NAMES + column] not in living:
                cell = _CELLS + column * _COLUMN + row * WORDS
                for word in (_RUNNING, _ASKS, _HELD_TOKENS, _HELD_SPENT):
                    self._view[cell + word] = 0

    def _cell(self, key_id: str, now: Moment) -> int:
        """Our own cell of the key. Raises as `_row`."""
        found = self._cells.get(key_id)
        if found is not None and self._view[found[0]] == found[1]:
            return found[2]
        row = self._row(key_id, now)
        cell = _CELLS + self._mine * _COLUMN + row * WORDS
        self._cells[key_id] = (_DIRECTORY + row, _mark(key_id), cell)
        return cell

    def _add(self, at: int, minute: int, count: int) -> None:
        at += minute & 1  # even and odd minutes have a word each, so that the last one's count outlives the turn
        word = self._view[at]
        before = word & _MASK if word >> 32 == minute else 0
        self._view[at] = minute << 32 | min(before + count, _MASK)

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
            at = _CELLS + column * _COLUMN + free * WORDS
            for word in range(at, at + WORDS):
                self._view[word] = 0
        self._view[_DIRECTORY + free] = mark
        return free

    def _void(self, row: int, now: Moment) -> bool:
        """Whether nothing in a row counts any more: no minute, no budget period, nothing under way."""
        periods = (now.period("day"), now.period("month"))
        for column in range(self._view[1]):
            at = _CELLS + column * _COLUMN + row * WORDS
            minutes = self._view[at : at + _PERIOD]
            fresh = any(word & _MASK and now.minute - 1 <= word >> 32 <= now.minute for word in minutes)
            if fresh or self._view[at + _RUNNING] or (self._view[at + _SPENT] and self._view[at + _PERIOD] in periods):
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
            os.posix_fallocate(self._fd, 0, (_CELLS + _COLUMN) * 8)
            os.pwrite(self._fd, b"".join(n.to_bytes(8, "little") for n in (_MAGIC, 1, _mark(LOG))), 0)
        whole = (_CELLS + COLUMNS * _COLUMN) * 8
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
            os.posix_fallocate(self._fd, (_CELLS + column * _COLUMN) * 8, _COLUMN * 8)
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
                cell = _CELLS + column * _COLUMN + row * WORDS
                for word in (_RUNNING, _ASKS, _HELD_TOKENS, _HELD_SPENT):
                    view[cell + word] = 0  # what we had under way before died with us
        return column

    def _unmap(self) -> None:
        self._view.release()
        self._map.close()


def _more(used: Used, others: int) -> Used:
    return msgspec.structs.replace(used, requests=used.requests + others, running=used.running + others)


def _order(mark: int) -> Iterator[int]:
    """The rows where a mark may lie, in the order in which they are looked at."""
    return ((mark + step) % ROWS for step in range(ROWS))


def _mark(name: str) -> int:
    """A name as one word, never 0."""
    return xxhash.xxh3_64_intdigest(name.encode()) or 1
