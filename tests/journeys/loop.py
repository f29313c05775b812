"""A whole loop at the toy desk: the fake trainer as stage `train`, model servers of the fake engine, everything else real.

`python -m tests.journeys.loop` starts workers with that stage, for journeys that kill them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.patience import PATIENCE
from tunekeeper import jobs, training
from tunekeeper.config import ModelConfig, load_project
from tunekeeper.core.ids import new_id
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.data import freezing, import_files
from tunekeeper.deployment.slots import observe_slot
from tunekeeper.engines import serve_temporarily
from tunekeeper.retraining.cycle import STAGES, open_cycle
from tunekeeper.retraining.worker import Worker, main
from tunekeeper.rollout.approvals import approve
from tunekeeper.rollout.moves import find_route
from tunekeeper.store.ledgers.artifacts import load_artifact
from tunekeeper.store.ledgers.cycles import load_cycle
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.store.ledgers.exams import load_exam
from tunekeeper.store.ledgers.runs import find_runs, save_run
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.testing.desk import MODEL, Desk
from tunekeeper.training.base import read_base
from tunekeeper.training.config import Config
from tunekeeper.training.orders import rows_file
from tunekeeper.workspace import Workspace

TRAINER = "tunekeeper.testing.trainer:run"
SECTION = """\
data: {min_corrections: 10, outdated_similar: 0.6}
deployment: {engine: fake, smoke_prompts: 10}
evaluation: {min_cases: 50, dataset_cases: 40}
rollout:
  phases: [{percent: 20, hours: 2}, {percent: 50, hours: 2}]
  margins: {errors: 0.1, corrections: 0.1}
  check_minutes: 60
  settle_minutes: 10
  min_requests: 20
  incident_cases: 24
monitoring: {every_hours: 24, window_hours: 24, min_samples: 20, min_reviewed: 10, baseline_requests: 60}
retraining: {cooldown_days: 1, min_corrections: 10}
"""


def learn(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Stage `train` with the fake trainer: the same ledgers, the same collecting, no weights."""
    with ws.state.read() as tx:
        dataset = load_dataset(tx, cycle.records["data"])
    asked = {
        "train": str(rows_file(ws, dataset, "train")),
        "eval": str(rows_file(ws, dataset, "eval")),
        "seconds": 0.3,
    }
    job = jobs.ensure(ws, TRAINER, asked, model=task.name)
    base = read_base((ws.project or ws.root) / task.base)
    with ws.control.read() as tx:
        first = find_route(tx, task.name) is None
    if first:
        training.declare_base(ws, task, section)
    with ws.state.write(by="training") as write:
        known = [run for run in find_runs(write, model=task.name) if run.job == job.id]
        begun = TrainingRun(
            id=new_id("run", ws.clock.utc()),
            model=task.name,
            dataset=dataset.id,
            dataset_digest=dataset.digest,
            recipe={"trainer": "fake"},
            recipe_digest="sha256:fake",
            base=task.base,
            base_digest=base.digest,
            job=job.id,
        )
        run = known[0] if known else save_run(write, begun)
    run = training.collect(ws, run)
    if run.state == "running":
        return Wait(why="training", progress=job.progress)
    if run.version is None:
        return Stop(why=run.ended or "no reason given", record=run.id)
    return Done(record=run.version, note=f"{run.version}, {run.rows} rows, error rate {run.final_loss:.2f}")


FAKES = tuple(replace(stage, poke=learn) if stage.name == "train" else stage for stage in STAGES)


@dataclass(slots=True)
class Loop:
    """A desk with its worker and the small supervisor of its model servers."""

    desk: Desk
    worker: Worker
    servers: ExitStack
    said: list[dict[str, Any]] = field(default_factory=list)
    loaded: dict[str, str | None] = field(default_factory=dict)

    @property
    def ws(self) -> Workspace:
        return self.desk.ws

    def config(self) -> ModelConfig:
        return self.worker.project.model(MODEL)

    def dataset(self) -> str:
        """Import the project's rows and freeze them."""
        config = self.config()
        import_files(self.ws, config.task, config.sections["data"], [self.desk.folder / "data" / "rows.jsonl"])
        return freezing.freeze(self.ws, config.task, config.sections["data"], by="ana").id

    def open(self, why: str, **given: Any) -> Cycle:
        self.desk.clock.advance(1)
        return open_cycle(self.ws, MODEL, why=why, by="ana", **given)

    def cycle(self, id: str) -> Cycle:
        with self.ws.state.read() as tx:
            return load_cycle(tx, id)

    def supervise(self) -> None:
        """Serve what the slots want, as the supervisor of `up` does."""
        with self.ws.control.read() as tx:
            wanted = [slot for slot in find_slots(tx, model=MODEL) if slot.wanted == "loaded" and slot.files]
        for slot in wanted:
            if self.loaded.get(slot.id) == slot.digest and slot.observed == "ready":
                continue
            endpoint = self.servers.enter_context(serve_temporarily(replace(slot, endpoint=None), self.ws.root))
            observe_slot(self.ws, slot.id, "ready", endpoint=endpoint, digest=slot.digest)
            self.loaded[slot.id] = slot.digest

    def until(self, id: str, reached: Callable[[Cycle], bool], seconds: float = PATIENCE) -> Cycle:
        """Rounds of worker and supervisor in real time, until the cycle is so far (or closed)."""
        end = time.monotonic() + seconds
        while True:
            self.worker.tick()
            cycle = self.cycle(id)
            if reached(cycle) or cycle.state != "open":
                return cycle
            assert time.monotonic() < end, f"{cycle.stage}: {cycle.waiting}: {self.said[-3:]}"
            self.supervise()
            time.sleep(0.15)

    def consent(self, cycle: Cycle, by: str = "Ana") -> None:
        """A named person approves what the cycle made."""
        with self.ws.state.read() as tx:
            artifact, exam = load_artifact(tx, cycle.records["export"]), load_exam(tx, cycle.records["evaluate"])
        digests = {"artifact_digest": artifact.digest or "", "suite_digest": exam.suite_digest}
        approve(self.ws, model=MODEL, version=artifact.version, by=by, **digests)

    def approved(self, id: str) -> Cycle:
        """Follow a cycle to its approval, consent, and on to its rollout."""
        waiting = self.until(id, lambda cycle: cycle.stage == "approve")
        if waiting.state == "open":
            self.consent(waiting)
        return self.until(id, lambda cycle: cycle.stage == "rollout")

    def rolled(self, id: str, requests: int, looks: int = 24) -> Cycle:
        """Users and looks at the evidence until the rollout has ended."""
        for _ in range(looks):
            cycle = self.until(id, lambda cycle: cycle.stage == "rollout")
            if cycle.state != "open":
                return cycle
            self.desk.traffic(requests, 3600.0)
        raise AssertionError(f"no end after {looks} looks: {cycle.waiting}")


@contextmanager
def looped(desk: Desk) -> Iterator[Loop]:
    """A loop on a desk; its model servers end with the block."""
    said: list[dict[str, Any]] = []
    worker = Worker(ws=desk.ws, project=load_project(desk.folder), owner="journey", say=said.append, stages=FAKES)
    with ExitStack() as servers:
        yield Loop(desk=desk, worker=worker, servers=servers, said=said)


def nursery() -> int:
    """For each line on stdin (a project's folder) a worker process, forked so that it starts in no time; prints its pid.

    This process holds nothing and has one thread: what it forks is as fresh as what `up` starts.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os._exit(main(["--project", line.strip(), "--interval", "0.02"], stages=FAKES))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(nursery())
