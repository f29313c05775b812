"""What keys with limits used, in one mapped file that all workers share: `limits/counters-3`.

A key has a row, a worker a column, and only that worker writes its cell; a row's sum is what counts. Every number is one aligned
word, so it is read whole, and it is in the kernel's page as soon as it is written: kill -9 loses nothing that was counted. Minute
counts carry the number of their minute and are void in any other one, so nothing has to be reset in time.

Several workers never let more through than a limit, nor less: before one reads the sum it marks in its cell that it asks, and
whoever reads that counts one more for it. Only where that one more decides do they go one after the other, behind a lock.

What a request may use at most is held while it is under way. A worker writes that first and then reads the sum, so that two never
both take the last of a limit; who finds too much gives it back and looks again behind the lock.

Column 0 belongs to the log: what was spent before, as the supervisor added it up at its start (`processes/budgets.py`). A cell
holds two budget periods, so that a clock that is set over the end of one and back again finds what was spent in the first.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable

import msgspec

from tunekeeper.gateway.cells import (
    ASKS,
    COLUMN,
    HELD_SPENT,
    HELD_TOKENS,
    MASK,
    PERIOD,
    REQUESTS,
    RUNNING,
    SPENT,
    TOKENS,
    WORDS,
    Cells,
)
from tunekeeper.gateway.quotas import NOTHING, Held, Moment, Used
from tunekeeper.gateway.refusals import Refusal

_ASKING, _QUEUED = 1, 2
"""What a worker does at a key: reads the sum, or waits for its turn to."""
_LOOKS = 20
"""How often, a ten thousandth of a second apart, whoever has the lock looks whether the others have read."""
_WHOLE_CELL = struct.Struct(f"@{WORDS}Q").unpack_from
"""A cell's words, each read whole: native order and alignment."""
_ALONE = 2
"""Columns of a file in which one worker counts."""
_MOST = 2**63 - 1


