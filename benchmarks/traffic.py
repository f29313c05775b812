"""The two ends of the gateway's benchmark, each a process of its own: a model server that costs almost nothing, and its clients.

    python -m benchmarks.traffic upstream
    python -m benchmarks.traffic load --url http://127.0.0.1:8080 --connections 32 --seconds 3 [--stream]

Both print one JSON line. A client sends its next request when the last answer has ended, so nothing queues in the client. Both
ends take the short way with a message that arrives whole with its length, and llhttp's with everything else: they share one core,
and what they use of it is not there for showing a difference between contenders.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

ANSWER = "Take the second form, fill in the field that is marked, and send it to the desk. " * 4
CHUNKS = 8
CHUNK_SECONDS = 0.002
PACE = "Leave %d ms between the words."
"""In a request, it makes the model server leave so much between the pieces of a stream, in place of CHUNK_SECONDS."""
_PACED = re.compile(rb"Leave (\d+) ms between the words\.")
CUSTOMERS = 997
"""How many different users the clients speak for."""
PATIENCE = 120.0
"""Seconds that a round may take beyond its own before it is given up."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    base = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return _chunk(b"data: " + json.dumps(base | more).encode() + b"\n\n")


USAGE = {"prompt_tokens": 80, "completion_tokens": 60, "total_tokens": 140}
_MESSAGE = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
_BODY = json.dumps(
    {"id": "chatcmpl-bench", "object": "chat.completion", "created": 1, "model": "m", "choices": [_MESSAGE], "usage": USAGE}
).encode()
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [_event([{"index": 0, "delta": {"content": f"word{n} "}, "finish_reason": None}]) for n in range(CHUNKS)]
EVENTS.append(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
COUNTED = [*EVENTS, _event([], usage=USAGE)]
LAST = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def body_at(data: bytes) -> int | None:
    """Where the body of `data` begins when `data` is exactly one whole message with a content-length; None otherwise."""
    end = data.find(b"\r\n\r\n") + 4
    found = _LENGTH.search(data, 0, end)
    if end < 4 or found is None or len(data) != end + int(found[1]):
        return None
    return end


class Upstream(asyncio.Protocol):
    """One connection of the model server: a canned answer, or nine events two milliseconds apart."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.whole = True

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.whole and body_at(data) is not None:
            self._answer(data)
            return
        self.whole = False
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self.body += data

    def on_message_complete(self) -> None:
        """Called by the parser."""
        body, self.body = self.body, b""
        self.whole = True
        self._answer(body)

    def _answer(self, said: bytes) -> None:
        if b'"stream":true' not in said and b'"stream": true' not in said:
            self.transport.write(PLAIN)
            return
        events = COUNTED if b"include_usage" in said else EVENTS
        paced = _PACED.search(said)
        seconds = CHUNK_SECONDS if paced is None else int(paced[1]) / 1000
        self.transport.write(STREAM_HEAD + events[0])
        self._later([*events[1:], LAST], seconds)

    def _later(self, events: list[bytes], seconds: float) -> None:
        if events and not self.transport.is_closing():
            asyncio.get_running_loop().call_later(seconds, self._next, events, seconds)

    def _next(self, events: list[bytes], seconds: float) -> None:
        self.transport.write(events[0])
        self._later(events[1:], seconds)


class Tally:
    """What all clients of one process saw."""

    def __init__(self) -> None:
        self.errors = 0
        self.latencies: list[float] = []
        self.first_chunks: list[float] = []
        self.open = 0
        self.most_open = 0

    def opened(self, seconds: float) -> None:
        """The first byte of an answer's body came, `seconds` after its request."""
        self.first_chunks.append(seconds)
        self.open += 1
        self.most_open = max(self.most_open, self.open)

    def ended(self, seconds: float) -> None:
        """An answer that was open is whole."""
        self.open -= 1
        self.latencies.append(seconds)


class Client(asyncio.Protocol):
    """One connection that sends a request, and the next one after its answer, until it is `until`."""

    def __init__(self, make: Callable[[], bytes], tally: Tally, done: asyncio.Future[None]) -> None:
        self.make = make
        self.tally = tally
        self.done = done
        self.until = 0.0
        self.asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def begin(self, until: float) -> None:
        """Send the first request; another one follows each answer that came before `until` (time.perf_counter)."""
        self.until = until
        self._send()

    def _send(self) -> None:
        self.parser: httptools.HttpResponseParser | None = None
        self.opened = False
        self.asked = True
        self.start = time.perf_counter()
        self.transport.write(self.make())

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.parser is None:
            if body_at(data) is not None:
                self.tally.opened(time.perf_counter() - self.start)
                self._ended(data.startswith(b"HTTP/1.1 200 "))
                return
            self.parser = httptools.HttpResponseParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if not self.opened:
            self.opened = True
            self.tally.opened(time.perf_counter() - self.start)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        # Not from inside the parser's own call: a new parser takes its place.
        good = self.parser is not None and self.parser.get_status_code() == 200 and self.opened
        self.on_body(b"")  # an answer without a body opens as it ends
        asyncio.get_running_loop().call_soon(self._ended, good)

    def _ended(self, good: bool) -> None:
        now = time.perf_counter()
        self.asked = False
        self.tally.ended(now - self.start)
        self.tally.errors += not good
        if now < self.until and not self.transport.is_closing():
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop: what was asked and not answered is an error."""
        self.tally.errors += self.asked
        if not self.done.done():
            self.done.set_result(None)


def requests(
    host: str, path: str, model: str, *, stream: bool, pace_ms: int | None, user: bool, headers: Mapping[str, str]
) -> Callable[[], bytes]:
    """A maker of request bytes that goes round all customers; every other byte stays the same.

    `pace_ms`: what the model server is to leave between the pieces of a stream. `user`: whether the body names the customer, for
    a peer that does not know the field.
    """
    number = 0
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{more}"
    asked = "Which form do I need? " * 16 + ("" if pace_ms is None else PACE % pace_ms)
    messages = [{"role": "system", "content": "You help at a desk."}, {"role": "user", "content": asked}]

    def one(customer: int) -> bytes:
        who = {"user": f"customer-{customer}"} if user else {}
        body = json.dumps({"model": model, **who, "stream": stream, "messages": messages}).encode()
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    made = [one(customer) for customer in range(CUSTOMERS)]

    def make() -> bytes:
        nonlocal number
        number = (number + 1) % CUSTOMERS
        return made[number]

    return make


async def load(url: str, connections: int, seconds: float, make: Callable[[], bytes], spread: float = 0.0) -> dict[str, float]:
    """Requests on each of `connections` for `seconds`, one at least; the last one begins `spread` seconds after the first.

    Returns requests, errors, seconds (to the last answer's end), rate (requests/s), the medians of whole latency and first body
    byte in milliseconds, the most answers open at once, and the CPU seconds of this process.
    """
    place = urlsplit(url)
    loop = asyncio.get_running_loop()
    tally = Tally()
    clients = []
    for _ in range(connections):
        client = Client(make, tally, loop.create_future())
        await loop.create_connection(partial(_same, client), place.hostname or "", place.port or 80)
        clients.append(client)
    used = time.process_time()
    start = time.perf_counter()
    for number, client in enumerate(clients):
        loop.call_later(spread * number / connections, client.begin, start + seconds)
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), seconds + PATIENCE)
    taken = time.perf_counter() - start
    answered = len(tally.latencies)
    return {
        "requests": answered,
        "errors": tally.errors,
        "seconds": taken,
        "rate": answered / taken,
        "median_ms": 1000 * _middle(tally.latencies),
        "first_chunk_ms": 1000 * _middle(tally.first_chunks),
        "most_open": tally.most_open,
        "cpu_seconds": time.process_time() - used,
    }


def _same(client: Client) -> Client:
    return client


def _middle(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0


async def serve() -> None:
    """Run the model server until it is ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=2048)
    print(json.dumps({"listening": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    await server.serve_forever()


def _ready_for_many() -> None:
    """As many descriptors as allowed, and no looking for cycles: there are none worth the pause."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.disable()


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("upstream")
    loader = roles.add_parser("load")
    loader.add_argument("--url", required=True)
    loader.add_argument("--path", default="/v1/chat/completions")
    loader.add_argument("--model", default="desk")
    loader.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    loader.add_argument("--no-user", action="store_true", help="leave the customer's name out of the body")
    loader.add_argument("--connections", type=int, default=32)
    loader.add_argument("--seconds", type=float, default=3.0)
    loader.add_argument("--stream", action="store_true")
    loader.add_argument("--pace", type=int, metavar="MS", help="streams with so many milliseconds between their pieces")
    loader.add_argument(
        "--spread", type=float, default=0.0, metavar="S", help="seconds from the first client's beginning to the last's"
    )
    given = parser.parse_args()
    _ready_for_many()
    if given.role == "upstream":
        uvloop.run(serve())
        return 0
    make = requests(
        urlsplit(given.url).netloc,
        given.path,
        given.model,
        stream=given.stream,
        pace_ms=given.pace,
        user=not given.no_user,
        headers=dict(one.split("=", 1) for one in given.header),
    )
    try:
        print(json.dumps(uvloop.run(load(given.url, given.connections, given.seconds, make, given.spread))))
    except OSError as error:
        print(f"error: {given.url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
