"""The server side: one client connection, framed by llhttp, bounded in bytes and in time.

One request is answered at a time. Bytes that follow a request before its answer (pipelining) are dropped and the connection is
closed after that answer, as RFC 9112 section 9.3.2 lets a server do: nothing can be smuggled behind a request that way. Parser
callbacks only note what they saw; it is acted on after each feed.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import traceback
from typing import Protocol, cast

import httptools

from tunekeeper.gateway.heads import END, KEPT, ONCE, SEGMENT, Head, Heads, answer_head, check
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.refusals import Refusal, RefusedError

JSON = b"application/json"
LINGER_SECONDS = 2.0
"""How long a refused client's remaining bytes are read away, so that it can read why before its connection is reset."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MOST_PIECES = 32_768
"""Header lines and chunks of one request together: a body of one-byte chunks would cost the loop seconds, not its few
megabytes."""
IDLE_GRACE = 1.0
"""Seconds that a stopping worker waits for the next request of a kept connection."""
OWN_DESCRIPTORS = 48
"""Descriptors that a worker needs for itself: segments, locks, pipes, libraries that load late."""
SPARE_CONNECTIONS = 16
"""Connections beyond the limit that are told so at one time; further ones are cut without a word."""


class Running(Protocol):
    """A request under way, as its connection sees it."""

    def client_gone(self) -> None:
        """The client closed its connection."""

    def client_slow(self, slow: bool) -> None:
        """The client takes bytes slower (True) or again as fast as they come (False)."""


