"""The client side: kept connections to model servers, one request at a time on each.

A request that finds its kept connection dead before a single byte came back goes out once more on a fresh one; nothing else is
ever sent twice. An answer that breaks HTTP, ends early or grows beyond its bound is a failure, never half an answer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import httptools

from tunekeeper.gateway.coding import CodingError, Unpacker
from tunekeeper.gateway.tables import Address

KEPT_IDLE = 256
DEAD_LINK = 7
"""Seconds after which a connection counts as lost whose other end neither takes bytes nor answers the kernel's own questions.
What was asked over a kept one then dials anew, which may take the connect deadline: together under ten."""
KNOWN = 512
"""Answer heads that are known again by their bytes, at most; a longer one than KNOWN_BYTES is not worth it."""
KNOWN_BYTES = 2048
END = b"\r\n\r\n"
HEAD_BYTES = 262_144
"""Most bytes of an answer's head, with the interim ones before it, to one read of the socket: it is looked at after each."""
_WANTED = frozenset((b"content-type", b"retry-after", b"date", b"content-length", b"transfer-encoding", b"content-encoding"))


class Sink(Protocol):
    """What receives one answer; exactly one of `upstream_end` and `upstream_failed` is the last call."""

    def upstream_sent(self) -> None:
        """The request went out on a live connection."""

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Status and the few headers that matter, lower-case."""

    def upstream_body(self, data: bytes) -> None:
        """A piece of the body."""

    def upstream_end(self) -> None:
        """The answer is whole."""

    def upstream_failed(self, code: str, message: str) -> None:
        """It did not become whole: a code of `refusals.CODES` and one sentence."""


class Request:
    """One request on its way; `abort` it when nobody wants the answer any more."""

    __slots__ = ("connection", "data", "done", "fresh", "pool", "sink", "task")

    def __init__(self, pool: Pool, data: bytes, sink: Sink) -> None:
        self.pool = pool
        self.data = data
        self.sink = sink
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None
        self.done = False
        self.fresh = False

    def abort(self) -> None:
        """Drop the connection, or the attempt to make one; the sink hears nothing more."""
        self.done = True
        if self.task is not None:
            self.task.cancel()
        if self.connection is not None:
            self.connection.drop()

    def pause(self) -> None:
        """Read no more from upstream until `resume`: the client is slower."""
        if self.connection is not None:
            self.connection.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.connection is not None:
            self.connection.transport.resume_reading()

    def failed(self, code: str, message: str) -> None:
        """Tell the sink, once."""
        if not self.done:
            self.done = True
            self.sink.upstream_failed(code, message)


class Known(NamedTuple):
    """An answer's head that llhttp has parsed: equal bytes mean the same. Only such as leave the connection open."""

    status: int
    headers: dict[bytes, bytes]
    length: int


class Pool:
    """The connections to one address."""

    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop, answer_bytes: int) -> None:
        """`answer_bytes`: largest answer taken."""
        self.address = address
        self.loop = loop
        self.answer_bytes = answer_bytes
        self.idle: list[Connection] = []
        self.known: dict[bytes, Known] = {}
        self._tls = ssl.create_default_context() if address.tls else None

    def send(self, data: bytes, sink: Sink) -> Request:
        """Send the bytes of one request; the answer goes to `sink`."""
        request = Request(self, data, sink)
        if self.idle and not self.idle[-1].transport.is_closing():  # nearly always
            self.idle.pop().begin(request, kept=True)
        else:
            self.dispatch(request)
        return request

    def dispatch(self, request: Request) -> None:
        """Put a request on a kept connection, else on a new one."""
        while self.idle and not request.fresh:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.begin(request, kept=True)
                return
        request.task = self.loop.create_task(self._dial(request))

    async def _dial(self, request: Request) -> None:
        host, port, tls = self.address.host, self.address.port, self._tls
        try:
            _, connection = await self.loop.create_connection(
                lambda: Connection(self), host, port, ssl=tls, server_hostname=host if tls else None
            )
        except (OSError, ssl.SSLError) as error:
            request.task = None
            reason = error.strerror or type(error).__name__
            request.failed("upstream_unreachable", f"the model server cannot be reached: {reason}")
            return
        request.task = None
        if request.done:
            connection.drop()
        else:
            connection.begin(request, kept=False)

    def keep(self, connection: Connection) -> None:
        """Take a connection back for the next request."""
        if len(self.idle) < KEPT_IDLE:
            connection.transport.resume_reading()  # the last piece may have gone to a slow client, who held it up
            self.idle.append(connection)
        else:
            connection.drop()

    def forget(self, connection: Connection) -> None:
        """A kept connection is gone."""
        if connection in self.idle:
            self.idle.remove(connection)

    def close(self) -> None:
        """Drop every kept connection."""
        for connection in list(self.idle):
            connection.drop()
        self.idle.clear()


