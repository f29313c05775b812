"""Our look at a day, in a process of its own: `python -m benchmarks.peers.ourwatch ROOT UNTIL SEGMENT REQUESTS`."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path

from tunekeeper.core.clock import ManualClock
from tunekeeper.monitoring.config import Config
from tunekeeper.monitoring.watch import watch
from tunekeeper.store.ledgers.signals import find_signals
from tunekeeper.testing.desk import FORMAT, MODEL
from tunekeeper.workspace import open_workspace


def main(root: Path, until: datetime, segment: str, baseline: int) -> None:
    """Take the baseline of as many requests and look at the day before `until`; prints a line of JSON."""
    ws = open_workspace(root, clock=ManualClock(until))
    config = Config(window_hours=24.0, every_hours=24.0, baseline_requests=baseline, segments=(segment,))
    start, used = time.perf_counter(), time.process_time()
    findings = watch(ws, MODEL, config, FORMAT)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    with ws.state.read() as tx:
        signals = {f"{each.name}[{each.segment}]": each.value for each in find_signals(tx, model=MODEL)}
    alarms = sorted(each.rule.signal for each in findings if each.holds == "yes")
    print(json.dumps({"seconds": seconds, "cpu": cpu, "signals": signals, "alarms": alarms}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
