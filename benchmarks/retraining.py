"""The loop's own cost: a cycle with a trainer that takes no time and a fake engine, beside Luigi running as many empty steps.

A cycle of ours checks, judges, exports, loads and switches for real; a step of Luigi starts a Python that does nothing. Then how
soon after its trigger is written a cycle is open, with the worker running as `up` runs it.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks import bench
from benchmarks.bench import Figure, Middle, Rounds
from benchmarks.evaluation import asked
from benchmarks.peers.contender import REPOSITORY, child
from benchmarks.peers.starters import MAKE, PEERS
from tunekeeper.core.clock import SystemClock
from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.retraining.cycle import ORDER
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.triggers import save_trigger
from tunekeeper.testing.desk import MODEL, write_project
from tunekeeper.workspace import create_workspace

DEADLINE = 60.0
LOOK = 0.005
"""Seconds between two looks at whether the cycle is open."""
SETTLE = 2.0
"""Seconds that the worker has for its first round: that loads what later ones find loaded."""
EAGER = "retraining: {min_corrections: 0}\n"


def cycling(root: Path, rounds: int) -> Rounds:
    """A cycle by ours and as many empty steps by Luigi."""
    fresh = (root / f"cycle-{number}" for number in count())
    taking: dict[str, bench.Contender] = {
        "ours": lambda: asked(sys.executable, "-m", "benchmarks.peers.cycling", next(fresh)),
    }
    if not missing():
        script = REPOSITORY / "benchmarks" / "peers" / "stepping.py"
        taking["luigi"] = lambda: asked(PEERS / "luigi" / "bin" / "python", script, next(fresh), str(len(ORDER)))
    return bench.interleave(taking, rounds)


def beginning(root: Path) -> dict[str, float]:
    """Milliseconds from a trigger's commit until its cycle is open, the worker running beside."""
    write_project(root, random.Random(7), section=EAGER)
    ws = create_workspace(root / ".tunekeeper", project=root, clock=SystemClock())
    with child([sys.executable, "-m", "tunekeeper.retraining.worker", "--project", str(root)], None, log=root / "said") as worker:
        end = time.monotonic() + DEADLINE
        while not (root / ".tunekeeper" / "run" / "worker.own").exists() and time.monotonic() < end:
            time.sleep(LOOK)
        time.sleep(SETTLE)
        trigger = Trigger(id=ws.new_id("trg"), model=MODEL, reason="RETR-01", summary="bench")
        with ws.state.write(by="bench") as tx:
            save_trigger(tx, trigger)
        start = time.perf_counter()
        while True:
            with ws.state.read() as read:
                if any(cycle.trigger == trigger.id for cycle in find_cycles(read, model=MODEL)):
                    return {"ms": 1000 * (time.perf_counter() - start)}
            if worker.poll() is not None or time.monotonic() > end + DEADLINE:
                raise SystemExit(f"no cycle was opened: {(root / 'said').read_text()[-1000:]}")
            time.sleep(LOOK)


def missing() -> dict[str, str]:
    """Peer → why it is not measured."""
    return {} if (PEERS / "luigi" / ".made").exists() else {"luigi": f'{MAKE} ARGS="luigi"'}


def figures(cycles: Rounds, begun: Rounds) -> Iterator[Figure]:
    """The table."""

    def of(name: str, quantity: str) -> Middle | None:
        return cycles.over(lambda one: one[name][quantity])

    def ratio(quantity: str) -> Middle | None:
        return cycles.over(lambda one: one["ours"][quantity] / one["luigi"][quantity])

    yield bench.figure("cycle", of("ours", "seconds"), "s", goal=60.0)
    yield bench.figure("cycle_cpu", of("ours", "cpu"), "s", goal=60.0)
    yield bench.figure("longest_round_cpu", of("ours", "longest_ms"), "ms", goal=1000.0)
    for stage in ORDER:
        yield bench.figure(f"stage_{stage}", of("ours", f"stage_{stage}"), "s")
    yield bench.figure("cycle_cpu_to_luigi_empty", ratio("cpu"), "x", peer="luigi")
    yield bench.figure("cycle_to_luigi_empty", ratio("seconds"), "x", peer="luigi")
    yield bench.figure("luigi_empty_steps", of("luigi", "seconds"), "s", peer="luigi")
    yield bench.figure("luigi_empty_steps_cpu", of("luigi", "cpu"), "s", peer="luigi")
    yield bench.figure("trigger_to_cycle", begun.over(lambda one: one["worker"]["ms"]), "ms", goal=1000.0)


def main() -> int:
    """Run it; returns the exit code."""
    given = bench.parser(__doc__, rounds=3).parse_args()
    rounds = 1 if given.quick else given.rounds
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as name:
        root = Path(name)
        cycles = cycling(root, rounds)
        fresh = (root / f"begin-{number}" for number in count())
        begun = bench.interleave({"worker": lambda: beginning(next(fresh))}, rounds)
    bench.report("retraining", rounds, [*figures(cycles, begun)], given.results, missing())
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
