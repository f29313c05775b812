"""T25: 128 descriptors and a storm of connections: whoever finds no room is told so or cut, and nothing stays broken."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.journeys.rig import SECONDS, Ledger, Rig, Wire, ask, at, eventually, figure, many_files, message, rig, say, within

FILES = 128
pytestmark = pytest.mark.timeout(SECONDS)


def _worker(run: Rig) -> psutil.Process:
    found = run.worker()
    assert found is not None
    return found


async def poor(run: Rig) -> psutil.Process:
    """A worker that may open no more than so many files: what its supervisor starts anew inherits the limit."""
    psutil.Process(run.gateway.running.process.pid).rlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    old = _worker(run)
    old.terminate()
    await eventually(partial(run.another, old.pid))
    probe = Wire(run.url)

    async def served() -> bool:
        return (await ask(probe, Ledger().open())).status == 200

    await eventually(served)
    probe.close()
    worker = _worker(run)
    assert worker.rlimit(resource.RLIMIT_NOFILE) == (FILES, FILES)
    return worker


async def one(run: Rig, ledger: Ledger, number: int, told: list[str]) -> Wire:
    """Connect; two of three ask something and the third only holds its connection. All stay connected."""
    wire, asks = Wire(run.url), number % 3 < 2
    ending = "held"
    try:
        await wire.open()
        if asks:
            entry = ledger.open(stream=number % 3 == 1)
            await wire.send(message(entry.id, stream=entry.stream))
        status, heads = await asyncio.wait_for(wire.head(), 60 if asks else 1)
        body = bytearray()
        await wire.body(heads, body.extend)
        ending = f"{status}"
        if status == 200:
            entry.status, entry.whole = status, True
        else:
            assert b'"code":"overloaded"' in body
            assert heads["retry-after"]
    except TimeoutError:
        assert not asks, "a request was left without an answer"
    except (OSError, asyncio.IncompleteReadError):
        ending = "cut"
    told.append(ending)
    return wire


async def storm(run: Rig, n: int, rounds: int) -> tuple[Counter[str], list[float], Ledger]:
    """`rounds` storms of `n` connections; how each ended, and how long it took each time until a request was served again."""
    ledger, endings, back = Ledger(), Counter[str](), []
    for _ in range(rounds):
        told: list[str] = []
        found = await asyncio.gather(*(one(run, ledger, number, told) for number in range(n)))
        endings.update(told)
        for wire in found:
            wire.close()
        began = time.monotonic()
        again = Wire(run.url)

        async def served(again: Wire = again) -> bool:
            return (await ask(again, ledger.open())).status == 200

        await eventually(served)
        back.append(time.monotonic() - began)
        again.close()
    return endings, back, ledger


async def whole(run: Rig, n: int, rounds: int) -> tuple[Counter[str], list[float], Ledger, bool]:
    worker = await poor(run)
    endings, back, ledger = await storm(run, n, rounds)
    return endings, back, ledger, _worker(run).pid == worker.pid


def test_a_storm_of_connections_is_survived_with_128_descriptors(tmp_path: Path) -> None:
    n, rounds = figure(300, 2000), figure(1, 10)
    many_files()
    with rig(tmp_path, answer="word " * 5) as run:
        endings, back, ledger, same = asyncio.run(whole(run, n, rounds))
        say("T25", connections=n * rounds, back_max_s=max(back), back_p50_s=at(back, 0.5), **endings)
        assert set(endings) == {"200", "503", "held", "cut"}
        assert endings["200"] >= 10 * rounds, "those for whom there was room are served"
        assert endings["503"] >= rounds, "the next ones are told, before the rest is cut"
        assert same, "the worker lives on"
        assert within(max(back), 20)
        assert not [line for line in run.gateway.running.said if "Traceback" in line]
        rows = {row["client_request_id"]: row["status"] for row in run.records()}
        assert {entry.id for entry in ledger.answered} <= set(rows)
        assert set(rows.values()) <= {"ok", "cancelled"}
        found = run.verify()
        assert (found["duplicates"], found["open"], found["corrupt"]) == (0, 0, 0)
