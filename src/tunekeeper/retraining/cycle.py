"""One trip round the loop, on one screen.

    data → train → export → evaluate → load → check → approve → rollout

Each stage is poked and answers within a second: `Done(record)`, `Wait(why)` or `Stop(why)`. What it left is written
into the cycle, so that a conductor that was killed goes on where the records end. A stage that fails in a way that nobody
foresaw is tried again a few times (`faults.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunekeeper import data, deployment, evaluation, training
from tunekeeper.config import ModelConfig
from tunekeeper.core.errors import Busy, Conflict, DiskFull, LeaseLost, OurFault, OutsideError, TunekeeperError, UserError
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Stop, Wait
from tunekeeper.jobs.child import NO_ROOM
from tunekeeper.notify import queue
from tunekeeper.retraining import faults
from tunekeeper.retraining.report import summary
from tunekeeper.rollout import stage as rollout
from tunekeeper.store.database import Lease, Read, Write
from tunekeeper.store.ledgers.cycles import find_cycles, save_cycle
from tunekeeper.store.ledgers.triggers import load_trigger
from tunekeeper.text.redaction import said
from tunekeeper.workspace import Workspace

MACHINE = "retraining"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of the loop."""

    name: str
    """What it is called in records."""
    section: str
    """The room whose configuration it takes."""
    poke: Callable[..., Answer]
    """`(ws, task, section, cycle) → Done | Wait | Stop`."""


STAGES = (
    Stage(name="data", section="data", poke=data.poke),
    Stage(name="train", section="training", poke=training.poke),
    Stage(name="export", section="deployment", poke=deployment.poke),
    Stage(name="evaluate", section="evaluation", poke=evaluation.poke),
    Stage(name="load", section="deployment", poke=deployment.poke_load),
    Stage(name="check", section="rollout", poke=rollout.poke_check),
    Stage(name="approve", section="rollout", poke=rollout.poke_approval),
    Stage(name="rollout", section="rollout", poke=rollout.poke),
)
ORDER = tuple(stage.name for stage in STAGES)


def open_cycle(
    ws: Workspace,
    model: str,
    *,
    why: str,
    by: str,
    reason: str = "person",
    trigger: str | None = None,
    options: dict[str, Any] | None = None,
    records: dict[str, str] | None = None,
) -> Cycle:
    """Open a cycle. `records`: stages whose record is there already (a version judged again); it begins after the last of them.

    Raises Busy when one of this model is open already, UserError when `records` leave nothing to do.
    """
    first = max((ORDER.index(name) + 1 for name in records or {}), default=0)
    if first == len(ORDER):
        raise UserError(f"there is nothing left to do for a cycle of {model}: every stage has its record")
    with ws.state.write(by=by) as tx:
        refuse_second(tx, model)
        number = max((each.number for each in find_cycles(tx, model=model)), default=0) + 1
        made = Cycle(
            id=ws.new_id("cyc"),
            model=model,
            number=number,
            why=said(why),
            reason=reason,
            trigger=trigger,
            options=options or {},
            records=records or {},
            stage=ORDER[first],
            entered=ws.clock.real(),
        )
        return save_cycle(tx, made)


def refuse_second(tx: Read, model: str) -> None:
    """Raise Busy when a cycle of this model is open already."""
    if find_cycles(tx, model=model, state="open"):
        raise Busy(f"a cycle of {model} is open already", fix=f"tunekeeper retrain show --model {model}")


def step(
    ws: Workspace, cycle: Cycle, config: ModelConfig, *, lease: Lease | None = None, stages: Sequence[Stage] = STAGES
) -> Cycle:
    """Poke the current stage once and write down what it answered; returns the cycle as it is now.

    Something outside that is missing is waited for; what the user gave wrong closes the cycle with its line. After a fault of
    ours nothing is done until it is time for the next try.
    """
    if not faults.due(cycle, ws.clock.real()):
        return cycle
    stage = next(each for each in stages if each.name == cycle.stage)
    try:
        moved = after(cycle, _poke(ws, stage, config, cycle), ws.clock.real())
    except (Conflict, LeaseLost):
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the same would happen at every round
        file = faults.keep(error, ws.path("work"), cycle)
        moved = faults.after_fault(cycle, faults.told(error), file, ws.clock.real())
    if moved == cycle:
        return cycle
    with ws.state.write(by=MACHINE, lease=lease) as tx:
        if moved.state != "open":
            moved = replace(moved, closed_at=ws.clock.utc())
            _closed(tx, moved)
        return save_cycle(tx, moved)


def after(cycle: Cycle, answer: Answer, real: float) -> Cycle:
    """The cycle after a stage answered. Pure."""
    match answer:
        case Done(record=record, note=note):
            spent = real - cycle.entered if cycle.entered is not None else 0.0
            done = replace(
                cycle,
                records={**cycle.records, cycle.stage: record},
                notes={**cycle.notes, cycle.stage: note},
                timings={**cycle.timings, cycle.stage: round(max(spent, 0.0), 3)},
                waiting="",
                progress=None,
                faults=(),
                entered=real,
            )
            following = ORDER.index(cycle.stage) + 1
            if following == len(ORDER):
                return replace(done, stage="closed", state="promoted", closed_why=note or "promoted")
            return replace(done, stage=ORDER[following])
        case Wait(why=why, progress=progress):
            coarse = None if progress is None else round(progress, 2)
            return replace(cycle, waiting=why, progress=coarse)
        case Stop(why=why, record=record, outcome=outcome):
            state = "rolled_back" if cycle.stage == "rollout" else outcome
            records = {**cycle.records, cycle.stage: record} if record else cycle.records
            return replace(cycle, state=state, closed_why=f"{cycle.stage}: {why}", records=records, waiting="", progress=None)


def _poke(ws: Workspace, stage: Stage, config: ModelConfig, cycle: Cycle) -> Answer:
    try:
        return stage.poke(ws, config.task, config.sections[stage.section], cycle)
    except OurFault:
        raise
    except OutsideError as error:
        return Wait(why=str(error))
    except TunekeeperError as error:
        return Stop(why=str(error))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return Wait(
            why=str(DiskFull(f"the disk is full{f': {error.filename}' if error.filename else ''}", fix="free some space"))
        )


def _closed(tx: Write, cycle: Cycle) -> None:
    trigger = load_trigger(tx, cycle.trigger) if cycle.trigger else None
    text = summary(cycle, trigger)
    queue(tx, kind="cycle", subject=f"{cycle.model}: cycle {cycle.number} {cycle.state}", text=text, id=f"{cycle.id}/closed")
