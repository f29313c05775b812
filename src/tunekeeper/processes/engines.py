"""Model servers of slots: started when a slot is wanted, reported when they answer, replaced when the slot asks for another
file.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper import engines
from tunekeeper.core.errors import ArtifactError, TunekeeperError, UserError
from tunekeeper.engines.child import SIGNS
from tunekeeper.engines.engine import lock_path
from tunekeeper.engines.temporary import patience
from tunekeeper.processes import locks
from tunekeeper.processes.children import Child, Plan
from tunekeeper.processes.supervisor import Supervisor

if TYPE_CHECKING:
    from tunekeeper.core.nouns.serving import Slot
    from tunekeeper.deployment.slots import Observed
    from tunekeeper.workspace import Workspace

SILENT_SECONDS = 60.0
"""Seconds without a sign of life after which a server that answered is ended and started again."""
LOOK = 2.0
"""Most seconds that one look counts: a machine that slept between two of them proves nothing against a server."""


@dataclass(slots=True)
class Pulse:
    """How long a server gave no sign of life: it touches its lock file while it is not standing still."""

    sign: int = 0
    """Time of the newest sign, as the file system says it."""
    looked: float = 0.0
    """Monotonic seconds at the last look."""
    quiet: float = 0.0
    """Seconds without another sign, counted in looks."""

    def look(self, sign: int, now: float) -> float:
        """Note what is seen now; returns `quiet`."""
        self.quiet = 0.0 if sign != self.sign else self.quiet + min(now - self.looked, LOOK)
        self.sign, self.looked = sign, now
        return self.quiet


class Engines:
    """Makes what runs agree with what the slots want."""

    def __init__(self, ws: Workspace, supervisor: Supervisor) -> None:
        self.ws = ws
        self.supervisor = supervisor
        self.children: dict[str, Child] = {}
        self._said: dict[str, tuple[Any, ...]] = {}
        self._pulses: dict[str, Pulse] = {}

    def reconcile(self) -> None:
        """One look at every slot: start, adopt, report, replace or stop. Returns soon; loading is not waited for."""
        from tunekeeper.store.ledgers.slots import find_slots

        with self.ws.control.read() as tx:
            slots = {slot.id: slot for slot in find_slots(tx)}
        for name in [name for name in self.children if name not in slots]:
            self._end(name)
        troubles: list[Exception] = []
        for slot in slots.values():
            try:
                self._look(slot)
            except (TunekeeperError, OSError) as error:  # e.g. nothing can be written now: the others are looked at all the same
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def stop(self) -> None:
        """End every model server."""
        for name in list(self.children):
            self._end(name)

    def _look(self, slot: Slot) -> None:
        try:
            self._reconcile(slot)
        except UserError as error:
            self._observe(slot, "failed", reason=error.message)

    def _reconcile(self, slot: Slot) -> None:
        from tunekeeper.deployment.slots import restore_files

        if slot.wanted == "unloaded":
            self._unload(slot)
            return
        restore_files(self.ws, slot)
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
        if why := self._hangs(slot, child, report):
            child.stop(grace=0.0)  # what stands still hears nothing gentler
            self._failed(slot, child, why)
            return
        if report is None:
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
            self._failed(slot, child, child.why())
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

    def _hangs(self, slot: Slot, child: Child, report: Mapping[str, Any] | None) -> str:
        """Why a server that runs is of no use any more; empty while it is, or may be yet."""
        try:
            sign = child.plan.lock.stat().st_mtime_ns
        except FileNotFoundError:
            return ""
        quiet = self._pulses.setdefault(slot.id, Pulse()).look(sign, time.monotonic())
        if report is None:
            limit = 2 * patience(slot, self.ws.root)  # others may load beside it, and ending it helps nobody
            return f"it did not answer within {limit:.0f} s and was ended" if quiet > limit else ""
        if quiet <= SILENT_SECONDS or not report.get(SIGNS):
            return ""
        return f"it gave no sign of life for {SILENT_SECONDS:.0f} s and was ended"

    def _failed(self, slot: Slot, child: Child, why: str) -> None:
        from tunekeeper.deployment.slots import restore_files

        code = child.process.returncode if child.process is not None else None
        wait = round(child.died(time.monotonic()), 1)
        self.supervisor.say({"event": "died", "name": child.plan.name, "code": code, "why": why, "restart_in": wait})
        self._observe(slot, "failed", reason=why)
        if code == ArtifactError.exit_code:
            restore_files(self.ws, slot, doubted=True)

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
        if observed == "ready" and slot.observed != "ready":
            self.supervisor.say({"event": "loaded", "name": f"engine-{slot.id}"})
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
