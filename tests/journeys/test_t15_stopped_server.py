"""T15: a model server stops answering, its process stopped or its engine dead behind a healthy probe: others take its place."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journeys.rig import SECONDS, WHOLE, Entry, Ledger, Rig, Wire, ask, at, figure, message, rig, say, within

SEED = 15
DEADLINE = 1.0 if WHOLE else 2.0
"""Seconds to the first token, in this test: long enough for `b` on a busy machine. Five of them have to fit into the ten seconds
of the retry budget."""
ROUTE = {"fallback": ["b"], "timeouts": {"connect": DEADLINE, "first_token": DEADLINE, "between_tokens": DEADLINE, "total": 30.0}}
pytestmark = pytest.mark.timeout(SECONDS)


def slot(entry: Entry) -> str:
    """Who answered."""
    assert (entry.status, entry.whole, entry.error) == (200, True, ""), entry
    return entry.heads["x-tunekeeper-slot"]


async def one(wire: Wire, ledger: Ledger, number: int) -> Entry:
    """One request, every other one streamed, which must be answered whole."""
    entry = await ask(wire, ledger.open(stream=number % 2 == 1))
    slot(entry)
    return entry


async def many(url: str, ledger: Ledger, n: int) -> list[Entry]:
    """`n` requests, one after another, all of them answered."""
    wire = Wire(url)
    answered = [await one(wire, ledger, number) for number in range(n)]
    wire.close()
    return answered


async def recover(url: str, ledger: Ledger) -> float:
    """Seconds until `a` answers again, by itself."""
    wire, began, number = Wire(url), time.monotonic(), 0
    while slot(await one(wire, ledger, number)) != "a":
        assert time.monotonic() < began + 100, "it did not come back"
        await asyncio.sleep(0.1)
        number += 1
    wire.close()
    return time.monotonic() - began


def errors(row: dict[str, Any]) -> list[str | None]:
    """How the attempts of a record ended."""
    return [attempt.get("error") for attempt in row.get("attempts", ())]


async def cut_off(run: Rig, entry: Entry) -> None:
    """A stream whose model server is stopped in the middle of it."""
    wire = Wire(run.url)
    await wire.send(message(entry.id, stream=True))
    entry.status, entry.heads = await wire.head()
    pieces: list[bytes] = []

    def take(data: bytes) -> None:
        if b"word" in data and b"word" not in b"".join(pieces):
            os.kill(run.a.running.process.pid, signal.SIGSTOP)
        pieces.append(data)

    await wire.body(entry.heads, take)
    entry.text = b"".join(pieces)
    wire.close()


def check_stream(entry: Entry, row: dict[str, Any]) -> None:
    """A stream that was cut off says so, to its client and in the log, and nobody made up why it finished."""
    assert entry.status == 200
    assert b"upstream_timeout" in entry.text.splitlines()[-2]
    assert b"[DONE]" not in entry.text
    assert b'"finish_reason":"' not in entry.text.replace(b" ", b"")
    assert (row["status"], row.get("finish_reason")) == ("truncated", None)
    assert "word" in row["response"]["choices"][0]["message"]["content"]


def test_a_server_that_is_stopped_or_dead_behind_its_probe_is_passed_over_until_it_answers(tmp_path: Path) -> None:
    n, ledger = figure(12, 200), Ledger()
    with rig(tmp_path, answer="word " * 40, **ROUTE) as run:
        assert slot(asyncio.run(many(run.url, ledger, 1))[0]) == "a"
        began, stream = time.monotonic(), Ledger("s").open(stream=True)
        run.a.order(default="drip:0.02")
        try:
            asyncio.run(cut_off(run, stream))
            ill = asyncio.run(many(run.url, ledger, n))
        finally:
            os.kill(run.a.running.process.pid, signal.SIGCONT)
        run.a.order(default="ok")
        back = [asyncio.run(recover(run.url, ledger))]
        asyncio.run(many(run.url, ledger, 80))  # a fifth of them is what may be asked twice in the next seconds
        run.a.order(default="hang")
        assert httpx.get(f"{run.a.url}/health", timeout=60).status_code == 200
        ill += asyncio.run(many(run.url, ledger, figure(3, n)))
        took = time.monotonic() - began
        run.a.order(default="ok")
        if WHOLE:
            back.append(asyncio.run(recover(run.url, ledger)))
        rows = {row["client_request_id"]: row for row in run.records()}
        met = [entry for entry in ill if "upstream_timeout" in errors(rows[entry.id])]
        over = [entry.seconds - DEADLINE for entry in met]
        say("T15", SEED, asked=len(ledger.entries), met=len(met), fallback_p50_ms=at(over, 0.5) * 1e3, back_s=max(back))
        check_stream(stream, rows[stream.id])
        assert ledger.errors() == {}
        assert {slot(entry) for entry in ill} == {"b"}
        assert 5 <= len(met) <= 10 + took / 5, "five failures give it a rest; whenever one is over, one request tries it"
        assert within(at(over, 0.5), 1.0), "the figure is a tenth of that"
        assert run.verify() == {"records": len(ledger.entries) + 1, "duplicates": 0, "open": 0, "corrupt": 0}
