"""The stages of a cycle that this room answers for: checklist, approval, rollout."""

from __future__ import annotations

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.notify import queue
from tunekeeper.rollout.approvals import current
from tunekeeper.rollout.checklist import Facts, Item, judge, review
from tunekeeper.rollout.config import Config
from tunekeeper.rollout.decision import phases_of
from tunekeeper.rollout.drill import last_drill
from tunekeeper.rollout.moves import find_route
from tunekeeper.rollout.routes import answers
from tunekeeper.store.ledgers.artifacts import load_artifact
from tunekeeper.store.ledgers.exams import load_exam
from tunekeeper.store.ledgers.rollouts import find_rollouts, load_rollout, save_rollout
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.workspace import Workspace

COMPARED = ("llamacpp", "ollama", "vllm")
"""Engines whose endpoints are compared with training before they may answer users."""


def checklist_of(ws: Workspace, section: Config, cycle: Cycle) -> tuple[Item, ...]:
    """The checklist as it stands for what a cycle made. Announces the window (once)."""
    artifact, exam = _judged(ws, cycle)
    override = cycle.options.get("override")
    with ws.control.write(by="rollout") as tx:
        queue(
            tx,
            kind="window",
            subject=f"{cycle.model}: {artifact.version} is about to be deployed",
            text=f"Cycle {cycle.number}: {cycle.why}",
            id=f"{cycle.id}/window",
        )
        slots = {slot.id: slot for slot in find_slots(tx, model=cycle.model)}
        route = find_route(tx, cycle.model)
        drilled = last_drill(tx, cycle.model)
    watched = ws.control.lease_alive("worker")
    champion = slots.get(route.champion) if route is not None and route.champion else None
    slot = slots.get(cycle.records["load"])
    facts = Facts(
        first=champion is None,
        gate=exam.verdict.outcome if exam.verdict else None,
        override=str(override) if override else None,
        regression=_regression(exam),
        latency_ratio=_measured(exam, "latency_ratio")
        if champion is not None
        else None,  # before, the exam's rival is the prompted base
        latency_ms=_measured(exam, "latency_p95_ms"),
        latency_floor_ms=section.latency_floor_ms,
        latency_limit=section.latency_limit,
        latency_pace=_measured(exam, "latency_pace"),
        parity=artifact.parity.verdict if artifact.parity else None,
        live=(artifact.metadata.get("live") or {}).get("verdict"),
        live_due=slot is not None and slot.engine in COMPARED,
        hosted=artifact.hosted is not None,
        slot_ready=slot is not None and answers(slot),
        digest_matches=slot is not None and slot.digest == artifact.digest == exam.artifact_digest,
        previous_ready=champion is not None and answers(champion),
        drilled_days=(ws.clock.utc() - drilled).total_seconds() / 86400 if drilled else None,
        drill_limit=section.drill_days,
        watched=watched,
        phases=len(section.phases),
        strategy="blue-green" if champion is None else str(cycle.options.get("strategy", section.strategy)),
        on_call=section.on_call,
        announced=True,
    )
    return review(facts)


