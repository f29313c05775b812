"""The log on the request path: records and held tails of one loop tick, one write, then the tails go out.

A plain answer waits whole for its record, so that a full disk is a clean 503; a stream withholds only its last event. Under
`power` one grouped fdatasync in a thread stands between the write and the tails. A write that failed answers nobody.
As room gets short the log does without bodies; on a full disk nothing is tried but once a second, so that what a rollback needs
is left to it and everything goes on by itself when room returns.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from tunekeeper.core.errors import DiskFull, OutsideError
from tunekeeper.store.log.spool import Opened, Spool
from tunekeeper.store.reserve import Room
from tunekeeper.store.space import Level

OWED = 10_000
"""Most endings kept to be written once the disk has room again."""
ROOM = "free disk space"


class Waiting(Protocol):
    """Something that goes on when its line is durable, or learns that it is not."""

    def logged(self, error: OutsideError | None) -> None:
        """`error`: None when the line is as durable as was asked for."""


class Recorder:
    """One worker's log."""

    def __init__(self, spool: Spool, loop: asyncio.AbstractEventLoop, room: Room | None = None) -> None:
        """`room`: watched about once a second; None for a log whose disk never gets short."""
        self._room = room
        self._full: str | None = None
        self.level = Level.OK
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

    def opened(self, fields: dict[str, Any], waiting: Waiting) -> Opened:
        """A request is about to be dialled; `waiting` hears only of a failure."""
        opened = self._spool.opened(fields)
        self._opened.append(waiting)
        self._plan()
        return opened

    def partial(self, request_id: str, text: str, request: bytes | None, sealed: str | None = None) -> None:
        """Text of a running stream since the last call. `sealed`: as of `Spool.partial`."""
        if self.level >= Level.NO_BODIES:
            return
        self._spool.partial(request_id, text, request, sealed)
        self._plan()

    def ended(
        self,
        record: dict[str, Any],
        waiting: Waiting | None,
        *,
        power: bool = False,
        opened: Opened | None = None,
        line: bytes | None = None,
    ) -> None:
        """A request ended; `waiting` goes on when that is written. `power`: and synced. `opened`: what `opened` gave for the same
        record, as long as those fields still say the same: they are written once for both lines. `line`: what `ended_line` made
        of both before. While room is short the bodies are taken out of `record`, and it says why."""
        if self.level >= Level.NO_BODIES and ("request" in record or "response" in record):
            record.pop("request", None)
            record.pop("response", None)
            record["bodies_off"] = "disk"
            line = None
        self._spool.ended(record, awaited=power and waiting is not None, opened=opened, line=line)
        if waiting is not None:
            self._held.append(waiting)
        self._power = self._power or power
        self._plan()

    def feedback(self, fields: dict[str, Any], waiting: Waiting, *, power: bool = False) -> None:
        """Something was said about an inference."""
        self._spool.feedback(fields, awaited=power)
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
            written = self._flushed()
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

    def _flushed(self) -> int:
        """As `Spool.flush`, but a disk that was full is left alone until the next `tick`."""
        if self._full is not None:
            self._spool.forget()
            raise DiskFull(self._full, fix=ROOM)
        try:
            return self._spool.flush()
        except DiskFull as error:
            self._full = error.message
            raise

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
        """About once a second: look at the room, write what is owed, seal old segments."""
        if self._syncing is not None:
            return
        if self._look() and (self.failure is not None or self._owed):
            self._pay()
        self._spool.tick()
        if self._spool.power and self._unsynced:
            self._power = True
            self._plan()

    def _look(self) -> bool:
        """Take note of the room there is; returns whether the log may be written to."""
        room = Level.OK if self._room is None else self._room.look()
        if room is not Level.FULL:
            self.level = Level.FULL if self._full is not None else room
            return True
        self._full = self._full or "what room is left on the disk belongs to rollbacks"
        self.level, self.failure = room, self._full
        return False

    def _pay(self) -> None:
        """Write one line to see whether the disk takes any, then everything owed."""
        if self._due and self._full is None:
            return  # lines wait already: they are the trial
        owed, self._owed = self._owed, []
        try:
            if not owed:
                self._spool.probe()
            for part in (owed[:1], owed[1:]):
                for record in part:
                    self._spool.ended(record)
                self._spool.flush()
        except OutsideError as error:
            self.failure, self._owed = error.message, owed
            return
        self._unsynced = True
        self.failure = self._full = None
        self.level = Level.OK if self._room is None else self._room.level

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
