"""Appending at a steady rate while the keeper compacts and somebody asks: whether all three keep up with each other, and what the
keeper spends on a record. Run by `benchmarks.log`; by itself it is the one who asks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tunekeeper.core.clock import SystemClock
from tunekeeper.store.log import Log, Spool

TICK = 0.01
"""Seconds between two flushes."""
DEADLINE = 120.0
"""Seconds after which somebody did not keep up at all."""


def run(root: Path, records: list[dict[str, Any]], rate: int) -> dict[str, float]:
    """Append `records` at `rate` a second beside a keeper and a reader. Returns the `rate` that was reached, `lag_s`: seconds
    after the last record until the keeper had compacted everything, `keeper_us`: CPU of the keeper for a record, `ask_ms`: median
    of what the reader waited for a window."""
    root.mkdir(parents=True)
    with _child("-m", "tunekeeper.store.log.keeper", "--root", str(root), "--interval", "0.5") as keeper:
        first = len(records) // 10  # what loads libraries is not what a record costs
        _write(root, records[:first], rate)
        _compacted(root)
        before = _cpu(keeper)
        with _child("-m", "benchmarks.sustained", str(root)) as reader:
            seconds = _write(root, records[first:], rate)
            lag = _compacted(root)
            used = _cpu(keeper) - before
            asked = reader.communicate(b"\n", timeout=DEADLINE)[0]
    count = len(records) - first
    return {"rate": count / seconds, "lag_s": lag, "keeper_us": 1e6 * used / count, "ask_ms": float(asked)}


@contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.terminate()


def _cpu(child: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(child.pid).cpu_times()
    return times.user + times.system


def _write(root: Path, records: list[dict[str, Any]], rate: int) -> float:
    """Returns the seconds it took; a writer that is late does not wait."""
    spool = Spool(root, "bench", SystemClock(), max_seconds=1.0)
    batch = max(1, int(rate * TICK))
    begun = time.perf_counter()
    for start in range(0, len(records), batch):
        for record in records[start : start + batch]:
            spool.ended(record)
        spool.flush()
        time.sleep(max(0.0, begun + (start + batch) / rate - time.perf_counter()))
    seconds = time.perf_counter() - begun
    spool.close()
    return seconds


def _compacted(root: Path) -> float:
    """Wait until no segment is left; returns the seconds that took. Raises SystemExit when it takes too long."""
    begun = time.perf_counter()
    while any((root / "spool").glob("*.jsonl")):
        if time.perf_counter() - begun > DEADLINE:
            raise SystemExit("the keeper did not keep up: no figure")
        time.sleep(TICK)
    return time.perf_counter() - begun


def ask(root: Path) -> float:
    """Ask for all requests by variant again and again until a line comes in; returns the median milliseconds."""
    import select

    log = Log(root, SystemClock())
    taken: list[float] = []
    since = datetime(2000, 1, 1, tzinfo=UTC)
    while not taken or not select.select([sys.stdin], [], [], 0.1)[0]:
        begun = time.perf_counter()
        log.window(None, since, None, ("variant",))
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


if __name__ == "__main__":
    print(ask(Path(sys.argv[1])))
