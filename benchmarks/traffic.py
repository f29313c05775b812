"""The two ends of the gateway's benchmark, each a process of its own: a model server that costs almost nothing, and its clients.

    python -m benchmarks.traffic upstream
    python -m benchmarks.traffic load --url http://127.0.0.1:8080 --connections 32 --requests 2000 [--stream]

Both print one JSON line. A client sends its next request when the last answer has ended, so nothing queues in the client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

ANSWER = "Take the second form, fill in the field that is marked, and send it to the desk. " * 4
CHUNKS = 8
CHUNK_SECONDS = 0.002
CUSTOMERS = 997
"""How many different users the clients speak for."""


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
LAST = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection of the model server: a canned answer, or nine events two milliseconds apart."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self.body += data

    def on_message_complete(self) -> None:
        """Called by the parser: answer."""
        body, self.body = self.body, b""
        if b'"stream":true' not in body.replace(b" ", b""):
            self.transport.write(PLAIN)
            return
        events = [*EVENTS, _event([], usage=USAGE)] if b"include_usage" in body else EVENTS
        self.transport.write(STREAM_HEAD + events[0])
        self._later([*events[1:], LAST])

    def _later(self, events: list[bytes]) -> None:
        if not events or self.transport.is_closing():
            return
        loop = asyncio.get_running_loop()
        loop.call_later(CHUNK_SECONDS, self._next, events)

    def _next(self, events: list[bytes]) -> None:
        self.transport.write(events[0])
        self._later(events[1:])


class Client(asyncio.Protocol):
    """One connection that sends `count` requests one after another."""

    def __init__(self, make: Callable[[], bytes], count: int, done: asyncio.Future[None]) -> None:
        self.make = make
        self.left = count
        self.done = done
        self.errors = 0
        self.latencies: list[float] = []
        self.first_chunks: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._send()

    def _send(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.first: float | None = None
        self.start = time.perf_counter()
        self.transport.write(self.make())

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.errors += 1
            self.transport.close()

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self.first is None:
            self.first = time.perf_counter() - self.start

    def on_message_complete(self) -> None:
        """Called by the parser: count, and send the next one."""
        self.latencies.append(time.perf_counter() - self.start)
        if self.first is not None:
            self.first_chunks.append(self.first)
        self.errors += self.parser.get_status_code() != 200
        self.left -= 1
        if self.left:
            # Not from inside the parser's own call: a new parser takes its place.
            asyncio.get_running_loop().call_soon(self._send)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop: what was not answered is an error."""
        self.errors += self.left
        if not self.done.done():
            self.done.set_result(None)


def requests(host: str, *, stream: bool, key: str | None) -> Callable[[], bytes]:
    """A maker of request bytes that goes round all customers; every other byte stays the same."""
    number = 0
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{authorization}"
    messages = [{"role": "system", "content": "You help at a desk."}, {"role": "user", "content": "Which form do I need? " * 16}]

    def one(customer: int) -> bytes:
        body = json.dumps({"model": "desk", "user": f"customer-{customer}", "stream": stream, "messages": messages}).encode()
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    made = [one(customer) for customer in range(CUSTOMERS)]

    def make() -> bytes:
        nonlocal number
        number = (number + 1) % CUSTOMERS
        return made[number]

    return make


async def load(url: str, connections: int, count: int, *, stream: bool, key: str | None) -> dict[str, float]:
    """`count` requests on each of `connections`; returns requests, errors, seconds, rate (requests/s), and the medians of whole
    latency and first body byte in milliseconds."""
    place = urlsplit(url)
    make = requests(place.netloc, stream=stream, key=key)
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    clients = []
    for _ in range(connections):
        client = Client(make, count, loop.create_future())
        await loop.create_connection(partial(_same, client), place.hostname or "", place.port or 80)
        clients.append(client)
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), 600)
    seconds = time.perf_counter() - start
    total = connections * count
    return {
        "requests": total,
        "errors": sum(client.errors for client in clients),
        "seconds": seconds,
        "rate": total / seconds,
        "median_ms": 1000 * _middle([one for client in clients for one in client.latencies]),
        "first_chunk_ms": 1000 * _middle([one for client in clients for one in client.first_chunks]),
    }


def _same(client: Client) -> Client:
    return client


def _middle(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0


async def serve() -> None:
    """Run the model server until it is ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"listening": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    await server.serve_forever()


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("upstream")
    loader = roles.add_parser("load")
    loader.add_argument("--url", required=True)
    loader.add_argument("--connections", type=int, default=32)
    loader.add_argument("--requests", type=int, default=2000, help="requests on each connection")
    loader.add_argument("--stream", action="store_true")
    loader.add_argument("--key", default=None)
    given = parser.parse_args()
    if given.role == "upstream":
        uvloop.run(serve())
        return 0
    print(json.dumps(uvloop.run(load(given.url, given.connections, given.requests, stream=given.stream, key=given.key))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
