"""T23: streams without end, and two thousand clients that only stay connected: memory, descriptors and answers stay as they were.

`make torture NAME=T23` gives it `SOAK_SECONDS` (270 unless set; 1800 is the whole of it) for its 100,000 streams.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.rig import SECONDS, WHOLE, Ledger, Rig, Wire, ask, at, eventually, figure, many_files, rig, say

SEED = 23
STREAMS, IDLE = figure(1_500, 100_000), figure(200, 2_000)
SOAK = float(os.environ.get("SOAK_SECONDS", "270"))
MANY = 5_000
"""Streams from which on a slope of memory means anything."""
pytestmark = [pytest.mark.timeout(SECONDS), pytest.mark.skipif(not WHOLE, reason="for torture")]


async def stay(url: str) -> Wire:
    """A client that asks once whether anybody lives, and stays."""
    wire = Wire(url)
    await wire.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    status, heads = await wire.head()
    await wire.body(heads, lambda _: None)
    assert status == 200
    return wire


async def stream(url: str, ledger: Ledger, enough: Callable[[], bool]) -> None:
    """One stream after the other."""
    wire = Wire(url)
    while not enough():
        entry = await ask(wire, ledger.open(stream=True))
        entry.text, entry.heads = b"", {}  # a hundred thousand of them are not looked at again
    wire.close()


async def soak(run: Rig, ledger: Ledger) -> dict[str, float]:
    """Thirty clients that stream until there are enough streams or the time is over, beside those that stay."""
    worker = await eventually(run.worker)
    idle = [await stay(run.url) for _ in range(IDLE)]
    began, samples = time.monotonic(), []
    descriptors = [worker.num_fds()]

    def enough() -> bool:
        done = len(ledger.entries)
        if done >= STREAMS // 100 * (len(samples) + 1):
            samples.append((done, worker.memory_info().rss))
        return done >= STREAMS or time.monotonic() > began + SOAK

    await asyncio.gather(*(stream(run.url, ledger, enough) for _ in range(30)))
    await eventually(lambda: worker.num_fds() <= descriptors[0] + 40)
    here = sum([await alive(wire) for wire in idle])
    for wire in idle:
        wire.close()
    await eventually(lambda: worker.num_fds() <= descriptors[0] - IDLE + 40)
    settled = samples[len(samples) // 4 :]
    slope = statistics.linear_regression([n for n, _ in settled], [rss for _, rss in settled]).slope * 10_000 / 1e6
    return {"idle_here": here, "mb_per_10k": slope, "rss_mb": settled[-1][1] / 1e6, "seconds": time.monotonic() - began}


async def alive(wire: Wire) -> bool:
    """Whether a client that stayed is still connected and served."""
    try:
        await wire.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        status, heads = await wire.head()
        await wire.body(heads, lambda _: None)
    except (OSError, asyncio.IncompleteReadError):
        return False
    return status == 200


def test_streams_without_end_leave_nothing_behind(tmp_path: Path) -> None:
    many_files()
    ledger = Ledger()
    with rig(tmp_path, answer="word " * 10, limits={"idle_seconds": 3600.0}) as run:
        found = asyncio.run(soak(run, ledger))
        times = [entry.seconds for entry in ledger.answered]
        part = len(times) // 5
        drift = at(times[-part:], 0.99) / at(times[part : 2 * part], 0.99) - 1
        checked = run.verify()
        say("T23", SEED, streams=len(times), idle=IDLE, failed=sum(ledger.errors().values()), p99_drift=drift, **found, **checked)
        assert ledger.errors() == {}
        assert len(times) >= figure(200, MANY), "a busy machine makes fewer, but not none"
        assert found["idle_here"] == IDLE
        assert checked == {"records": len(ledger.entries), "duplicates": 0, "open": 0, "corrupt": 0}
        assert len(times) < MANY or found["mb_per_10k"] < 1.0
