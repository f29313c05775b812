"""T12: rollbacks and changes of weight under load: none is felt, and none is late."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.journeys.rig import MODEL, SECONDS, Ledger, Rig, Wire, ask, at, figure, load, rig, say, within
from tests.outside.conftest import call

SEED = 12
pytestmark = pytest.mark.timeout(SECONDS)


async def one(run: Rig, words: tuple[str, ...], wires: list[Wire], ledger: Ledger, wanted: set[str]) -> tuple[float, list[str]]:
    """Make one change; its milliseconds, and which of the first answers after it came from elsewhere than `wanted`."""
    done = await asyncio.to_thread(call, *words, "--data", run.data, "--json")
    assert done.code == 0, done.err
    assert len(done.json["pending"]) + len(done.json["acknowledged_by"]) == 2, "who was busy is named and obeys all the same"
    entries = await asyncio.gather(*(ask(wire, ledger.open(), user=f"u{number}") for number, wire in enumerate(wires)))
    return float(done.json["ms"]), [
        entry.heads.get("x-tunekeeper-slot", entry.error)
        for entry in entries
        if entry.heads.get("x-tunekeeper-slot") not in wanted
    ]


async def switch(run: Rig, times: int, ledger: Ledger) -> tuple[list[float], list[str], float]:
    """`times` rollbacks and as many changes of weight, with clients that ask meanwhile."""
    over, taken, wrong = asyncio.Event(), [], []
    began = time.monotonic()
    loading = asyncio.create_task(load(run.url, ledger, over.is_set, clients=10, pause=0.05))
    wires = [Wire(run.url) for _ in range(4)]
    now = "a"
    for _ in range(times):
        other = "b" if now == "a" else "a"
        for words, wanted in (
            (("route", "set", MODEL, f"{now}=1", f"{other}=9999"), {"a", "b"}),
            (("rollback", MODEL), {now}),
            (("route", "set", MODEL, f"{other}=10000"), {other}),
        ):
            ms, late = await one(run, words, wires, ledger, wanted)
            taken.append(ms)
            wrong += late
        now = other
    over.set()
    await loading
    for wire in wires:
        wire.close()
    await asyncio.sleep(0)
    return taken, wrong, len(ledger.entries) / (time.monotonic() - began)


def test_a_hundred_changes_of_route_break_nothing_and_are_in_force_when_they_return(tmp_path: Path) -> None:
    times = figure(3, 100)
    with rig(tmp_path, workers=2, answer="word " * 10) as run:
        ledger = Ledger()
        taken, wrong, rate = asyncio.run(switch(run, times, ledger))
        say(
            "T12",
            SEED,
            changes=len(taken),
            asked=len(ledger.entries),
            rate=rate,
            p99_ms=at(taken, 0.99),
            late=len(wrong),
            errors=sum(ledger.errors().values()),
        )
        assert ledger.errors() == {}
        assert wrong == [], "no request after the acknowledgement went to the old slot"
        assert within(at(taken, 0.99), 2500)
