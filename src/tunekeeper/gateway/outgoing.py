"""The client's side of one answer: whole, or as a stream that has begun or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekeeper.gateway.heads import answer_head, chunk
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.server import JSON, Connection, Running

if TYPE_CHECKING:
    from tunekeeper.gateway.record import Record
    from tunekeeper.gateway.worker import Gateway

EVENTS = b"text/event-stream"
LAST = b"0\r\n\r\n"
NO_CACHE = b"cache-control: no-cache\r\n"


class Outgoing:
    """What one client is told."""

    __slots__ = ("_conn", "_gateway", "_owner", "_record", "begun")

    def __init__(self, gateway: Gateway, conn: Connection, owner: Running, record: Record) -> None:
        """`owner`: the request that the connection is busy with. `record`: what its identity headers are read from."""
        self._gateway = gateway
        self._conn = conn
        self._owner = owner
        self._record = record
        self.begun = False
        conn.running = owner

    @property
    def here(self) -> bool:
        """Whether the client still waits for this answer."""
        return self._conn.running is self._owner

    @property
    def slow(self) -> bool:
        """Whether the client has not taken yet what was written to it."""
        return self.here and self._conn.slow

    def taken(self) -> bool:
        """Whether it has taken any of that since this was last asked."""
        return self._conn.taken()

    def cut(self) -> None:
        """Give it up, without another byte."""
        self._conn.cut()

    def send(self, data: bytes) -> None:
        """A piece of a stream; the first one sends the head before it."""
        self._write(data if self._conn.old else chunk(data))

    def _write(self, framed: bytes) -> None:
        conn = self._conn
        if not self.begun:
            self.begun = True
            extra = self._gateway.identity(self._record) + NO_CACHE
            framed = answer_head(200, EVENTS, None, extra, close=conn.closes or conn.old, old=conn.old) + framed
        conn.transport.write(framed)

    def end(self, last: bytes) -> None:
        """The last event of a stream, if any, and its end."""
        if self._conn.old:
            if last:
                self._write(last)
            self._conn.transport.close()
        else:
            self._write(chunk(last) + LAST if last else LAST)
        self._conn.over()

    def reply(self, status: int, body: bytes, extra: bytes) -> None:
        """A whole answer."""
        self._conn.reply(status, body, self._gateway.identity(self._record) + extra, JSON)

    def refuse(self, refusal: Refusal) -> None:
        """An error, as an event where a stream has begun."""
        if self.begun:
            self.end(refusal.event())
        else:
            self._conn.refuse(refusal, self._gateway.identity(self._record))
