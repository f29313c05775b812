"""T01: the gateway is killed at random moments under load; whoever was answered is in the log, once, and nothing stays open."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.journeys.rig import SECONDS, Ledger, Rig, at, eventually, figure, load, rig, say

SEED = 1
pytestmark = pytest.mark.timeout(SECONDS)


async def ready(run: Rig) -> bool:
    """Whether the gateway answers its probe now."""
    async with httpx.AsyncClient() as http:
        try:
            return (await http.get(f"{run.url}/readyz", timeout=0.5)).status_code == 200
        except httpx.HTTPError:
            return False


async def kill(run: Rig, kills: int, ledger: Ledger) -> list[float]:
    """Twenty clients and `kills` deaths; how many seconds each time until it was ready again."""
    rng, over, back = random.Random(SEED), asyncio.Event(), []
    loading = asyncio.create_task(load(run.url, ledger, over.is_set, clients=20, pause=0.01))
    for _ in range(kills):
        await asyncio.sleep(rng.uniform(0.05, 0.6))
        victim = await eventually(run.worker)
        victim.kill()
        began = time.monotonic()
        await eventually(partial(run.another, victim.pid), 60)
        await eventually(lambda: ready(run), 60)
        back.append(time.monotonic() - began)
    over.set()
    await loading
    return back


def test_no_answered_request_is_lost_or_logged_twice_when_the_gateway_is_killed(tmp_path: Path) -> None:
    kills = figure(6, 500)
    with rig(tmp_path, answer="word " * 20) as run:
        run.a.order(delay=0.002)
        ledger = Ledger()
        back = asyncio.run(kill(run, kills, ledger))
        run.a.order(delay=0.0)
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
            kills=kills,
            asked=len(ledger.entries),
            answered=len(answered),
            lost=len(lost),
            ready_p95_s=at(back, 0.95),
            **found,
        )
        assert len(answered) > 10 * kills, ledger.errors()
        assert lost == []
        assert [id for id, statuses in logged.items() if len(statuses) > 1] == []
        assert (found["duplicates"], found["open"], found["corrupt"]) == (0, 0, 0)
        assert set(logged) <= set(ledger.entries)
        assert at(back, 0.95) < 20.0
        interrupted = [row for row in rows if row["status"] == "interrupted"]
        assert interrupted, "deaths under load cut some requests, and these have an ending too"
