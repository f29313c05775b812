"""Watching a cycle from outside, as a person would: progress on the screen, consent when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote
from typing import Any

from tunekeeper.core.errors import OutsideError, UserError
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.demo.cast import Demo
from tunekeeper.retraining.cycle import ORDER
from tunekeeper.rollout.approvals import approve
from tunekeeper.store.ledgers.artifacts import load_artifact
from tunekeeper.store.ledgers.exams import load_exam
from tunekeeper.store.ledgers.rollouts import find_rollouts

PATIENCE = 420.0
"""Real seconds without any change after which the demo gives up on a cycle."""


def follow(demo: Demo, id: str, *, until: str | None = None, meanwhile: Callable[[], Any] | None = None) -> Cycle:
    """Wait until a cycle has reached stage `until` (or closed), approving when asked. Returns it as it is then.

    Raises UserError when the person withholds consent, OutsideError when nothing moved for seven minutes.
    """
    seen: tuple[str, str, float | None] = ("", "", None)
    moved = demo.ws.clock.real()
    while True:
        cycle = demo.cycle(id)
        if cycle.state != "open" or (until is not None and ORDER.index(cycle.stage) >= ORDER.index(until)):
            return cycle
        if cycle.stage == "approve":
            _consent(demo, cycle)
        now = (cycle.stage, cycle.waiting, cycle.progress)
        if now != seen:
            seen, moved = now, demo.ws.clock.real()
        elif demo.ws.clock.real() - moved > PATIENCE:
            raise OutsideError(f"cycle {cycle.number} has not moved for {PATIENCE:.0f} s: {cycle.stage}: {cycle.waiting}")
        demo.screen.at(f"{cycle.stage}: {cycle.waiting or 'beginning'}", cycle.progress)
        if meanwhile is not None:
            meanwhile()
        demo.pause(0.15)


def rollout_of(demo: Demo, cycle: Cycle) -> Rollout | None:
    """The rollout a cycle opened, None before it did."""
    with demo.ws.control.read() as tx:
        found = [each for each in find_rollouts(tx, model=cycle.model) if each.cycle == cycle.id]
    return found[-1] if found else None


def _consent(demo: Demo, cycle: Cycle) -> None:
    with demo.ws.state.read() as tx:
        artifact, exam = load_artifact(tx, cycle.records["export"]), load_exam(tx, cycle.records["evaluate"])
    noted = demo.journal.noted(f"consent {cycle.id}")
    if noted is None:
        why = exam.verdict.reasons[0] if exam.verdict and exam.verdict.reasons else "no reason given"
        with demo.screen.asking():
            noted = demo.consent(f"{artifact.version}: {why}. Let it have traffic?")
        demo.journal.note(f"consent {cycle.id}", noted)
    if not noted:
        raise UserError(f"{artifact.version} was not approved", fix=f"tunekeeper demo {quote(str(demo.folder))} --resume --yes")
    approve(
        demo.ws,
        model=cycle.model,
        version=artifact.version,
        artifact_digest=artifact.digest or "",
        suite_digest=exam.suite_digest,
        by="product owner",
        reason="the exam's numbers",
    )
