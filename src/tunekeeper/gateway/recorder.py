"""The log on the request path: records and held tails of one loop tick, one write, then the tails go out.

A plain answer waits whole for its record, so that a full disk is a clean 503; a stream withholds only its last event. Under
`power` one grouped fdatasync in a thread stands between the write and the tails. A write that failed answers nobody.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from tunekeeper.core.errors import OutsideError
from tunekeeper.store.log.spool import Spool

OWED = 10_000
"""Most endings kept to be written once the disk has room again."""


class Waiting(Protocol):
    """Something that goes on when its line is durable, or learns that it is not."""

    def logged(self, error: OutsideError | None) -> None:
        """`error`: None when the line is as durable as was asked for."""


class Recorder:
    """One worker's log."""

    def __init__(self, spool: Spool, loop: asyncio.AbstractEventLoop) -> None:
        self._spool = spool
        self._loop = loop
        self._opened: list[Waiting] = []
        self._held: list[Waiting] = []
        self._power = False
        self._due = False
        self._syncing: asyncio.Future[None] | None = None
        self._unsynced = False
        self._owed: list[dict[str, Any]] = []
        self.failure: str | None = None

    def opened(self, fields: dict[str, Any], waiting: Waiting) -> None:
        """A request is about to be dialled; `waiting` hears only of a failure."""
        self._spool.opened(fields)
        self._opened.append(waiting)
        self._plan()

    def partial(self, request_id: str, text: str, request: bytes | None) -> None:
        """Text of a running stream since the last call."""
        self._spool.partial(request_id, text, request)
        self._plan()

    def ended(self, record: dict[str, Any], waiting: Waiting | None, *, power: bool = False) -> None:
        """A request ended; `waiting` goes on when that is written. `power`: and synced."""
        self._spool.ended(record)
        if waiting is not None:
            self._held.append(waiting)
        self._power = self._power or power
        self._plan()

    def feedback(self, fields: dict[str, Any], waiting: Waiting, *, power: bool = False) -> None:
        """Something was said about an inference."""
        self._spool.feedback(fields)
        self._held.append(waiting)
        self._power = self._power or power
        self._plan()

    def owe(self, record: dict[str, Any]) -> None:
        """Remember an ending that could not be written, to write it when the disk has room: no request stays open."""
        if len(self._owed) < OWED:
            self._owed.append({k: v for k, v in record.items() if k not in ("request", "response")})

    def _plan(self) -> None:
        if not self._due and self._syncing is None:
            self._due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        opened, self._opened = self._opened, []
        held, self._held = self._held, []
        power, self._power = self._power, False
        try:
            written = self._spool.flush()
        except OutsideError as error:
            self.failure = error.message
            _tell(opened + held, error)
            return
        self.failure = None if written else self.failure
        self._unsynced = self._unsynced or bool(written)
        if not power:
            _tell(held, None)
            return
        # New lines wait in the buffer until this sync is over: a segment never grows while its sync may fail.
        self._syncing = self._loop.run_in_executor(None, self._spool.sync)
        self._syncing.add_done_callback(lambda done: self._synced(done, held))

    def _synced(self, done: asyncio.Future[None], held: list[Waiting]) -> None:
        self._syncing = None
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, OutsideError):
            raise error
        self.failure = error.message if error is not None else None
        self._unsynced = False
        _tell(held, error)
        if self._spool.pending:
            self._plan()

    def tick(self) -> None:
        """About once a second: write what is owed, seal old segments."""
        if self._syncing is not None:
            return
        if self._owed:
            owed, self._owed = self._owed, []
            for record in owed:
                self._spool.ended(record)
            try:
                self._spool.flush()
                self.failure = None
            except OutsideError as error:
                self.failure = error.message
                self._owed = owed
        self._spool.tick()
        if self._spool.power and self._unsynced:
            self._power = True
            self._plan()

    def set_power(self) -> None:
        """Some route asks for `power` from now on: segments stay open until they are synced."""
        self._spool.power = True

    async def close(self) -> None:
        """Write what is left and give the writer's lock back. Raises OutsideError."""
        if self._syncing is not None:
            await asyncio.wait((self._syncing,))
        self._flush()
        if self._syncing is not None:
            await asyncio.wait((self._syncing,))
        self._spool.close()


def _tell(waiting: list[Waiting], error: OutsideError | None) -> None:
    for one in waiting:
        one.logged(error)
