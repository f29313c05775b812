"""T09: a million rows are past their keeping and go while requests are answered, and the keeper is killed on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.journeys.rig import MODEL, SECONDS, WHOLE, Ledger, Rig, at, eventually, load, rig, say, within
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.ids import request_id
from tunekeeper.processes import ending
from tunekeeper.store.log import Spool, partitions, segments
from tunekeeper.store.log.columns import hour_of
from tunekeeper.store.log.compact import compact

SEED = 9
HOURS, ROWS = 1000, int(os.environ.get("TORTURE_ROWS", "1000000"))
"""How many hours of log are past their keeping, and how many rows they hold together."""
pytestmark = [
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(
        not WHOLE, reason="tests/store/log/test_keeper.py kills a retention in each run; a million rows are for torture"
    ),
]


def one_hour(folder: Path, at: datetime, rows: int) -> dict[str, pa.Table]:
    """An hour of log as the product writes it: kind → table."""
    spool = Spool(folder, "gateway-0", ManualClock(at))
    for number in range(rows):
        id = request_id(at, b"k" * 32, lambda size, number=number: number.to_bytes(size, "big"))
        body = b'{"messages":[{"role":"user","content":"%s"}]}' % (b"x" * 500)
        spool.ended({"request_id": id, "timestamp": at, "model_id": MODEL, "request": body, "response": body})
    spool.close()
    with segments.maintenance(folder):
        compact(folder)
    kinds = ("metrics", "bodies")
    return {
        kind: pa.concat_tables(pq.read_table(path, partitioning=None) for path in partitions.files(folder, kind, None, None))
        for kind in kinds
    }


def old_log(folder: Path, last: datetime) -> int:
    """Write `HOURS` hours of log to `folder`, the last of them that of `last`; returns how many rows."""
    tables = one_hour(folder / "one", last, ROWS // HOURS)
    for back in range(HOURS):
        for kind, table in tables.items():
            column = table.schema.get_field_index("request_id")
            fresh = pc.binary_join_element_wise(table["request_id"], pa.scalar(f"-{back}"), "")
            moved = table.set_column(column, table.schema.field("request_id"), fresh)
            hour = hour_of(last - timedelta(hours=back))
            partitions.write_table(folder / "log" / kind / hour / partitions.model_folder(MODEL), "old.parquet", kind, moved)
    return HOURS * len(tables["metrics"])


def left(run: Rig, last: datetime) -> int:
    """Hours of the old log that are still there."""
    return sum(hour <= hour_of(last) for hour in os.listdir(run.data / "log" / "metrics"))


async def purge(run: Rig, made: Path, last: datetime, ledger: Ledger) -> dict[str, float]:
    """Requests before and while the old log goes; the keeper is killed once in the middle of it."""
    over = asyncio.Event()
    loading = asyncio.create_task(load(run.url, ledger, over.is_set, clients=10, pause=0.05))
    await eventually(lambda: list((run.data / "log" / "metrics").glob("*/*/*.parquet")), 120)  # pyarrow is loaded by now
    before, most, killed = len(ledger.answered), 0, 0.0
    keeper = psutil.Process(ending.running(run.data)["keeper"])
    rss = keeper.memory_info().rss
    for kind in ("bodies", "metrics"):
        for hour in sorted((made / "log" / kind).iterdir()):
            target = run.data / "log" / kind / hour.name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(hour, target)
    began, most_left = time.monotonic(), left(run, last)
    while left(run, last):
        assert time.monotonic() < began + 600
        with suppress(psutil.NoSuchProcess):
            most = max(most, keeper.memory_info().rss - rss)
        if not killed and left(run, last) < most_left:
            os.kill(keeper.pid, signal.SIGKILL)
            killed = left(run, last)
        await asyncio.sleep(0.001)
    seconds = time.monotonic() - began
    await asyncio.sleep(1.0)
    over.set()
    await loading
    times = [entry.seconds for entry in ledger.answered]
    slower = {
        f"p{100 * share:.0f}_plus_ms": (at(times[before:], share) - at(times[:before], share)) * 1e3 for share in (0.5, 0.99)
    }
    return {"seconds": seconds, "left_at_kill": killed, "grown_mb": most / 1e6, **slower}


def test_a_million_old_rows_go_while_requests_are_answered_and_through_a_kill(tmp_path: Path) -> None:
    ledger, last = Ledger(), datetime.now(UTC) - timedelta(days=3)
    rows = old_log(tmp_path / "made", last)
    with rig(tmp_path, log={"days": 2, "body_days": 2}, answer="word " * 20) as run:
        figures = asyncio.run(purge(run, tmp_path / "made", last, ledger))
        found = run.verify()
        say("T09", SEED, rows=rows, hours=HOURS, asked=len(ledger.entries), **figures, **found)
        assert ledger.errors() == {}
        assert figures["left_at_kill"] > 0, "it was killed on its way"
        assert not [hour for hour in os.listdir(run.data / "log" / "bodies") if hour <= hour_of(last)]
        assert found == {"records": len(ledger.entries), "duplicates": 0, "open": 0, "corrupt": 0}
        assert figures["grown_mb"] < 50
        assert within(figures["p50_plus_ms"], 200), (
            "the figure is 20 ms, of the slowest hundredth, on a machine that does nothing else"
        )
