"""The loop: adopt or start children, restart the dead, run small chores, stop everything in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import Busy
from tunekeeper.processes import locks
from tunekeeper.processes.children import Child, Plan

Say = Callable[[dict[str, Any]], None]
"""Where an event goes: a mapping with `event` and what belongs to it."""
Chore = tuple[float, Callable[[], None]]
"""Real seconds between two runs, and what to do."""
PAUSE = 0.1


class Supervisor:
    """Keeps a set of children alive. Its own life is the flock of `run/supervisor.lock`."""

    def __init__(self, root: Path, environ: Mapping[str, str], say: Say) -> None:
        """`root`: the data directory. `environ`: what children get. Raises Busy when another supervisor works there."""
        self.run_folder = root / "run"
        self.environ = dict(environ)
        self.say = say
        self.children: dict[str, Child] = {}
        self.chores: list[Chore] = []
        self._due: list[float] = []
        self._stops: list[int] = []
        lock = locks.take(self.run_folder / "supervisor.lock")
        if lock is None:
            who = locks.holder(self.run_folder / "supervisor.lock")
            raise Busy(f"another tunekeeper runs on {root}{f' (process {who})' if who else ''}", fix="tunekeeper down")
        self._lock = lock
        locks.write_holder(lock, os.getpid())

    def ensure(self, plan: Plan) -> Child:
        """The child of this plan: adopted when it lives, else started now. Raises OSError when it cannot be run."""
        child = self.children.get(plan.name) or Child(plan=plan)
        self.children[plan.name] = child
        if child.process is None and child.adopt():
            self.say({"event": "adopted", "name": plan.name, "pid": child.pid})
            return child
        if not child.alive():
            child.start(self.environ)
        return child

    def drop(self, name: str) -> None:
        """Stop a child and forget it."""
        child = self.children.pop(name, None)
        if child is not None:
            child.stop()

    def tick(self) -> None:
        """Restart what died and is due, then run the chores that are due."""
        now = time.monotonic()
        for child in list(self.children.values()):
            self._look(child, now)
        for index, (period, act) in enumerate(self.chores):
            if index >= len(self._due):
                self._due.append(now)
            if now >= self._due[index]:
                self._due[index] = now + period
                act()

    def _look(self, child: Child, now: float) -> None:
        if child.pid is not None or child.due == 0.0:
            if child.alive():
                return
            code = child.process.returncode if child.process is not None else None
            delay = child.died(now)
            why = child.why()
            self.say({"event": "died", "name": child.plan.name, "code": code, "why": why, "restart_in": round(delay, 1)})
        if now < child.due:
            return
        try:
            child.start(self.environ)
        except OSError as error:
            child.died(now)
            self.say({"event": "cannot_start", "name": child.plan.name, "why": str(error)})
            return
        self.say({"event": "restarted", "name": child.plan.name, "pid": child.pid})

    def run(self) -> int:
        """Tick until SIGTERM or Ctrl-C; returns the exit code (0, or 130 after Ctrl-C)."""
        while not self._stops:
            self.tick()
            time.sleep(PAUSE)
        self.say({"event": "stopping"})
        return 130 if self._stops[0] == signal.SIGINT else 0

    def stop(self) -> None:
        """End the children in the order they were planned; a second signal ends the patience with all of them."""
        for name in list(self.children):
            child = self.children[name]
            child.signal(signal.SIGTERM)
            end = time.monotonic() + child.plan.grace
            while child.alive() and time.monotonic() < end and len(self._stops) < 2:
                time.sleep(0.02)
            if child.alive():
                child.stop(grace=0.0)
            del self.children[name]

    @contextmanager
    def at_work(self, then: Callable[[], None] | None = None) -> Iterator[None]:
        """SIGTERM and SIGINT end `run` while the block lasts. At its end, however it ends, children stop, then `then` runs."""

        def note(number: int, frame: object) -> None:
            self._stops.append(number)

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            self.stop()
            if then is not None:
                then()
            os.close(self._lock)
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._stops:
                self.say({"event": "stopped"})
