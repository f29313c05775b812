"""The worker: a reconciler under a fenced lease. It looks, pokes, writes once and returns; killing it stops no answer.

`python -m tunekeeper.retraining.worker --project DIR [--root ROOT]`
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from tunekeeper.config import ModelConfig, ProjectConfig, load_project
from tunekeeper.config.watching import FileWatch, project_files
from tunekeeper.core.errors import Busy, Conflict, LeaseLost, TunekeeperError
from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.data import review, updates, versions, weekly
from tunekeeper.monitoring.gauges import tell
from tunekeeper.monitoring.tokens import fill_more
from tunekeeper.monitoring.watch import watch
from tunekeeper.monitoring.watchdog import check_room, check_routing, check_silence
from tunekeeper.notify import deliver
from tunekeeper.retraining.cycle import STAGES, Stage, open_cycle, step
from tunekeeper.retraining.policy import Facts, choose
from tunekeeper.rollout.canary import tick as rollout_tick
from tunekeeper.rollout.drill import unfinished
from tunekeeper.rollout.moves import publish_newest
from tunekeeper.rollout.tally import Looks
from tunekeeper.store.database import Lease
from tunekeeper.store.flocks import UNSUPERVISED_SECONDS, Supervision
from tunekeeper.store.leases import boot_id
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.rollouts import find_rollouts
from tunekeeper.store.ledgers.triggers import find_triggers
from tunekeeper.workspace import Workspace, open_workspace

LEASE = "worker"
LEASE_SECONDS = 10.0
SILENCE_SECONDS = 10.0
COUNT_SECONDS = 5.0
GAUGE_SECONDS = 10.0
COLLECT_SECONDS = 2.0
ASK_SECONDS = 60.0
COLLECT_AGAIN_SECONDS = 600.0  # a collection that failed is begun anew, and not at once
QUIET_SECONDS = 600.0  # what goes wrong in the same way at every round is said in waits that grow up to this
CYCLE_STEPS = 8  # a stage that is done at once lets the next begin in the same tick


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """What goes wrong again and again."""

    why: str
    """The line that was said."""
    at: float
    """Real seconds when it was said last."""
    wait: float
    """Real seconds until it is said again."""


@dataclass(slots=True)
class Worker:
    """The reconciler of one project. Holds nothing that a restart would lose."""

    ws: Workspace
    """The workspace."""
    project: ProjectConfig
    """Its configuration."""
    owner: str
    """Who holds the leases; the machine, where it runs as a process of its own."""
    say: Callable[[dict[str, Any]], None]
    """Where a line about each step goes."""
    leases: dict[str, Lease] = field(default_factory=dict)
    """Leases held: `control`, `state`."""
    stages: Sequence[Stage] = STAGES
    """The stages of a cycle, in order."""
    listened: dict[str, float] = field(default_factory=dict)
    """Model → real seconds when silence was last looked for."""
    counted: dict[str, float] = field(default_factory=dict)
    """Model → real seconds when tokens were last counted."""
    told: float = float("-inf")
    """Real seconds when the gauges were told last."""
    collecting: dict[str, float] = field(default_factory=dict)
    """Model → real seconds from which on the weekly collection is looked after again."""
    asking: dict[str, float] = field(default_factory=dict)
    """Model → real seconds when answers of a new version were last looked for."""
    looks: Looks = field(default_factory=Looks)
    """What earlier looks at rollouts counted."""
    troubles: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    """(model, what) → what goes wrong there at present."""
    files: FileWatch | None = None
    """The project's files, read again when they have changed; None: never."""

    def tick(self) -> bool:
        """One round over everything that is due. Returns False while another worker holds the lease."""
        if not self._lead():
            return False
        self._read_again()
        publish_newest(self.ws)
        for name, config in self.project.models.items():
            self._guarded(name, "drill", partial(unfinished, self.ws, name, by=self.owner))
            self._guarded(name, "rollout", partial(self._rollouts, name, config))
            self._guarded(name, "monitoring", partial(self._watch, name, config))
            self._guarded(name, "cycle", partial(self._cycles, name, config))
            self._guarded(name, "tokens", partial(self._count, name))
            self._guarded(name, "collect", partial(self._collect, name, config))
            self._guarded(name, "new version", partial(self._ask_people, name, config))
        self._guarded("", "gauges", self._tell)
        self._guarded("", "notify", partial(deliver, self.ws, self.project.notify))
        return True

    def _read_again(self) -> None:
        """Obey the project's files as they are now; while they cannot be read, as they were."""
        if self.files is None or self.ws.project is None or not self.files.changed():
            return
        try:
            self.project = load_project(self.ws.project)
            self.say({"event": "reloaded"})
        except TunekeeperError as error:
            self.say({"event": "not_reloaded", "why": str(error)})

    def resign(self) -> None:
        """Let another worker lead at once."""
        for name, database in (("control", self.ws.control), ("state", self.ws.state)):
            if name in self.leases:
                database.release_lease(self.leases.pop(name))

    def _lead(self) -> bool:
        for name, database in (("control", self.ws.control), ("state", self.ws.state)):
            held = self.leases.pop(name, None)
            try:
                lease = (
                    database.renew_lease(held) if held is not None else database.acquire_lease(LEASE, self.owner, LEASE_SECONDS)
                )
            except LeaseLost:
                lease = database.acquire_lease(LEASE, self.owner, LEASE_SECONDS)
            if lease is None:
                return False
            self.leases[name] = lease
        return True

    def _guarded(self, model: str, what: str, act: Callable[[], object]) -> None:
        try:
            act()
            self.troubles.pop((model, what), None)
        except (Conflict, LeaseLost) as error:
            self.say({"event": "overtaken", "model": model, "what": what, "why": str(error)})
        except TunekeeperError as error:
            self._complain({"event": "error", "model": model, "what": what, "why": str(error)})
        except Exception as error:  # noqa: BLE001  # a fault of ours in one model must not stop the watch over the others
            where = traceback.format_exc(limit=-3)
            self._complain(
                {"event": "fault", "model": model, "what": what, "why": f"{type(error).__name__}: {error}", "where": where}
            )

    def _complain(self, line: dict[str, Any]) -> None:
        """Say what went wrong; while it goes wrong in the same way at every round, ever more rarely."""
        place, now = (line["model"], line["what"]), self.ws.clock.real()
        last = self.troubles.get(place)
        again = last is not None and last.why == line["why"]
        if last is not None and again and now - last.at < last.wait:
            return
        wait = min(2 * last.wait, QUIET_SECONDS) if last is not None and again else 1.0
        self.troubles[place] = Trouble(why=line["why"], at=now, wait=wait)
        self.say(line)

    def _rollouts(self, name: str, config: ModelConfig) -> None:
        with self.ws.control.read() as tx:
            active = find_rollouts(tx, model=name, state=("loading", "running"))
        for rollout in active:
            section, rules, lease = config.sections["rollout"], config.task.format, self.leases["control"]
            now = rollout_tick(self.ws, rollout.id, section, rules, lease=lease, looks=self.looks)
            if now.rev != rollout.rev and now.checks:
                self.say(
                    {"event": "rollout", "model": name, "state": now.state, "phase": now.phase, "why": now.checks[-1].reason}
                )

    def _watch(self, name: str, config: ModelConfig) -> None:
        section = config.sections["monitoring"]
        findings = watch(self.ws, name, section, config.task.format, lease=self.leases["state"])
        if findings:
            until = self.ws.clock.utc()
            review.sample(self.ws, name, until - timedelta(hours=section.every_hours), until, share=section.review_share)
            self.say({"event": "watched", "model": name, "alarms": [each.reason for each in findings if each.holds == "yes"]})
        if self.ws.clock.real() - self.listened.get(name, -SILENCE_SECONDS) >= SILENCE_SECONDS:
            self.listened[name] = self.ws.clock.real()
            check_room(self.ws, name, lease=self.leases["state"])
            check_routing(self.ws, name, lease=self.leases["state"])
            check_silence(self.ws, name, section, lease=self.leases["state"])
        self._consider(name, config)

    def _tell(self) -> None:
        """Let `/metrics` tell what only the worker knows."""
        if self.ws.clock.real() - self.told >= GAUGE_SECONDS:
            self.told = self.ws.clock.real()
            tell(self.ws, self.project.models)

    def _count(self, name: str) -> None:
        """Fill in the tokens that model servers did not count, a little at a time."""
        if self.ws.clock.real() - self.counted.get(name, -COUNT_SECONDS) < COUNT_SECONDS:
            return
        self.counted[name] = self.ws.clock.real()
        filled = fill_more(self.ws, name)
        self.counted[name] = self.ws.clock.real()
        if filled.written:
            self.say({"event": "counted", "model": name, "records": filled.written})

    def _collect(self, name: str, config: ModelConfig) -> None:
        """Have collected what people said about answers, when it is time for that; a child does it."""
        if self.ws.clock.real() < self.collecting.get(name, 0.0):
            return
        self.collecting[name] = self.ws.clock.real() + COLLECT_AGAIN_SECONDS
        job = weekly.tend(self.ws, config.task, config.sections["data"])
        if job is not None and job.state == "failed":
            self.say({"event": "error", "model": name, "what": "collect", "why": job.error})
            return
        self.collecting[name] = self.ws.clock.real() + COLLECT_SECONDS
        if job is not None and job.state == "done":
            self.say({"event": "collected", "model": name, "what": (job.output or {}).get("told")})

    def _ask_people(self, name: str, config: ModelConfig) -> None:
        """Have people look at the first answers of a version that was promoted."""
        if self.ws.clock.real() - self.asking.get(name, -ASK_SECONDS) < ASK_SECONDS:
            return
        self.asking[name] = self.ws.clock.real()
        queued = updates.tend(self.ws, name, config.sections["data"])
        if queued:
            self.say({"event": "to review", "model": name, "answers": len(queued), "why": queued[0].reasons[0]})

    def _consider(self, name: str, config: ModelConfig) -> None:
        facts = facts_of(self.ws, config)
        choice = choose(facts, config.sections["retraining"]) if facts is not None else None
        if facts is None or choice is None or not choice.open:
            return
        cycle = open_cycle(self.ws, name, why=choice.why, by=self.owner, reason="trigger", trigger=facts.trigger.id)
        self.say({"event": "cycle", "model": name, "number": cycle.number, "why": choice.why})

    def _step(self, cycle: Cycle, config: ModelConfig) -> Cycle:
        return step(self.ws, cycle, config, lease=self.leases["state"], stages=self.stages)

    def _cycles(self, name: str, config: ModelConfig) -> None:
        with self.ws.state.read() as tx:
            cycles = find_cycles(tx, model=name, state="open")
        for cycle in cycles:
            for _ in range(CYCLE_STEPS):
                before, cycle = cycle, self._step(cycle, config)
                if cycle.faults and cycle.faults != before.faults:
                    self.say({"event": "fault", "model": name, "what": before.stage, "why": cycle.waiting or cycle.closed_why})
                if cycle.stage == before.stage:
                    break
                self.say(
                    {
                        "event": "stage",
                        "model": name,
                        "number": cycle.number,
                        "stage": before.stage,
                        "note": cycle.notes.get(before.stage, ""),
                    }
                )
                if cycle.state != "open":
                    break
            if cycle.state != "open":
                self.say(
                    {"event": "closed", "model": name, "number": cycle.number, "state": cycle.state, "why": cycle.closed_why}
                )


