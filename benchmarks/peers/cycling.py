"""One cycle of the loop in a process of its own: `python -m benchmarks.peers.cycling FOLDER`. Prints a line of JSON.

The toy desk learns a first version with a trainer that takes no time and is served by the fake engine; worker, jobs, ledgers,
exams, gates and the switch are the real ones. Whoever is started belongs to this process, so that all CPU is counted.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.journeys.loop import SECTION, Loop, looped
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.retraining.cycle import ORDER
from tunekeeper.testing.desk import open_desk

SUBREAPER = 36
"""prctl's PR_SET_CHILD_SUBREAPER: a grandchild whose parent has ended becomes our child, and its CPU is told to us."""
PAUSE = 0.05
DEADLINE = 300.0


def adopt() -> None:
    """Become the parent of what is left behind."""
    if ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0):
        raise SystemExit("this system does not tell the CPU of grandchildren: no figure")


def reap() -> None:
    """Wait for all children."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def cpu() -> float:
    """CPU seconds of this process and of all that it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


class Follower:
    """Rounds of the worker until a cycle is so far, and what they took."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.longest = 0.0
        """CPU seconds of the longest round, in the worker's own process."""
        self.stages: dict[str, float] = {}
        """Stage → seconds of the rounds that began in it; one that is done within the round of another has none."""

    def until(self, id: str, reached: Callable[[Cycle], bool]) -> Cycle:
        """The cycle once it is there, or closed."""
        end = time.monotonic() + DEADLINE
        while True:
            stage, start, used = self.loop.cycle(id).stage, time.perf_counter(), time.process_time()
            self.loop.worker.tick()
            self.longest = max(self.longest, time.process_time() - used)
            cycle = self.loop.cycle(id)
            over = reached(cycle) or cycle.state != "open"
            if not over:
                self.loop.supervise()
                time.sleep(PAUSE)
            self.stages[stage] = self.stages.get(stage, 0.0) + time.perf_counter() - start
            if over:
                return cycle
            if time.monotonic() > end:
                raise SystemExit(f"{cycle.stage}: {cycle.waiting}: {self.loop.said[-3:]}: no figure")


def run(folder: Path) -> dict[str, float]:
    """Seconds of the whole and of each stage, CPU, and of that the longest round's in milliseconds."""
    adopt()
    desk = open_desk(folder, seed=7, section=SECTION, cases=100, rows=220)
    with looped(desk) as loop:
        dataset = loop.dataset()
        used, start, follower = cpu(), time.perf_counter(), Follower(loop)
        opened = loop.open("bench", options={"dataset": dataset})
        waiting = follower.until(opened.id, lambda cycle: cycle.stage == "approve")
        if waiting.state == "open":
            loop.consent(waiting)
        done = follower.until(opened.id, lambda cycle: False)
        seconds = time.perf_counter() - start
    if done.state != "promoted":
        raise SystemExit(f"the cycle ended as {done.state}: {done.closed_why}: no figure")
    reap()
    stages = {f"stage_{name}": follower.stages.get(name, 0.0) for name in ORDER}
    return {"seconds": seconds, "cpu": cpu() - used, "longest_ms": 1000 * follower.longest, **stages}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