class House(Protocol):
    """What a connection needs of the worker."""

    limits: Limits
    draining: bool
    heads: Heads

    def now(self) -> float:
        """Real seconds."""

    def admit(self, connection: Connection) -> Refusal | None:
        """Why there is no room for one more connection; None: there is."""

    def left(self, connection: Connection) -> None:
        """A connection is gone."""

    def handle(self, connection: Connection, head: Head, body: bytes) -> None:
        """Answer one whole request."""


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_body", "_closing", "_complete", "_head", "_headed", "_house", "_length", "_parser", "_raw", "_refusal", "_retold",
        "_size", "_slow", "_target", "_untaken", "_upgrading", "_waiting_head", "due", "head", "running", "transport",
    )  # fmt: skip

    transport: asyncio.Transport
    _body: bytes | bytearray

    def __init__(self, house: House) -> None:
        self._house = house
        self.running: Running | None = None
        self.head = Head()
        self.due = 0.0
        self._closing = self._slow = False
        self._untaken = 0
        self._refusal: Refusal | None = None
        self._target = b""
        self._size = self._length = self._raw = 0
        self._complete = self._headed = self._upgrading = self._retold = False
        self._waiting_head = True

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(0)  # uvloop then sends what is written at once, not at the end of the turn
        self._parser = httptools.HttpRequestParser(self)
        self._begin()
        self.due = self._house.now() + self._house.limits.header_seconds
        refusal = self._house.admit(self)
        if refusal is not None and not self._closing:
            self.refuse(refusal, close=True)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self.running is not None:
            self._closing = True  # the answer under way still goes out, and says that the connection ends
            return
        try:
            if self._waiting_head:
                end = data.find(END) + 4
                head = self._house.heads.get(data[:end])
                if head is not None and head.length == len(data) - end:
                    self.head = head
                    self._house.handle(self, head, data[end:])
                    return
            self._take(data)
        except Exception:  # noqa: BLE001
            self.fail()

    def connection_lost(self, exc: Exception | None) -> None:
        running, self.running = self.running, None
        self._closing = True
        del self._parser  # it names this connection: what both hold must not wait for the collector of cycles
        self._house.left(self)
        if running is not None:
            running.client_gone()

    def pause_writing(self) -> None:
        self._slow = True
        self._untaken = self.transport.get_write_buffer_size()
        if self.running is not None:
            self.running.client_slow(True)

    def resume_writing(self) -> None:
        self._slow = False
        if self.running is not None:
            self.running.client_slow(False)
        elif not self._closing:
            self.transport.resume_reading()

    # ---- llhttp ----

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._complete:
            self._closing = True
        elif self._waiting_head and not self._retold:
            self._waiting_head = False
            self.due = self._house.now() + self._house.limits.header_seconds

    def on_url(self, part: bytes) -> None:
        """A piece of the request target."""
        if not self._complete and not self._retold:
            self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Trailers, behind a chunked body, mean nothing: no head is changed after the fact."""
        if self._complete or self._headed:
            return
        self._length += 1
        self._size += len(name) + len(value) + 4
        lower = name.lower()
        if lower in KEPT or lower.startswith(SEGMENT):
            headers = self._head.headers
            if lower in headers and lower in ONCE:
                self._head.repeated = lower
            headers[lower] = value

    def on_headers_complete(self) -> None:
        """The head is whole: everything that can be refused without a body is refused here, before any of it is read."""
        if self._complete or self._headed:
            return
        head, limits = self._head, self._house.limits
        head.method = self._parser.get_method()
        head.version = self._parser.get_http_version()
        head.path = self._target.partition(b"?")[0]
        self._headed = True
        self._upgrading = self._parser.should_upgrade()
        self.due = self._house.now() + limits.body_seconds
        if self._length > limits.headers or self._size + len(self._target) > limits.head_bytes:
            self._stop(Refusal("headers_too_large", "the request head is larger than this gateway takes"))
        self._size = 0
        self._stop(check(head, self._target))
        if int(head.headers.get(b"content-length", b"0")) > limits.body_bytes:
            self._stop(_too_large(limits))
        coding = head.text(b"content-encoding")
        if coding is not None and coding.lower() != "identity":
            self._stop(Refusal("encoding_unsupported", "request bodies must not be compressed"))
        expectation = head.text(b"expect")
        if expectation is not None and expectation.lower() != "100-continue":
            self._stop(Refusal("expectation_failed", "the only expectation met here is 100-continue"))
        if expectation is not None and head.version != "1.0":
            self.transport.write(CONTINUE)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._complete:
            return
        self._size += len(data)
        self._length += 1  # header lines were counted before; each further piece costs as much as one
        if not self._body:
            self._body = data
        elif isinstance(self._body, bytearray):
            self._body += data
        else:  # a body of tiny chunks must not cost an object each
            self._body = bytearray(self._body) + data
        if self._size > self._house.limits.body_bytes or self._length > MOST_PIECES:
            self._stop(_too_large(self._house.limits))

    def on_message_complete(self) -> None:
        """The request is whole; of one that asks for an upgrade only the head is."""
        if self._upgrading:
            return
        if not self._complete and not self._parser.should_keep_alive():
            self._closing = True
        self._complete = True

    # ---- what it does ----

    def _stop(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            self._refusal = refusal
            raise RefusedError(refusal)

    def _begin(self) -> None:
        self._head = Head()
        self._target = b""
        self._body = b""
        self._size = self._length = self._raw = 0
        self._complete = self._headed = self._upgrading = self._retold = False
        self._waiting_head = True

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._upgrading:
                raise
            self._without_upgrade(data[upgrade.args[0] :])

    def _without_upgrade(self, rest: bytes) -> None:
        """Read on after the head of a request that asks for another protocol, as if it had not (RFC 9110 section 7.8).

        llhttp leaves everything behind such a head to the other protocol, the body too. So a fresh parser is told of the head's
        framing, whether the connection ends, and nothing else, and goes on with the body.
        """
        self._upgrading = False
        self._retold = True
        framing = [
            b"%s: %s\r\n" % (name, self._head.headers[name])
            for name in (b"content-length", b"transfer-encoding")
            if name in self._head.headers
        ]
        if not self._parser.should_keep_alive():
            framing.append(b"connection: close\r\n")
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"%s / HTTP/%s\r\n%s\r\n" % (self._head.method, self._head.version.encode(), b"".join(framing)))
        if rest:
            self._parser.feed_data(rest)

    def _take(self, data: bytes) -> None:
        size, headed = self._size, self._headed
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._closing = True  # asked for by what follows a whole request: answer that request, then close
        except httptools.HttpParserError as error:
            refusal = self._refusal or Refusal("bad_request", f"not a well-formed HTTP request: {error}")
            if not self._complete or self._refusal is not None:
                self.refuse(refusal, close=True)
                return
            self._closing = True  # what follows a whole request is broken: answer that request, then close
        if self._complete:
            if not headed and not self._closing and not self._retold and self._raw == 0:
                self._house.heads.learn(data, self._head)
            self._dispatch()
            return
        if self._headed and (not headed or self._size != size):
            self._raw = 0
        else:
            # llhttp hands a header over only when it is whole, so what has come of a head, or of trailers, is counted raw.
            self._raw += len(data)
            if self._raw > self._house.limits.head_bytes:
                self.refuse(Refusal("headers_too_large", "the request head is larger than this gateway takes"), close=True)

    def _dispatch(self) -> None:
        head, body = self._head, bytes(self._body)
        self._begin()
        self.head = head
        self._house.handle(self, head, body)

    @property
    def slow(self) -> bool:
        """Whether bytes wait for the client to take them."""
        return self._slow

    def taken(self) -> bool:
        """Whether the client has taken any of what waits for it since this was last asked."""
        before, self._untaken = self._untaken, self.transport.get_write_buffer_size()
        return self._untaken < before

    @property
    def closes(self) -> bool:
        """Whether the answer now begun must say that the connection ends; what it says is kept to."""
        self._closing = self._closing or self._house.draining
        return self._closing

    @property
    def old(self) -> bool:
        """Whether the client speaks HTTP/1.0."""
        return self.head.version == "1.0"

    def reply(self, status: int, body: bytes, extra: bytes = b"", content_type: bytes = JSON) -> None:
        """A whole answer; the request is over."""
        head = answer_head(status, content_type, len(body), extra, close=self.closes, old=self.old)
        self.transport.write(head if self.head.method == b"HEAD" else head + body)
        self.over()

    def refuse(self, refusal: Refusal, extra: bytes = b"", *, close: bool = False) -> None:
        """An error answer; `close`: the connection ends with it, the client's remaining bytes unread."""
        if close:
            self.running = None
            body = refusal.body()
            head = answer_head(refusal.status, JSON, len(body), refusal.headers() + extra, close=True)
            self.transport.write(head + body)
            self._linger()
            return
        self.reply(refusal.status, refusal.body(), refusal.headers() + extra)

    def fail(self) -> None:
        """Our own fault, the exception that is handled: it must not take other requests with it, and must not go unseen."""
        traceback.print_exc(file=sys.stderr)
        if not self.transport.is_closing():
            self.refuse(Refusal("internal_error", "the gateway failed to handle this request"), close=True)

    def over(self) -> None:
        """The answer has been written: wait for the next request, or close."""
        self.running = None
        self.due = self._house.now() + self._house.limits.idle_seconds  # and if it takes nothing of the rest so long
        if self._closing:
            self.transport.close()
        elif self._house.draining:
            self.wind_down()  # a stream's head went out before: its client was not told, and may be asking again
        if self._slow and not self._closing:
            self.transport.pause_reading()  # nothing more is asked before this is taken: answers must not pile up here

    def wind_down(self) -> None:
        """The worker stops. A kept connection's next request may be on its way: closing under it would be a reset. It has a
        moment to come, and its answer says that the connection ends."""
        if self.idle:
            self.due = min(self.due, self._house.now() + IDLE_GRACE)

    def cut(self) -> None:
        """Close without another byte."""
        self.running = None
        self._closing = True
        self.transport.abort()

    def _linger(self) -> None:
        self._closing = True
        self._body = b""
        self.due = self._house.now() + LINGER_SECONDS
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def expired(self) -> None:
        """`due` has passed: a slow head or body is told so, a waiting or refused connection just ends."""
        if self.running is not None:
            return
        if self._slow and self.taken():  # slow, but reading
            self.due = self._house.now() + (IDLE_GRACE if self._house.draining else self._house.limits.idle_seconds)
            return
        if self._closing or self._waiting_head:
            self.cut()
            return
        self.refuse(Refusal("timeout", "the request took too long to arrive"), close=True)

    @property
    def idle(self) -> bool:
        """Whether no request is under way or on its way."""
        return self.running is None and self._waiting_head


def raise_descriptors() -> None:
    """Let this process open as many files as the system allows it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def room(connections: int) -> int:
    """How many of `connections` clients this process's descriptors allow: each may need a second one, to its model server."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, (most - OWN_DESCRIPTORS - SPARE_CONNECTIONS) // 2))


def _too_large(limits: Limits) -> Refusal:
    return Refusal("body_too_large", f"the request body is larger than {limits.body_mb:g} MiB")
