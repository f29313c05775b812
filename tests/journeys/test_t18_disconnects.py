"""T18: clients that leave in the middle, streaming or not: the model server is told, a record kept, their room given back."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import httpx
import pytest

from tests.journeys.rig import SECONDS, Ledger, Rig, Wire, at, eventually, figure, message, rig, say, within

SEED = 18
pytestmark = pytest.mark.timeout(SECONDS)


async def leave(run: Rig, ledger: Ledger, rng: random.Random, *, stream: bool, go: asyncio.Semaphore) -> None:
    """Ask, wait for a moment (a stream: for some of its text), hang up, half of the time with a reset."""
    async with go:
        entry, wire = ledger.open(stream=stream), Wire(run.url)
        patience = rng.uniform(0.0, 0.1)
        hard = rng.random() < 0.5
        await wire.send(message(entry.id, stream=stream))
        if stream:
            entry.status, _ = await wire.head()
            assert wire.reader is not None
            entry.text = await wire.reader.readuntil(b"word")
        await asyncio.sleep(patience)
        wire.close(hard=hard)


async def probe(run: Rig, over: asyncio.Event, waits: list[float]) -> None:
    """Ask the readiness probe again and again."""
    async with httpx.AsyncClient() as http:
        while not over.is_set():
            began = time.monotonic()
            assert (await http.get(f"{run.url}/readyz", timeout=60)).status_code == 200
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.02)


async def disconnect(run: Rig, n: int) -> tuple[Ledger, list[float], list[float]]:
    """`n` streams and `n` plain requests, a hundred at a time, none of which is waited for."""
    rng, ledger, over, waits = random.Random(SEED), Ledger(), asyncio.Event(), []
    probing = asyncio.create_task(probe(run, over, waits))
    go = asyncio.Semaphore(100)
    await asyncio.gather(*(leave(run, ledger, rng, stream=bool(i % 2), go=go) for i in range(2 * n)))
    began = time.monotonic()
    await eventually(lambda: run.a.seen()["active"] == 0)
    cancelled = [time.monotonic() - began]
    over.set()
    await probing
    return ledger, waits, cancelled


def test_whoever_leaves_is_noticed_logged_and_leaves_nothing_behind(tmp_path: Path) -> None:
    n = figure(200, 500)
    text = "word " * 400
    with rig(tmp_path, answer=text.strip()) as run:
        assert run.gateway.ask("desk").status_code == 200
        worker = run.worker()
        before = (worker.memory_info().rss, len(worker.net_connections()), worker.num_fds())
        run.a.order(delay=0.5)
        ledger, waits, cancelled = asyncio.run(disconnect(run, n))
        run.a.order(delay=0.0)
        rows = {row["client_request_id"]: row for row in run.records() if row.get("client_request_id")}
        left = [entry for entry in ledger.entries.values() if entry.id in rows]
        streams = [rows[entry.id] for entry in left if entry.stream]
        seen = run.a.seen()
        after = (worker.memory_info().rss, len(worker.net_connections()), worker.num_fds())
        grown = (after[0] - before[0]) / 1e6
        figures = {"last_s": cancelled[0], "probe_p99_ms": at(waits, 0.99) * 1e3, "rss_mb": grown}
        say("T18", SEED, left=2 * n, logged=len(left), aborted=seen["aborted"], **figures)
        # On a busy machine a client may come to hang up only when its plain answer is there.
        late = [row for row in rows.values() if row["status"] == "ok" and row not in streams]
        assert len(late) <= n // 20
        assert {row["status"] for row in rows.values() if row not in late} == {"cancelled"}
        assert len(streams) == n, "each stream had begun, so each has its record"
        assert all("word" in row["response"]["choices"][0]["message"]["content"] for row in streams)
        assert all(not row.get("finish_reason") for row in streams), "no reason to finish is made up"
        # One that left before its request had been read has no record, and reached no model server either.
        assert seen["requests"] - 1 <= len(left)
        assert seen["aborted"] + seen["answered"] == seen["requests"]
        assert seen["answered"] <= 1 + n // 20
        assert within(cancelled[0], 10.0)
        assert within(at(waits, 0.99), 5.0)
        assert after[1] <= before[1] + 3
        assert after[2] <= before[2] + 3
        assert grown < 40
        assert run.gateway.ask("desk").status_code == 200
        assert run.verify() == {"records": len(left) + 2, "duplicates": 0, "open": 0, "corrupt": 0}
