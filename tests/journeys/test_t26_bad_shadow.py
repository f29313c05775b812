"""T26: a shadow slot that fails, floods or hangs: users get the same bytes, as fast, and what the copies may hold is bounded."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.journeys.rig import SECONDS, Entry, Ledger, Rig, Wire, ask, at, eventually, figure, rig, say, watched, within
from tests.outside.conftest import until

SEED = 26
FLOOD = 5 << 20
"""Bytes of each of its answers when the shadow floods."""
WARM = 40
COUNTED = re.compile(r"^tunekeeper_shadow_(\w+)_total (\d+)$", re.MULTILINE)
ID = re.compile(rb"fake-\d+-\d+")
"""The model server numbers its answers: the one thing in which two answers to one question differ."""
pytestmark = pytest.mark.timeout(SECONDS)


@dataclass(slots=True)
class Phase:
    """What users met while the shadow behaved in one way."""

    name: str
    asked: int
    different: int
    failed: int
    p50_ms: float
    p99_ms: float
    grown_mb: float


async def round_of(run: Rig, ledger: Ledger, model: str, n: int) -> list[Entry]:
    """`n` requests of four clients, every other one a stream. A model named with its alias is not copied."""
    wires = [Wire(run.url) for _ in range(4)]

    async def client(number: int) -> list[Entry]:
        found = []
        for i in range(number, n, 4):
            asked = {"model": model, "user": f"u{i}", "messages": [{"role": "user", "content": f"question {i}"}]}
            found.append(await ask(wires[number], ledger.open(stream=bool(i % 2)), **asked))
        return found

    found = await asyncio.gather(*(client(number) for number in range(4)))
    for wire in wires:
        wire.close()
    return [entry for entries in found for entry in entries]


def texts(entries: list[Entry]) -> list[bytes]:
    """What was answered, in the order of the questions."""
    return [ID.sub(b"fake", entry.text) for entry in entries]


async def phase(run: Rig, ledger: Ledger, name: str, n: int, plain: list[Entry] | None) -> tuple[Phase, list[Entry]]:
    """Users' requests while copies go out (`plain`: the answers without copies), or, without `plain`, while none do."""
    async with watched(run, probe=False) as seen:
        entries = await round_of(run, ledger, "desk" if plain is not None else "desk@champion", n)
        await eventually(lambda: name == "hang" or run.b.seen()["active"] == 0)
    expected = texts(plain) if plain is not None else texts(entries)
    different = sum(a != b for a, b in zip(texts(entries), expected, strict=True))
    seconds = [entry.seconds * 1e3 for entry in entries]
    failed = sum(not (entry.whole and entry.status == 200) for entry in entries)
    return Phase(name, n, different, failed, at(seconds, 0.5), at(seconds, 0.99), seen.grown_mb), entries


async def rested(run: Rig, ledger: Ledger) -> int:
    """Ask until the shadow gets copies again, which rests after a flood; how many requests that took."""
    await asyncio.to_thread(run.b.order, default="500")
    before, asked = run.b.seen()["requests"], 0
    while run.b.seen()["requests"] == before:
        await round_of(run, ledger, "desk", 1)
        asked += 1
        await asyncio.sleep(0.05)
    return asked


async def suffer(run: Rig, ledger: Ledger, n: int) -> tuple[list[Phase], int]:
    """The same questions without copies, then with copies to a shadow that fails, floods and hangs; and how many requests were to
    be copied."""
    await asyncio.to_thread(run.b.order, default="500")
    for model in ("desk", "desk@champion"):
        await round_of(run, ledger, model, WARM)
    base, plain = await phase(run, ledger, "none", n, None)
    found, offered = [base], WARM + 3 * n
    for name, order in (("500", {}), ("flood", {"default": "ok", "answer": "x" * FLOOD}), ("hang", {"default": "hang"})):
        await asyncio.to_thread(run.b.order, **order)
        found.append((await phase(run, ledger, name, n, plain))[0])
        offered += await rested(run, ledger) if name == "flood" else 0
    return found, offered


def counted(run: Rig) -> dict[str, int]:
    """The gateway's counters of copies."""
    return {name: int(value) for name, value in COUNTED.findall(httpx.get(f"{run.url}/metrics", timeout=60).text)}


def test_a_shadow_that_misbehaves_is_felt_by_nobody(tmp_path: Path) -> None:
    n = figure(80, 2000)
    with rig(tmp_path, answer="word " * 20, shadow={"slot": "b", "share": 10_000}) as run:
        ledger = Ledger()
        phases, offered = asyncio.run(suffer(run, ledger, n))
        base, *others = phases
        for each in phases:
            more = {"p99_ms": each.p99_ms, "p99_more_ms": each.p99_ms - base.p99_ms, "rss_mb": each.grown_mb}
            say("T26", SEED, shadow=each.name, asked=each.asked, different=each.different, failed=each.failed, **more)
        served = run.b.seen()["requests"]
        run.b.running.stop()  # what hangs there ends with it
        until(lambda: counted(run) == {"sent": served, "logged": served, "dropped": offered - served})
        rows = run.records()
        copies = [row for row in rows if row["purpose"] == "shadow"]
        endings = Counter(row.get("error", "ok") for row in copies)
        say("T26", SEED, copies=len(copies), served=served, **endings)
        assert ledger.errors() == {}
        assert [(each.different, each.failed) for each in phases] == [(0, 0)] * 4, "the same bytes with and without copies"
        assert len(copies) == served, "each copy that the shadow got has its record"
        assert {row["client_request_id"] for row in rows if row["purpose"] == "user"} == set(ledger.entries)
        assert endings["ok"] == 0, "nothing that was answered that long fits into the room for copies"
        assert endings["overloaded"] > 0
        for each in others:
            assert each.grown_mb < 20
            assert within(each.p50_ms, base.p50_ms + 500)
