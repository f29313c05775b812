"""Model servers of slots: started when a slot is wanted, reported when they answer, replaced when the slot asks for another
file.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper import engines
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.engines.engine import lock_path
from tunekeeper.processes import locks
from tunekeeper.processes.children import Child, Plan
from tunekeeper.processes.supervisor import Supervisor

if TYPE_CHECKING:
    from tunekeeper.core.nouns.serving import Slot
    from tunekeeper.deployment.slots import Observed
    from tunekeeper.workspace import Workspace

STARTING_SECONDS = 120.0
"""Seconds a server may take to load before it counts as failed."""


class Engines:
    """Makes what runs agree with what the slots want."""

    def __init__(self, ws: Workspace, supervisor: Supervisor) -> None:
        self.ws = ws
        self.supervisor = supervisor
        self.children: dict[str, Child] = {}
        self._said: dict[str, tuple[Any, ...]] = {}

    def reconcile(self) -> None:
        """One look at every slot: start, adopt, report, replace or stop. Returns soon; loading is not waited for."""
        from tunekeeper.store.ledgers.slots import find_slots

        with self.ws.control.read() as tx:
            slots = {slot.id: slot for slot in find_slots(tx)}
        for name in [name for name in self.children if name not in slots]:
            self._end(name)
        for slot in slots.values():
            try:
                self._reconcile(slot)
            except TunekeeperError as error:
                self._observe(slot, "failed", reason=error.message)

    def stop(self) -> None:
        """End every model server."""
        for name in list(self.children):
            self._end(name)

    def _reconcile(self, slot: Slot) -> None:
        if slot.wanted == "unloaded":
            self._unload(slot)
            return
        command = engines.launch_command(slot, self.ws.root)
        if command is None:  # an outside server: taken at its word, and nothing of ours serves the slot any more
            self._end_any(slot)
            return
        child = self.children.get(slot.id)
        if child is not None and loads(child.plan.command) != loads(command):
            self._end(slot.id)
            child = None
        if child is None:
            child = self.children[slot.id] = self._child(slot, command)
        if not child.alive():
            child.plan = replace(child.plan, command=tuple(command))  # a known port is asked for again
            self._start_again(slot, child)
            return
        report = _report(child.plan.lock)
        if report is None:
            if time.monotonic() - child.started > STARTING_SECONDS:
                child.stop()
            self._observe(slot, "starting", pid=child.pid)
            return
        took = time.monotonic() - child.started if child.process is not None and slot.observed == "starting" else None
        self._observe(slot, "ready", endpoint=f"{report['listening']}/v1", pid=report.get("pid", child.pid), seconds=took)

    def _child(self, slot: Slot, command: list[str]) -> Child:
        """A child for the slot; one that still runs from an earlier supervisor is adopted when it was started by the same
        command.
        """
        plan = Plan(name=f"engine-{slot.id}", command=tuple(command), lock=lock_path(slot, self.ws.root), takes_lock=True)
        child = Child(plan=plan, due=0.0)
        if locks.held(plan.lock):
            if loads(_started_with(plan)) == loads(plan.command):
                child.adopt()
                self.supervisor.say({"event": "adopted", "name": plan.name, "pid": child.pid})
            else:
                child.stop()
        return child

    def _start_again(self, slot: Slot, child: Child) -> None:
        now = time.monotonic()
        if child.pid is not None:
            code = child.process.returncode if child.process is not None else None
            delay, why = child.died(now), child.why()
            name, wait = child.plan.name, round(delay, 1)
            self.supervisor.say({"event": "died", "name": name, "code": code, "why": why, "restart_in": wait})
            self._observe(slot, "failed", reason=why)
        if now < child.due:
            return
        child.plan.lock.parent.mkdir(parents=True, exist_ok=True)
        child.plan.lock.write_bytes(b"")  # an old report must not be taken for the new server's
        _note_command(child.plan)
        try:
            child.start(self.supervisor.environ, now)
        except OSError as error:
            child.died(now)
            self._observe(slot, "failed", reason=str(error))
            return
        self.supervisor.say({"event": "started", "name": child.plan.name, "pid": child.pid})
        self._observe(slot, "starting", pid=child.pid)

    def _unload(self, slot: Slot) -> None:
        self._end_any(slot)
        if slot.files or slot.pid is not None:
            self._observe(slot, "stopped")

    def _end_any(self, slot: Slot) -> None:
        """End the slot's child, also one that an earlier supervisor started."""
        if slot.id not in self.children and locks.held(lock_path(slot, self.ws.root)):
            self.children[slot.id] = Child(plan=Plan(name=f"engine-{slot.id}", command=(), lock=lock_path(slot, self.ws.root)))
        if slot.id in self.children:
            self._end(slot.id)

    def _end(self, name: str) -> None:
        child = self.children.pop(name)
        child.stop()
        self.supervisor.say({"event": "ended", "name": child.plan.name})

    def _observe(
        self,
        slot: Slot,
        observed: Observed,
        *,
        endpoint: str | None = None,
        pid: int | None = None,
        reason: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Report through deployment, which owns the ledger, only what it does not say already."""
        from tunekeeper.deployment.slots import observe_slot

        seen = (observed, endpoint, pid, reason)
        if self._said.get(slot.id) == seen and slot.observed == observed:
            return
        observe_slot(
            self.ws, slot.id, observed, endpoint=endpoint, pid=pid, reason=reason, digest=slot.digest, seconds=seconds
        )  # fmt: skip
        self._said[slot.id] = seen


def loads(command: Sequence[str]) -> list[str]:
    """What a command line loads: all of it but the port, which is only where the server was met last."""
    kept, words = [], iter(command)
    for word in words:
        if word == "--port":
            next(words, None)
        elif word != "--other-port":
            kept.append(word)
    return kept


def _report(lock: Path) -> dict[str, Any] | None:
    """The line that a server wrote into its lock file when it began to answer."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(lock.read_bytes() or b"null")
        if isinstance(found, dict) and isinstance(found.get("listening"), str):
            return found
    return None


def _note_command(plan: Plan) -> None:
    plan.lock.with_suffix(".json").write_text(json.dumps(plan.command))


def _started_with(plan: Plan) -> tuple[str, ...]:
    with contextlib.suppress(OSError, ValueError):
        return tuple(json.loads(plan.lock.with_suffix(".json").read_bytes()))
    return ()
