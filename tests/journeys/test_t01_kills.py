"""T01: the gateway is killed at random moments under load; whoever was answered is in the log, once, and nothing stays open."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.rig import SECONDS, Ledger, Rig, Wire, at, eventually, figure, load, message, rig, say, within
from tunekeeper.processes import ending

SEED = 1
EACH = figure(10, 200)
"""Requests that are answered between two kills of both workers, at least: 50,000 in the whole."""
pytestmark = pytest.mark.timeout(SECONDS)


async def ready(run: Rig) -> bool:
    """Whether the gateway answers its probe now."""
    wire = Wire(run.url)  # a client library would cost more than the restart that is measured
    try:
        async with asyncio.timeout(5.0):
            await wire.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return (await wire.head())[0] == 200
    except (OSError, asyncio.IncompleteReadError):  # a timeout is an OSError too
        return False
    finally:
        wire.close()


def workers(run: Rig) -> dict[str, int]:
    """The gateway workers that live now: name → process id."""
    mine = run.gateway.running.process.pid  # who starts a child holds its lock for a moment
    return {name: pid for name, pid in ending.running(run.data).items() if name.startswith("gateway-") and pid != mine}


async def kill(run: Rig, rounds: int, ledger: Ledger) -> list[float]:
    """Twenty clients and `rounds` times the death of both workers, one soon after the other; how many seconds each time until
    they were there again and the gateway was ready."""
    rng, over, back = random.Random(SEED), asyncio.Event(), []
    loading = asyncio.create_task(load(run.url, ledger, over.is_set, clients=20, pause=0.01))
    for number in range(rounds):
        await eventually(lambda enough=EACH * (number + 1): len(ledger.answered) >= enough)  # type: ignore[misc]
        await asyncio.sleep(rng.uniform(0.05, 0.6))
        before = await eventually(lambda: found if len(found := workers(run)) == 2 else None)
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(rng.uniform(0.0, 0.1))
        began = time.monotonic()
        await eventually(partial(others, run, before))
        await eventually(lambda: ready(run))
        back.append(time.monotonic() - began)
    over.set()
    await loading
    return back


def others(run: Rig, before: dict[str, int]) -> bool:
    """Whether two workers live that are none of those before."""
    now = workers(run)
    return len(now) == 2 and not set(now.values()) & set(before.values())


async def cut_stream(run: Rig, id: str) -> int:
    """A stream whose worker dies in the middle; how many of its words the client had more than two seconds before that."""
    wire, pieces = Wire(run.url), list[bytes]()
    await wire.send(message(id, stream=True))
    _, headers = await wire.head()
    reading = asyncio.create_task(wire.body(headers, pieces.append))
    await eventually(lambda: b"".join(pieces).count(b"word") >= 9)
    had = b"".join(pieces).count(b"word")
    await asyncio.sleep(2.5)  # what has been said is noted once a second, later on a busy machine
    for pid in workers(run).values():
        os.kill(pid, signal.SIGKILL)
    with suppress(asyncio.IncompleteReadError, OSError):
        await reading
    wire.close()
    return had


def test_no_answered_request_is_lost_or_logged_twice_when_the_gateway_is_killed(tmp_path: Path) -> None:
    rounds = figure(8, 250)
    with rig(tmp_path, workers=2, answer="word " * 20) as run:
        run.a.order(delay=0.002)
        ledger = Ledger()
        back = asyncio.run(kill(run, rounds, ledger))
        run.a.order(delay=0.0, behave=["drip:0.25"])
        had = asyncio.run(cut_stream(run, "cut"))
        asyncio.run(eventually(lambda: ready(run)))
        found = run.verify()
        rows = run.records()
        logged: dict[str, list[str]] = {}
        for row in rows:
            logged.setdefault(row["client_request_id"], []).append(row["status"])
        answered = ledger.answered
        lost = [entry.id for entry in answered if "ok" not in logged.get(entry.id, [])]
        say(
            "T01",
            SEED,
            kills=2 * rounds,
            asked=len(ledger.entries),
            answered=len(answered),
            lost=len(lost),
            ready_p95_s=at(back, 0.95),
            **found,
        )
        assert len(answered) >= EACH * rounds, ledger.errors()
        assert lost == []
        assert [id for id, statuses in logged.items() if len(statuses) > 1] == []
        assert (found["duplicates"], found["open"], found["corrupt"]) == (0, 0, 0)
        (cut,) = [row for row in rows if row["client_request_id"] == "cut"]
        # The last words wait until it is sure that nothing personal begins in them: six of them at most.
        assert cut["response"]["choices"][0]["message"]["content"].count("word") >= had - 6 > 0
        assert set(logged) - {"cut"} <= set(ledger.entries)
        assert within(at(back, 0.95), 20.0)
        interrupted = [row for row in rows if row["status"] == "interrupted"]
        assert interrupted, "deaths under load cut some requests, and these have an ending too"
