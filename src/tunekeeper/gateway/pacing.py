"""A flood's refusals are given slowly: refusing costs the worker as much as half an answer, and others wait behind it.

The first refusals of a key go out at once. Beyond `FREE` in a row its next ones wait their turn, `RATE` a second, so that who
asks again and again spends its own time. Nobody waits longer than `MOST`, and what waits costs next to nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tunekeeper.gateway.refusals import Refusal

if TYPE_CHECKING:
    from tunekeeper.gateway.server import Connection

FREE = 50
"""Refusals of one key that wait for nothing, when it asked for little before."""
RATE = 200.0
"""Refusals a second of one key, in each worker."""
MOST = 1.0
"""Most seconds that a refusal waits."""
MOST_KEYS = 4096
"""Keys that are remembered; beyond them all begin anew."""


class Pacer:
    """One worker's refusals."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def wait(self, key_id: str, now: float) -> float:
        """Seconds that the refusal of a key's request of `now` is to wait, 0 to `MOST`."""
        turn = min(max(self._next.get(key_id, 0.0), now - FREE / RATE), now + MOST)
        if len(self._next) >= MOST_KEYS:
            self._next.clear()
        self._next[key_id] = turn + 1 / RATE
        return max(0.0, turn - now)


class Held:
    """A refusal that waits for its turn."""

    __slots__ = ("_conn", "_extra", "_refusal", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, conn: Connection, refusal: Refusal, extra: bytes, seconds: float) -> None:
        """`extra`: header lines that go with it."""
        self._conn = conn
        self._refusal = refusal
        self._extra = extra
        conn.running = self
        self._timer = loop.call_later(seconds, self._tell)

    def _tell(self) -> None:
        if self._conn.running is self:
            self._conn.refuse(self._refusal, self._extra)

    def client_gone(self) -> None:
        """Nobody waits for it."""
        self._timer.cancel()

    def client_slow(self, slow: bool) -> None:
        """It is small: nothing to hold back."""