class Counters(Cells):
    """What one worker counts, and how it reads what all do."""

    _fence = threading.Lock()

    # ---- reading ----

    def used(self, key_id: str, period: int, now: Moment) -> Used:
        """What all workers counted of a key. `period`: number of its budget period. Raises as `_row`."""
        minute = now.minute
        now_at, last_at = minute & 1, 1 - (minute & 1)
        last_requests = requests = last_tokens = tokens = running = held_tokens = held_spent = 0
        first = self._cell(key_id, now) - self._mine * COLUMN
        spent = self._spent(first, period)  # the log's column: nothing else in it
        for column in range(1, self._view[1]):
            cell = _WHOLE_CELL(self._map, (first + column * COLUMN) * 8)
            if cell[now_at] >> 32 == minute:
                requests += cell[now_at] & MASK
            if cell[last_at] >> 32 == minute - 1:
                last_requests += cell[last_at] & MASK
            if cell[TOKENS + now_at] >> 32 == minute:
                tokens += cell[TOKENS + now_at] & MASK
            if cell[TOKENS + last_at] >> 32 == minute - 1:
                last_tokens += cell[TOKENS + last_at] & MASK
            if cell[PERIOD] == period:
                spent += cell[SPENT]
            elif cell[PERIOD + 1] == period:
                spent += cell[SPENT + 1]
            running += cell[RUNNING]
            held_tokens += cell[HELD_TOKENS]
            held_spent += cell[HELD_SPENT]
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
        view[cell + ASKS] = _ASKING
        with self._fence:  # taken and given back: our mark is in memory before the others' are read
            pass
        try:
            others = self._asking(cell)  # first: what is no longer marked when it is looked at is counted then
            refusal, used = self._decide(cell, now, judge, self.used(key_id, period, now), others, runs=runs)
            if refusal is None or not others or judge(used) is not None:
                return refusal, used
            view[cell + ASKS] = _QUEUED
            with self._locked():
                others = self._still_reading(key_id, cell, now)
                return self._decide(cell, now, judge, self.used(key_id, period, now), others, runs=runs)
        finally:
            view[cell + ASKS] = 0

    def _decide(
        self, cell: int, now: Moment, judge: Callable[[Used], Refusal | None], used: Used, others: int, *, runs: bool
    ) -> tuple[Refusal | None, Used]:
        """`others`: requests that may be counted at this moment, and are taken to be."""
        refusal = judge(_more(used, others) if others else used)
        if refusal is None:
            self._add(cell + REQUESTS, now.minute, 1)
            if runs:
                self._view[cell + RUNNING] += 1
        return refusal, used

    def _asking(self, cell: int, *marks: int) -> int:
        """How many others ask at the key of our `cell`: with one of `marks`, or with any."""
        view, first, found = self._view, cell - self._mine * COLUMN + ASKS, 0
        for column in range(1, view[1]):
            mark = view[first + column * COLUMN]
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
                view[cell + HELD_TOKENS] += held.tokens
                view[cell + HELD_SPENT] += held.spent
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
        view[cell + HELD_TOKENS] += held.tokens
        view[cell + HELD_SPENT] += held.spent
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
        for word, count in ((cell + HELD_TOKENS, held.tokens), (cell + HELD_SPENT, held.spent)):
            if count:
                view[word] -= min(count, view[word])

    # ---- writing: our own cell only ----

    def admitted(self, key_id: str, now: Moment) -> None:
        """One more request."""
        self._add(self._cell(key_id, now) + REQUESTS, now.minute, 1)

    def began(self, key_id: str, now: Moment) -> None:
        """One more under way."""
        self._view[self._cell(key_id, now) + RUNNING] += 1

    def refused(self, key_id: str, now: Moment) -> None:
        """One request less: it was admitted in this minute, and refused before anybody was asked."""
        at = self._cell(key_id, now) + REQUESTS + (now.minute & 1)
        if self._view[at] >> 32 == now.minute and self._view[at] & MASK:
            self._view[at] -= 1

    def stopped(self, key_id: str, now: Moment) -> None:
        """One less under way, which used nothing."""
        at = self._cell(key_id, now) + RUNNING
        if self._view[at]:
            self._view[at] -= 1

    def ended(self, key_id: str, period: int, now: Moment, *, tokens: int, spent: int, held: Held = NOTHING) -> None:
        """One less under way, what it used, and what was held for it. `spent`: thousand-millionths of a USD."""
        at, view = self._cell(key_id, now), self._view
        if view[at + RUNNING]:
            view[at + RUNNING] -= 1
        if tokens:
            self._add(at + TOKENS, now.minute, tokens)
        if spent:
            self._spend(at, period, spent)
        if held is not NOTHING:
            self._let_go(at, held)  # last: at no moment is it neither held nor counted

    def spend(self, key_id: str, period: int, now: Moment, spent: int) -> None:
        """Charge a key's budget of `period`."""
        self._spend(self._cell(key_id, now), period, spent)

    def _spend(self, at: int, period: int, spent: int) -> None:
        view = self._view
        one, other = view[at + PERIOD], view[at + PERIOD + 1]
        if one != period and (other == period or abs(other - period) > abs(one - period)):  # the farther one gives way
            at += 1
        if view[at + PERIOD] != period:
            view[at + SPENT] = 0  # before its period is named, so that nobody reads the old sum under the new one
            view[at + PERIOD] = period
        view[at + SPENT] = min(view[at + SPENT] + spent, _MOST)

    def _spent(self, at: int, period: int) -> int:
        view = self._view
        if view[at + PERIOD] == period:
            return view[at + SPENT]
        return view[at + SPENT + 1] if view[at + PERIOD + 1] == period else 0

    def _add(self, at: int, minute: int, count: int) -> None:
        at += minute & 1  # even and odd minutes have a word each, so that the last one's count outlives the turn
        word = self._view[at]
        before = word & MASK if word >> 32 == minute else 0
        self._view[at] = minute << 32 | min(before + count, MASK)


def _more(used: Used, others: int) -> Used:
    return msgspec.structs.replace(used, requests=used.requests + others, running=used.running + others)