def facts_of(ws: Workspace, config: ModelConfig) -> Facts | None:
    """What is known about the oldest trigger that no cycle took; None when there is none."""
    name = config.task.name
    with ws.state.read() as tx:
        cycles = find_cycles(tx, model=name)
        taken = {each.trigger for each in cycles}
        waiting: list[Trigger] = [each for each in find_triggers(tx, model=name, state="open") if each.id not in taken]
    if not waiting:
        return None
    since = versions.frozen_at(ws, versions.latest(ws, name))
    corrections = ws.log.feedback(model=name, since=since, kind=("edit", "correction", "label"))
    return Facts(
        trigger=waiting[0],
        cycle_open=any(each.state == "open" for each in cycles),
        last_closed=max((each.closed_at for each in cycles if each.closed_at is not None), default=None),
        corrections=len({each.request_id for each in corrections}),
        level=config.task.level,
        now=ws.clock.utc(),
    )


def main(argv: list[str] | None = None, *, stages: Sequence[Stage] = STAGES) -> int:
    """Run until SIGTERM, or until the supervisor it had has been gone for ten minutes; returns the exit code. `stages`: of a
    cycle, where a fake stands in for one."""
    parser = argparse.ArgumentParser(prog="tunekeeper worker")
    parser.add_argument("--project", type=Path, required=True, help="folder that holds tunekeeper.yaml")
    parser.add_argument("--root", type=Path, help="data directory (default: .tunekeeper in the project)")
    parser.add_argument("--interval", type=float, default=0.25, help="real seconds between two rounds")
    parser.add_argument(
        "--unsupervised-seconds", type=float, default=UNSUPERVISED_SECONDS, help="seconds after its supervisor's end that it ends"
    )
    options = parser.parse_args(argv)
    root: Path = options.root or options.project / ".tunekeeper"
    ws = open_workspace(root, project=options.project)
    lock = _alone(root)
    stopping = _stopper()
    files = FileWatch(partial(project_files, options.project))  # looked at before they are read: no change is passed over
    worker = Worker(ws=ws, project=load_project(options.project), owner=_owner(), say=_say, stages=stages, files=files)
    supervision = Supervision(root, ws.clock.real, options.unsupervised_seconds)
    while not stopping:
        if supervision.lost():
            worker.say({"event": "unsupervised", "seconds": options.unsupervised_seconds})
            break
        worker.tick()
        ws.clock.sleep(options.interval)
    worker.resign()
    os.close(lock)
    return 0


def _alone(root: Path) -> int:
    path = root / "run" / "worker.own"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy("another worker runs on this project", fix="tunekeeper status") from None
    return handle


def _owner() -> str:
    """This machine, not this process: `_alone` proves that the one before is gone, so its lease need not be waited for. Whatever
    it still tried to write carries an old epoch."""
    return f"worker-{socket.gethostname()}-{boot_id()[:8]}"


def _stopper() -> list[int]:
    stopping: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping


def _say(line: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TunekeeperError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
