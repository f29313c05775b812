"""T27: a split that grows, a gateway that is killed in the middle, an abort: every key stays where it was put."""

from __future__ import annotations

import asyncio
import json
import math
import random
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.rig import MODEL, SECONDS, Ledger, Rig, Wire, ask, eventually, figure, rig, say
from tests.outside.conftest import call

SEED = 27
CLIENTS = 8
BAND = 3.2905
"""Standard deviations of the 99.9 % band."""
SURE = 6.0
"""Standard deviations of a band that chance leaves less than once in a million runs: each run draws a new salt."""
pytestmark = pytest.mark.timeout(SECONDS)


async def visit(run: Rig, ledger: Ledger, keys: list[str]) -> dict[str, str]:
    """Key → the port of the model server that answered it, as the answer itself says."""
    found: dict[str, str] = {}

    async def client(number: int) -> None:
        wire = Wire(run.url)
        for key in keys[number::CLIENTS]:
            entry = await ask(wire, ledger.open(), user=key)
            while entry.error:  # the gateway was killed under it: what counts is where the key goes afterwards
                await asyncio.sleep(0.05)
                entry = await ask(wire, ledger.open(), user=key)
            assert entry.status == 200, entry
            found[key] = json.loads(entry.text)["id"].split("-")[1]
        wire.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return found


def weigh(run: Rig, b: int) -> None:
    """Give slot `b` so many ten-thousandths; in force when this returns."""
    done = call("route", "set", MODEL, f"a={10_000 - b}", f"b={b}", "--data", run.data, "--json")
    assert done.code == 0, done.err


async def killed(run: Rig, ledger: Ledger, keys: list[str], rng: random.Random) -> dict[str, str]:
    """As `visit`, with a kill -9 of the worker in the middle."""
    worker = run.worker()
    assert worker is not None
    visiting = asyncio.create_task(visit(run, ledger, keys))
    half = len(ledger.entries) + int(len(keys) * rng.uniform(0.3, 0.7))
    await eventually(lambda: len(ledger.entries) >= half, 600)
    worker.kill()
    found = await visiting
    await eventually(partial(run.another, worker.pid))
    return found


def spread(found: dict[str, str], port: str, share: float) -> float:
    """How many standard deviations the part of the keys at `port` lies from `share`."""
    n = len(found)
    hits = sum(where == port for where in found.values())
    return (hits - n * share) / math.sqrt(n * share * (1 - share))


def test_keys_stay_where_they_are_through_growth_death_and_abort(tmp_path: Path) -> None:
    n = figure(300, 20_000)
    rng = random.Random(SEED)
    keys = [f"user-{rng.getrandbits(64):x}" for _ in range(n)]
    with rig(tmp_path, answer="fine") as run:
        ledger, port = Ledger(), run.b.url.rpartition(":")[2]
        found: dict[str, dict[str, str]] = {}
        for name, weight in (("5 %", 500), ("25 %", 2500), ("25 %, killed", 2500), ("50 %", 5000)):
            weigh(run, weight)
            visits = killed(run, ledger, keys, rng) if "killed" in name else visit(run, ledger, keys)
            found[name] = asyncio.run(visits)
        off = {
            name: spread(where, port, share)
            for name, share, where in zip(found, (0.05, 0.25, 0.25, 0.5), found.values(), strict=True)
        }
        before = run.b.seen()["requests"]
        assert call("rollback", MODEL, "--data", run.data, "--json").code == 0
        after_abort = asyncio.run(visit(run, ledger, keys))
        canary = run.b.seen()["requests"] - before
        at_b = {name: {key for key, where in visits.items() if where == port} for name, visits in found.items()}
        say(
            "T27",
            SEED,
            keys=n,
            asked=len(ledger.entries),
            after_abort=canary,
            inside=sum(abs(z) <= BAND for z in off.values()),
            **{f"z_{name}": z for name, z in off.items()},
        )
        assert found["25 %"] == found["25 %, killed"], "no key moved through the death of the gateway"
        assert at_b["5 %"] <= at_b["25 %"] <= at_b["50 %"], "a weight that grows takes no key back"
        assert max(abs(z) for z in off.values()) < SURE
        assert canary == 0
        assert port not in after_abort.values()
