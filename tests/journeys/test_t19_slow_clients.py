"""T19: clients that send a byte now and then, or nothing at all: they are cut in time, and nobody waits for them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.rig import SECONDS, WHOLE, Ledger, Rig, Wire, at, eventually, load, many_files, rig, say, within

LIMITS = {"header_seconds": 10, "body_seconds": 30, "idle_seconds": 20} if WHOLE else {}
QUICK = {"header_seconds": 1.0, "body_seconds": 2.0, "idle_seconds": 2.0}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
LIVE = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
pytestmark = pytest.mark.timeout(SECONDS)


@dataclass(slots=True)
class Slow:
    """One client that takes its time."""

    kind: str
    """head, body or idle."""
    told: bytes = b""
    seconds: float = 0.0
    """From its beginning until the gateway ended the connection."""
    wire: Wire | None = None


async def crawl(run: Rig, kind: str, drip: float, go: asyncio.Semaphore) -> Slow:
    """Begin like a client, go on as slowly as an attacker; never hang up."""
    slow, wire = Slow(kind), Wire(run.url)
    slow.wire = wire
    first, crumb = {"head": (HEAD, b"x-a: b\r\n"), "body": (HEAD + b"content-length: 99999\r\n\r\n", b"x"), "idle": (LIVE, b"")}[
        kind
    ]
    async with go:
        began = time.monotonic()
        await wire.open()
        await wire.send(first)
    reader = wire.reader
    assert reader is not None
    if kind == "idle":
        _, heads = await wire.head()
        await wire.body(heads, lambda _: None)
    reading = asyncio.create_task(reader.read())
    while not reading.done():
        await asyncio.wait((reading,), timeout=drip)
        if crumb and not reading.done():
            with suppress(OSError):
                await wire.send(crumb)
    slow.seconds = time.monotonic() - began
    with suppress(OSError):
        slow.told = await reading
    return slow


async def siege(run: Rig, ledger: Ledger, sizes: dict[str, int]) -> list[Slow]:
    """All of them at once, and five good clients meanwhile."""
    worker, over, go = run.worker(), asyncio.Event(), asyncio.Semaphore(100)
    assert worker is not None
    before = len(worker.net_connections())
    good = asyncio.create_task(load(run.url, ledger, over.is_set, clients=5, pause=0.05, streams=False))
    drip = 1.0 if WHOLE else 0.3
    found = await asyncio.gather(*(crawl(run, kind, drip, go) for kind, n in sizes.items() for _ in range(n)))
    over.set()
    await good
    # The slow ones never closed their side: the gateway has let go of theirs all the same.
    await eventually(lambda: len(worker.net_connections()) <= before + 10)
    for slow in found:
        assert slow.wire is not None
        slow.wire.close(hard=True)
    return found


def test_slow_clients_are_cut_in_time_and_hold_up_nobody(tmp_path: Path) -> None:
    sizes = {"head": 500, "body": 500, "idle": 300}
    limits = LIMITS or QUICK
    many_files()
    with rig(tmp_path, limits=limits) as run:
        ledger = Ledger()
        found = asyncio.run(siege(run, ledger, sizes))
        times = {kind: [slow.seconds for slow in found if slow.kind == kind] for kind in sizes}
        good = [entry.seconds for entry in ledger.answered]
        cut = {f"{kind}_max_s": max(taken) for kind, taken in times.items()}
        say("T19", slow=len(found), good=len(good), errors=sum(ledger.errors().values()), good_p99_ms=at(good, 0.99) * 1e3, **cut)
        assert ledger.errors() == {}
        assert len(good) > 20
        told = [slow.told for slow in found if slow.told]
        assert all(each.startswith(b"HTTP/1.1 408 ") and b'"code":"timeout"' in each for each in told)
        assert len(told) > 0.5 * (sizes["head"] + sizes["body"]), "a client whose next byte crosses the answer may not read why"
        assert not [slow for slow in found if slow.kind == "idle" and slow.told], "a waiting connection just ends"
        for kind, name in (("head", "header_seconds"), ("body", "body_seconds"), ("idle", "idle_seconds")):
            assert min(times[kind]) > 0.5 * limits[name], "nobody is cut before the time is up"
            assert within(max(times[kind]), 10 * limits[name])
        assert within(at(good, 0.5), 0.5)
        assert {row["client_request_id"] for row in run.records()} == set(ledger.entries), "of the slow ones nothing is logged"
        assert run.a.seen()["requests"] == len(ledger.entries)
