"""T13: the gateway is told to end, again and again, under load: nobody is refused, reset or forgotten."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.rig import SECONDS, Ledger, Rig, eventually, figure, load, rig, say

SEED = 13
pytestmark = pytest.mark.timeout(SECONDS)


async def restart(run: Rig, times: int, ledger: Ledger) -> None:
    """Clients on kept connections, plain and streaming, and one SIGTERM to the worker after the other."""
    rng, over = random.Random(SEED), asyncio.Event()
    loading = asyncio.create_task(load(run.url, ledger, over.is_set, clients=8, pause=0.01))
    for _ in range(times):
        await asyncio.sleep(rng.uniform(0.1, 0.4))
        worker = await eventually(run.worker)
        worker.terminate()
        await eventually(partial(run.another, worker.pid))
    over.set()
    await loading


def test_a_gateway_that_ends_in_order_loses_no_request_and_no_record(tmp_path: Path) -> None:
    times = figure(4, 20)
    with rig(tmp_path, answer="word " * 10) as run:
        run.a.order(delay=0.005)
        ledger = Ledger()
        asyncio.run(restart(run, times, ledger))
        found = run.verify()
        rows = {row["client_request_id"]: row["status"] for row in run.records()}
        say("T13", SEED, restarts=times, asked=len(ledger.entries), failed=sum(ledger.errors().values()), **found)
        assert ledger.errors() == {}, "nobody was refused, reset or cut"
        assert {entry.id for entry in ledger.answered} == set(rows)
        assert set(rows.values()) == {"ok"}
        assert found == {"records": len(ledger.entries), "duplicates": 0, "open": 0, "corrupt": 0}
        assert run.a.seen()["requests"] == len(ledger.entries), "nothing was asked twice"
