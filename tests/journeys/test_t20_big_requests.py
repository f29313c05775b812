"""T20: bodies, heads and chunks without end: refused while they come, not kept, and nobody waits meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.journeys.rig import MODEL, SECONDS, Ledger, Rig, Wire, at, figure, load, message, rig, say, watched, within

SEED = 20
MB = 1 << 20
LIMIT = 4 * MB
"""The default limit of a body."""
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
PIECE = b"x" * 65536
pytestmark = pytest.mark.timeout(SECONDS)


def _messages(n: int) -> bytes:
    return message(f"m-{n}", messages=[{"role": "user", "content": f"message {i}"} for i in range(n)])


def _sized(size: int) -> bytes:
    """A request whose body has exactly `size` bytes."""
    raw = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": ""}]}).encode()
    raw = raw.replace(b'""', b'"' + b"x" * (size - len(raw)) + b'"')
    return POST + b"content-length: %d\r\n\r\n" % len(raw) + raw


def _bomb() -> bytes:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * (32 * MB)}]}).encode()
    return gzip.compress(body, 9)


@dataclass(frozen=True)
class Big:
    """One thing that is too large, or only just not."""

    name: str
    head: bytes
    statuses: tuple[int, ...]
    piece: bytes = b""
    """What follows the head again and again."""
    pieces: int = 0


@cache
def cases() -> tuple[Big, ...]:
    """All of them."""
    bomb = _bomb()
    packed = POST + b"content-length: %d\r\n" % len(bomb)
    gigabyte = b"%x\r\n%s\r\n" % (len(PIECE), PIECE)
    return (
        Big("body of 100 MB", POST + b"content-length: 104857600\r\n\r\n", (413,), PIECE, 1600),
        Big("body one byte too long", _sized(LIMIT + 1), (413,)),
        Big("body of just the limit", _sized(LIMIT), (200,)),
        Big("chunks of 1 GB", CHUNKED, (413,), gigabyte, 16384),
        Big("chunks of one byte", CHUNKED, (413,), b"1\r\nx\r\n" * 8192, 600),
        Big("a chunk of 1 GB", CHUNKED + b"40000000\r\n", (413,), PIECE, 16384),
        Big("an endless chunk extension", CHUNKED + b"1;", (400, 431), b"a" * 4096, 4096),
        Big("endless trailers", CHUNKED + b"2\r\n{}\r\n0\r\n", (400, 431), b"x-trailer: y\r\n" * 300, 4096),
        Big("10,000 headers", POST, (431,), b"x-a: b\r\n" * 100, 100),
        Big("header of 1 MB", POST + b"x-a: ", (431,), PIECE, 16),
        Big("header name of 1 MB", POST, (431, 400), b"a" * 65536, 16),
        Big("target of 1 MB", b"GET /", (431, 400, 414), b"a" * 65536, 16),
        Big("gzip that says so", packed + b"content-encoding: gzip\r\n\r\n" + bomb, (415,)),
        Big("gzip that does not", packed + b"\r\n" + bomb, (400,)),
        Big("1,000 messages", _messages(1000), (200,)),
        Big("2,001 messages", _messages(2001), (400,)),
        Big("depth of 100,000", POST + b"content-length: 200000\r\n\r\n" + b"[" * 100_000 + b"]" * 100_000, (400,)),
    )


def _pieces(case: Big) -> Iterator[bytes]:
    yield case.head
    for _ in range(case.pieces):
        yield case.piece


async def push(run: Rig, case: Big) -> tuple[int, float]:
    """As `push_once`; once more for a client that was so slow that its connection was cut before it had read why."""
    for _ in range(2):
        with suppress(OSError, asyncio.IncompleteReadError):
            return await push_once(run, case)
    return await push_once(run, case)


async def push_once(run: Rig, case: Big) -> tuple[int, float]:
    """Send all of it, for as long as the gateway takes it: what a refused client still sends is thrown away for two seconds, so
    that it can read why. The status, and the seconds until it was there."""
    wire = Wire(run.url)
    await wire.open()
    began = time.monotonic()

    async def send() -> None:
        with suppress(OSError):
            for piece in _pieces(case):
                await wire.send(piece)
                await asyncio.sleep(0)  # who sends without a pause reads its answer, and the probe's, when all is sent

    sending = asyncio.create_task(send())
    try:
        status, heads = await asyncio.wait_for(wire.head(), 60)
        taken = time.monotonic() - began
        body = bytearray()
        await wire.body(heads, body.extend)
    finally:
        wire.close(hard=True)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    if status != 200:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}, case.name
    return status, taken


async def barrage(run: Rig, ledger: Ledger, rounds: int) -> tuple[list[tuple[str, int]], list[float], float, list[float]]:
    """Each case so many times in a random order, beside good clients; what was wrong, seconds to a refusal, MB, probes."""
    rng, over, all_cases = random.Random(SEED), asyncio.Event(), cases()
    for case in all_cases:  # what the first of each kind needs is no growth
        await push(run, case)
    good = asyncio.create_task(load(run.url, ledger, over.is_set, clients=3, pause=0.02))
    order, wrong, refused = list(all_cases * rounds), [], []
    rng.shuffle(order)
    async with watched(run) as seen:
        for case in order:
            status, taken = await push(run, case)
            if status not in case.statuses:
                wrong.append((case.name, status))
            if status != 200:
                refused.append(taken)
    over.set()
    await good
    return wrong, refused, seen.grown_mb, seen.stalls


def test_what_is_too_large_is_refused_at_once_and_kept_nowhere(tmp_path: Path) -> None:
    rounds = figure(2, 60)
    with rig(tmp_path, answer="word " * 5) as run:
        ledger = Ledger()
        wrong, refused, grown, stalls = asyncio.run(barrage(run, ledger, rounds))
        say(
            "T20",
            SEED,
            refused=len(refused),
            refused_p99_ms=at(refused, 0.99) * 1e3,
            rss_mb=grown,
            probe_p99_ms=at(stalls, 0.99) * 1e3,
            probe_max_ms=max(stalls) * 1e3,
            good=len(ledger.entries),
            errors=sum(ledger.errors().values()),
        )
        assert wrong == []
        assert ledger.errors() == {}
        assert len(ledger.answered) > 10
        assert grown < 2 * LIMIT / 1e6 + 12, "what was refused lies nowhere"
        assert within(at(refused, 0.5), 1.0)
        assert within(at(stalls, 0.5), 0.5)
        served = len(ledger.entries) + sum(200 in case.statuses for case in cases()) * (rounds + 1)
        assert run.a.seen()["requests"] == served, "nothing that was refused reached a model server"
        assert run.verify() == {"records": served, "duplicates": 0, "open": 0, "corrupt": 0}
