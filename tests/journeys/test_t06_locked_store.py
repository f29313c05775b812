"""T06: another program locks both databases, and the log's folder is held, for a minute: answers go on, and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.journeys.rig import SECONDS, WHOLE, Ledger, Rig, at, eventually, figure, load, rig, say, within
from tunekeeper.store.log import segments

SEED = 6
CLIENTS = 20
pytestmark = [pytest.mark.timeout(SECONDS), pytest.mark.skipif(not WHOLE, reason="locks a minute long: for torture")]


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Nobody writes to a database or makes Parquet of the spool while this lasts."""
    with ExitStack() as stack:
        for name in ("control.db", "state.db"):
            connection = stack.enter_context(closing(sqlite3.connect(root / name, isolation_level=None, timeout=60)))
            connection.execute("begin exclusive")
        stack.enter_context(segments.maintenance(root))
        yield


def spooled(root: Path) -> int:
    """Bytes that wait to be made into Parquet."""
    return sum(path.stat().st_size for path in (root / "spool").glob("*.jsonl"))


async def flood(run: Rig, ledger: Ledger, seconds: float) -> tuple[float, int, float]:
    """200 requests a second, `seconds` of them against a locked store; megabytes that the worker grew, bytes that the spool did,
    requests a second."""
    over = asyncio.Event()
    loading = asyncio.create_task(load(run.url, ledger, over.is_set, clients=CLIENTS, pause=0.09))
    worker = await eventually(run.worker)
    await eventually(lambda: len(ledger.answered) >= 5 * CLIENTS)
    before, began, asked = worker.memory_info().rss, time.monotonic(), len(ledger.entries)
    with locked(run.data):
        size = spooled(run.data)
        await asyncio.sleep(seconds)
        await eventually(lambda: len(ledger.entries) > asked + 5 * CLIENTS)
        grown = (worker.memory_info().rss - before) / 1e6, spooled(run.data) - size
        rate = (len(ledger.entries) - asked) / (time.monotonic() - began)
    over.set()
    await loading
    return *grown, rate


def compacted(run: Rig) -> bool:
    """Whether the keeper is through with everything that was sealed."""
    return not [each for each in segments.list_segments(run.data) if not each.carried and not segments.is_held(each.path)]


def test_a_locked_store_stops_no_answer_and_is_caught_up_with(tmp_path: Path) -> None:
    ledger = Ledger()
    with rig(tmp_path, answer="word " * 20) as run:
        grown, spool, rate = asyncio.run(flood(run, ledger, figure(2, 60)))
        began = time.monotonic()
        asyncio.run(eventually(lambda: compacted(run), 300))
        caught = time.monotonic() - began
        found, slow = run.verify(), at([entry.seconds for entry in ledger.answered], 0.99)
        figures = {"rate": rate, "grown_mb": grown, "spool_mb": spool / 1e6, "caught_up_s": caught, "p99_ms": slow * 1e3}
        say("T06", SEED, asked=len(ledger.entries), failed=len(ledger.errors()), **figures, **found)
        assert ledger.errors() == {}
        assert found == {"records": len(ledger.entries), "duplicates": 0, "open": 0, "corrupt": 0}
        assert spool > 0, "what cannot be made into Parquet waits in the spool, not in memory"
        assert grown < 20
        assert within(caught, 240)