def poke_check(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Stage `check`: every line of the checklist must hold."""
    items = checklist_of(ws, section, cycle)
    verdict = judge(items)
    if verdict.outcome != "pass":
        return Stop(why="checklist: " + "; ".join(verdict.reasons), outcome="blocked")
    held = sum(item.ok is True for item in items)
    waived = [item.id for item in items if item.waived]
    note = f"{held} of {len(items)} lines hold, {sum(item.ok is None for item in items)} do not apply"
    return Done(
        record=cycle.records["load"],
        note=note + (f", {', '.join(waived)} waived by {items[0].waived or items[1].waived}" if waived else ""),
    )


def poke_approval(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Stage `approve`: a named person's consent to exactly this artifact, unless the model is at level 4 and set to `auto`."""
    artifact, exam = _judged(ws, cycle)
    if section.approve == "auto" and task.level >= 4:
        return Done(record="auto", note="level 4: no person asked")
    consent = current(
        ws, model=cycle.model, version=artifact.version, artifact_digest=artifact.digest or "", suite_digest=exam.suite_digest
    )
    if consent is None:
        return Wait(why=f"waiting for approval of {artifact.version}: tunekeeper retrain approve --model {cycle.model} --by NAME")
    return Done(record=consent.id, note=f"approved by {consent.by}")


def poke(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Stage `rollout`: opens the rollout once and reports how it goes."""
    rollout = _ensure(ws, section, cycle)
    if rollout.state == "promoted":
        return Done(record=rollout.id, note=rollout.checks[-1].reason if rollout.checks else "switched")
    if rollout.state in ("rolled_back", "stopped"):
        why = rollout.verdict.reasons[0] if rollout.verdict and rollout.verdict.reasons else rollout.state
        return Stop(why=why, record=rollout.id, outcome="failed")
    return Wait(why=_where(rollout), progress=_progress(ws, rollout))


def _ensure(ws: Workspace, section: Config, cycle: Cycle) -> Rollout:
    found = cycle.records.get("rollout")
    with ws.control.read() as tx:
        if found is not None:
            return load_rollout(tx, found)
        earlier = [each for each in find_rollouts(tx, model=cycle.model) if each.cycle == cycle.id]
    if earlier:
        return earlier[-1]
    artifact, _ = _judged(ws, cycle)
    override = cycle.options.get("override")
    rollout = Rollout(
        id=ws.new_id("rol"),
        model=cycle.model,
        version=artifact.version,
        slot=cycle.records["load"],
        artifact=artifact.id,
        artifact_digest=artifact.digest,
        strategy="blue-green" if cycle.options.get("strategy", section.strategy) == "blue-green" else "canary",
        phases=phases_of([(phase.percent, phase.hours) for phase in section.phases]),
        margins=section.margins,
        alpha=section.alpha,
        assign_by=section.assign_by,
        check_every=section.check_minutes * 60,
        settle=section.settle_minutes * 60,
        patience=section.patience_days * 86400,
        due=ws.clock.steady(),
        override=str(override) if override else None,
        cycle=cycle.id,
    )
    with ws.control.write(by="rollout") as tx:
        again = [each for each in find_rollouts(tx, model=cycle.model) if each.cycle == cycle.id]
        return again[-1] if again else save_rollout(tx, rollout)


def _judged(ws: Workspace, cycle: Cycle) -> tuple[Artifact, Exam]:
    with ws.state.read() as tx:
        return load_artifact(tx, cycle.records["export"]), load_exam(tx, cycle.records["evaluate"])


def _regression(exam: Exam) -> tuple[int, int]:
    measured = exam.verdict.measured.get("regression") if exam.verdict else None
    if measured is None or measured.value is None:
        return 0, 0
    return round(measured.value * measured.n), measured.n


def _measured(exam: Exam, name: str) -> float | None:
    measured = exam.verdict.measured.get(name) if exam.verdict else None
    return measured.value if measured is not None else None


def _where(rollout: Rollout) -> str:
    if rollout.state == "loading":
        return "waiting for the slot to answer"
    last = rollout.checks[-1].reason if rollout.checks else "first look is due"
    return f"{rollout.phases[rollout.phase].weight / 100:g} %: {last}"


def _progress(ws: Workspace, rollout: Rollout) -> float | None:
    if rollout.phase_started is None or not rollout.phases:
        return 0.0
    total = sum(phase.seconds for phase in rollout.phases)
    before = sum(phase.seconds for phase in rollout.phases[: rollout.phase])
    now = min(ws.clock.steady() - rollout.phase_started, rollout.phases[rollout.phase].seconds)
    return min((before + now) / total, 1.0) if total else None


def latest(ws: Workspace, model: str) -> Rollout:
    """The newest rollout of a model. Raises NotFound."""
    with ws.control.read() as tx:
        found = find_rollouts(tx, model=model, newest_first=True, limit=1)
    if not found:
        raise NotFound(f"{model} has had no rollout", fix=f"tunekeeper retrain run --model {model}")
    return found[0]
