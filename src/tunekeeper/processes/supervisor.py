"""The loop: adopt or start children, restart the dead, run small chores, stop everything in order."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import Busy, TunekeeperError
from tunekeeper.processes import locks
from tunekeeper.processes.children import WORDS, Child, Plan, cut_logs
from tunekeeper.processes.warm import Nursery, Spare

Say = Callable[[dict[str, Any]], None]
"""Where an event goes: a mapping with `event` and what belongs to it."""
Chore = tuple[float, Callable[[], None]]
"""Real seconds between two runs, and what to do."""
PAUSE = 0.1
"""Seconds between two looks at the children, at most."""
LOGS_EVERY = 5.0
"""Seconds between two looks at the size of the children's logs."""
SPARE_AFTER = 1.0
"""Seconds after the start before a spare is made: what starts may have the processor for itself."""


class Supervisor:
    """Keeps a set of children alive. Its own life is the flock of `run/supervisor.lock`."""

    def __init__(self, root: Path, environ: Mapping[str, str], say: Say, nursery: Nursery | None = None) -> None:
        """`root`: the data directory. `environ`: what children get. `nursery`: spares for children that run its module; while
        `run` looks one waits, so that who died is back soon. Raises Busy when another supervisor works there."""
        self.run_folder = root / "run"
        self.nursery = nursery
        self.environ = dict(environ)
        self.say = say
        self.children: dict[str, Child] = {}
        self.chores: list[Chore] = [(LOGS_EVERY, partial(cut_logs, self.run_folder / "logs"))]
        self._due: list[float] = []
        self._troubles: dict[int, type[Exception]] = {}
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
            child.start(self.environ, spare=self._spare(plan))
        return child

    def _spare(self, plan: Plan) -> Spare | None:
        nursery = self.nursery
        fits = nursery is not None and plan.command[:WORDS] == (sys.executable, "-m", nursery.module)
        return nursery.take() if nursery is not None and fits else None

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
                self._do(index, act)

    def _do(self, index: int, act: Callable[[], None]) -> None:
        """Run a chore; what cannot be done now (a full disk, a lock that somebody holds) is said once and tried again: the
        children need their supervisor most then."""
        try:
            act()
        except (TunekeeperError, OSError) as error:
            if self._troubles.get(index) is not type(error):
                self.say({"event": "trouble", "why": str(error)})
            self._troubles[index] = type(error)
        else:
            self._troubles.pop(index, None)

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
            child.start(self.environ, spare=self._spare(child.plan))
        except OSError as error:
            child.died(now)
            self.say({"event": "cannot_start", "name": child.plan.name, "why": str(error)})
            return
        self.say({"event": "restarted", "name": child.plan.name, "pid": child.pid})

    def run(self) -> int:
        """Tick until SIGTERM, SIGHUP or Ctrl-C; returns the exit code (0, or 130 after Ctrl-C)."""
        spare_due = time.monotonic() + SPARE_AFTER
        while not self._stops:
            self.tick()
            if self.nursery is not None and time.monotonic() >= spare_due:
                self.nursery.keep(1)
            self._pause()
        self.say({"event": "stopping"})
        return 130 if self._stops[0] == signal.SIGINT else 0

    def _pause(self) -> None:
        """Wait for the next look: until a child ends or is due, PAUSE at most."""
        now = time.monotonic()
        dues = [child.due - now for child in self.children.values() if child.pid is None and child.due > 0.0]
        handles = [handle for child in self.children.values() if (handle := child.handle()) is not None]
        ends = select.poll()
        for handle in handles:
            ends.register(handle, select.POLLIN)
        try:
            ends.poll(max(1.0, min([PAUSE, *dues]) * 1000.0))
        finally:
            for handle in handles:
                os.close(handle)

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
        """SIGTERM, SIGINT and SIGHUP end `run` while the block lasts; a hang-up that is ignored (nohup) stays so. At its end,
        however it ends, children stop, then `then` runs."""

        def note(number: int, frame: object) -> None:
            self._stops.append(number)

        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # the terminal is closed: nobody could end us by Ctrl-C any more
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in numbers}
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
