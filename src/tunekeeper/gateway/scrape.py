"""One answer of `/metrics`: the other workers are asked for their counts as they are now, and waited for a moment.

Each worker's snapshot is up to a second old. Whoever is scraped next would then say less than the one before, and a counter that
falls looks like a restart. A worker that is asked writes its snapshot anew; its file shows that it has.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from tunekeeper.core.nouns.serving import RouteTable
from tunekeeper.gateway.metrics import CONTENT_TYPE, Stamp, stamp_of
from tunekeeper.gateway.server import Connection
from tunekeeper.store.published import wake

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway

MOST = 0.1
"""Seconds that are waited for a worker that is busy, stopped or has a full disk; then its last snapshot counts."""
LOOK = 0.002
"""Seconds between two looks."""


class Scrape:
    """One scrape under way."""

    __slots__ = ("_before", "_conn", "_end", "_gateway", "_table", "_timer")

    def __init__(self, gateway: Gateway, conn: Connection, table: RouteTable) -> None:
        """`table`: whose slots and shares are told."""
        self._gateway = gateway
        self._conn = conn
        self._table = table
        self._end = gateway.now() + MOST
        known = {path: stamp_of(path) for path in gateway.metrics.others()}
        woken = [gateway.metrics.path_of(name) for name in wake(gateway.root, but=gateway.metrics.name)]
        self._before: dict[Path, Stamp | None] = {path: known.get(path) for path in woken}
        conn.running = self
        self._timer: asyncio.Handle = gateway.loop.call_soon(self._look)

    def _look(self) -> None:
        gateway = self._gateway
        late = any(stamp_of(path) == stamp for path, stamp in self._before.items())
        if late and gateway.now() < self._end:
            self._timer = gateway.loop.call_later(LOOK, self._look)
            return
        try:
            gateway.save_metrics()
            told = gateway.metrics.text(self._table)
        except Exception:  # noqa: BLE001
            self._conn.fail()  # nobody else answers from a timer
            return
        self._conn.reply(200, told, content_type=CONTENT_TYPE)

    def client_gone(self) -> None:
        """Nobody waits for it."""
        self._timer.cancel()

    def client_slow(self, slow: bool) -> None:
        """The answer is one piece: nothing to hold back."""