def watched(transport: asyncio.BaseTransport) -> None:
    """Have the kernel notice within `DEAD_LINK` seconds that the other machine, or the way to it, is gone without a word."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with socket.socket(fileno=os.dup(found.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_LINK - 2 * DEAD_LINK // 5)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_LINK // 5)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * DEAD_LINK)


class Connection(asyncio.Protocol):
    """One connection to a model server. Parser callbacks only note what they saw; it is acted on after each feed."""

    __slots__ = (
        "_bare", "_body", "_ended", "_headed", "_headers", "_kept", "_parser", "_pool", "_request", "_reusable", "_size",
        "_status", "_unpacker", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self._pool.address.tls:  # as for clients: a request goes out before anything else is done
            self.transport.set_write_buffer_limits(0)
        watched(transport)

    def begin(self, request: Request, *, kept: bool) -> None:
        """Send a request; `kept`: whether the connection has served before."""
        self._request = request
        self._kept = kept
        self._size = 0
        self._headed = self._ended = False
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        request.connection = self
        self.transport.write(request.data)
        request.sink.upstream_sent()

    def drop(self) -> None:
        """Close at once, telling nobody."""
        self._request = None
        self.transport.abort()

    def on_message_begin(self) -> None:
        """llhttp: a message begins; a second one was never asked for, and costs the connection."""
        self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp: one header."""
        lower = name.lower()
        if lower in _WANTED and not self._headed:  # trailers mean nothing: no head is changed after the fact
            self._headers[lower] = value

    def on_headers_complete(self) -> None:
        """llhttp: the head is whole; 1xx heads come before the real one."""
        if self._ended:
            return
        self._status = self._parser.get_status_code()  # the parser forgets it over bytes that follow the answer
        self._bare = b"content-length" not in self._headers and b"transfer-encoding" not in self._headers
        if self._status >= 200:
            self._headed = True
        elif self._status >= 100 and self._bare:
            self._headers.clear()
        else:  # no status, or an interim head with a body: whose bytes follow is anybody's guess
            raise ValueError("no head of an answer")

    def on_body(self, data: bytes) -> None:
        """llhttp: a piece of the body."""
        if not self._ended:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """llhttp: the message is whole."""
        if self._ended:
            return
        self._ended = self._status >= 200
        # Only here does llhttp still know the framing that decides it.
        self._reusable = self._parser.should_keep_alive()

    def data_received(self, data: bytes) -> None:
        request = self._request
        if request is None or self._ended:
            self._lose()  # bytes nobody asked for: this connection cannot be trusted with another request
            return
        first = self._size == 0
        if first:
            end = data.find(END) + len(END)
            known = self._pool.known.get(data[:end])
            if known is not None and known.length == len(data) - end <= self._pool.answer_bytes:
                self._whole(request, known, data[end:])
                return
            request.data = b""  # it is never sent again from here on, and a stream may last
            self._parser = httptools.HttpResponseParser(self)
            self._bare = self._reusable = False
            self._unpacker: Unpacker | None = None
        self._size += len(data)
        headed = self._headed
        broken = self._feed(data)
        if self._size > (self._pool.answer_bytes if self._headed else HEAD_BYTES):
            self._fail(request, "upstream_garbage", "the model server's answer is larger than the gateway takes")
            return
        try:
            if self._headed and not headed:
                self._begun(request)
            if self._body and not request.done:
                pieces, self._body = self._body, []
                body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                request.sink.upstream_body(body if self._unpacker is None else self._unpacker.feed(body))
        except CodingError as error:
            self._fail(request, "upstream_garbage", f"the model server's answer {error}")
            return
        if request.done:
            return
        if self._ended:
            if first and not broken and self._reusable and self._unpacker is None:
                self._learn(data)
            self._finish(request, reusable=not broken and self._reusable)
            return
        if broken:
            what = "something that is not HTTP" if first and not self._headed else "a broken answer"
            self._fail(request, "upstream_garbage", f"the model server sent {what}")

    def _begun(self, request: Request) -> None:
        """The head is whole. Raises CodingError for a body that cannot be unpacked."""
        coding = self._headers.get(b"content-encoding", b"identity")
        if coding.lower() != b"identity":
            self._unpacker = Unpacker(coding, self._pool.answer_bytes)
        request.sink.upstream_head(self._status, self._headers)

    def _whole(self, request: Request, known: Known, body: bytes) -> None:
        """A whole answer in one piece, whose head was parsed before."""
        sink = request.sink
        sink.upstream_head(known.status, known.headers)
        if body:
            sink.upstream_body(body)
        if not request.done:
            self._finish(request, reusable=True)

    def _learn(self, data: bytes) -> None:
        """Keep the head of an answer that came in one piece and was parsed as one message."""
        end = data.find(END) + len(END)
        length = self._headers.get(b"content-length")
        if length is None or b"transfer-encoding" in self._headers or int(length) != len(data) - end or end > KNOWN_BYTES:
            return
        if not data.startswith(b"HTTP/") or self._status in (204, 304):
            return
        if len(self._pool.known) >= KNOWN:
            self._pool.known.clear()  # the server's usual ones are back with their next answer
        self._pool.known[data[:end]] = Known(self._status, self._headers, int(length))

    def _feed(self, data: bytes) -> bool:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return True
        return False

    def _finish(self, request: Request, *, reusable: bool) -> None:
        self._request = None
        request.connection = None
        request.done = True
        if reusable:
            self._pool.keep(self)
        else:
            self.transport.close()
        request.sink.upstream_end()

    def _fail(self, request: Request, code: str, message: str) -> None:
        self._request = None
        request.connection = None
        self.transport.abort()
        request.failed(code, message)

    def _lose(self) -> None:
        self._pool.forget(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        request, self._request = self._request, None
        if request is None or request.done:
            self._pool.forget(self)
            return
        request.connection = None
        if self._headed and self._bare and exc is None:
            # Without a length the end of the connection is the end of the answer.
            request.done = True
            request.sink.upstream_end()
            return
        if self._size == 0 and self._kept and not request.fresh:
            # It died while it was kept: the server never read this request, so sending it again is safe.
            request.fresh = True
            self._pool.dispatch(request)
            return
        code = "upstream_truncated" if self._headed else "upstream_error"
        request.failed(code, "the model server closed the connection before its answer was whole")

    def pause_writing(self) -> None:
        """The request is larger than the socket takes at once; it is whole in memory already, so nothing has to wait."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""


class Pools:
    """One pool an address."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer_bytes: int, make: Callable[..., Pool] = Pool) -> None:
        self._loop = loop
        self._answer_bytes = answer_bytes
        self._make = make
        self._pools: dict[Address, Pool] = {}

    def to(self, address: Address) -> Pool:
        """The pool of an address, made on first use."""
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = self._make(address, self._loop, self._answer_bytes)
        return pool

    def prune(self, wanted: set[Address]) -> None:
        """Drop the kept connections of addresses that no slot names any more."""
        for address in [known for known in self._pools if known not in wanted]:
            self._pools.pop(address).close()

    def close(self) -> None:
        """Drop every kept connection."""
        self.prune(set())
