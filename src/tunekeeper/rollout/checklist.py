"""The pre-deployment checklist that checks itself (PRE-01..11). Pure: facts in, a verdict out."""

from __future__ import annotations

from dataclasses import dataclass

from tunekeeper.core.nouns.evaluation import Verdict
from tunekeeper.core.nouns.rollout import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the world says before a deployment."""

    first: bool
    """Whether the model has no champion yet."""
    gate: str | None
    """Outcome of the exam's verdict; None when there was none."""
    override: str | None
    """Who let it through a failed gate, and why."""
    regression: tuple[int, int]
    """Regression cases passed, and in all."""
    latency_ratio: float | None
    """p95 of the exam's answers over the champion's; None without a champion."""
    latency_ms: float | None
    """p95 of the exam's answers in milliseconds; None when it was not measured."""
    latency_floor_ms: float
    """p95 below which the ratio says nothing."""
    latency_limit: float
    """Largest ratio."""
    latency_pace: float | None = None
    """How much slower the machine was during the exam than during the champion's; None: not known."""
    parity: str | None
    """Verdict of parity: pass, block or inconclusive."""
    live: str | None = None
    """Verdict of parity at the endpoint that will answer; None: not measured."""
    live_due: bool = False
    """Whether the slot's engine is one whose endpoints are compared."""
    hosted: bool = False
    """Whether the model stays at a provider, where parity cannot be checked."""
    slot_ready: bool
    """Whether the slot holds the judged file and answers."""
    digest_matches: bool
    """Whether the slot's file is the one that was examined."""
    previous_ready: bool
    """Whether the champion that would be gone back to answers."""
    drilled_days: float | None
    """Days since rollback was last exercised; None: never."""
    drill_limit: float
    """Days after which a drill is due again."""
    watched: bool
    """Whether monitoring ran lately."""
    phases: int
    """Phases that are defined; 0 is fine for blue-green."""
    strategy: str
    """blue-green or canary."""
    on_call: str
    """Who is called; empty: automatic rollback stands guard alone."""
    announced: bool
    """Whether the window was announced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One line of the checklist."""

    id: str
    """PRE-01 to PRE-10."""
    ok: bool | None
    """True, False, or None for not applicable."""
    detail: str
    """Why, with numbers."""
    waived: str | None = None
    """Name and reason of who skipped it (PRE-11)."""


def review(facts: Facts) -> tuple[Item, ...]:
    """Every line of the checklist, in order. An override waives the gate and regression lines only, by name."""
    passed, total = facts.regression
    skip = facts.override
    drilled = facts.drilled_days is not None and facts.drilled_days <= facts.drill_limit
    return (
        Item(
            id="PRE-01",
            ok=facts.gate == "pass",
            detail=f"gate says {facts.gate or 'nothing'}",
            waived=skip if facts.gate != "pass" else None,
        ),
        Item(
            id="PRE-02",
            ok=passed == total,
            detail=f"{passed} of {total} regression cases pass",
            waived=skip if passed != total else None,
        ),
        Item(
            id="PRE-03",
            ok=_quick_enough(facts),
            detail=_latency(facts),
        ),
        Item(
            id="PRE-04",
            ok=(facts.hosted or (facts.parity == "pass" and (facts.live == "pass" or not facts.live_due)))
            and facts.slot_ready
            and facts.digest_matches,
            detail=_artifact(facts),
        ),
        Item(
            id="PRE-05",
            ok=None if facts.first else facts.previous_ready,
            detail="first version" if facts.first else "champion stays loaded",
        ),
        Item(id="PRE-06", ok=None if facts.first else drilled or facts.drilled_days is None, detail=_drill(facts)),
        Item(
            id="PRE-07",
            ok=facts.watched,
            detail="monitoring ran" if facts.watched else "monitoring has not run: start tunekeeper up",
        ),
        Item(
            id="PRE-08", ok=facts.strategy == "blue-green" or facts.phases > 0, detail=f"{facts.strategy}, {facts.phases} phases"
        ),
        Item(id="PRE-09", ok=True, detail=f"on call: {facts.on_call}" if facts.on_call else "automatic rollback"),
        Item(id="PRE-10", ok=facts.announced, detail="window announced" if facts.announced else "window not announced"),
    )


def judge(items: tuple[Item, ...], rollout: Rollout | None = None) -> Verdict:
    """Pass when every line holds, does not apply, or was waived by name."""
    bad = [item for item in items if item.ok is False and item.waived is None]
    waived = [item for item in items if item.waived is not None]
    reasons = tuple(f"{item.id}: {item.detail}" for item in bad) or tuple(f"{item.id} waived by {item.waived}" for item in waived)
    subject = rollout.version if rollout is not None else ""
    return Verdict(outcome="fail" if bad else "pass", reasons=reasons, rules=tuple(item.id for item in bad), subject=subject)


def _quick_enough(facts: Facts) -> bool | None:
    """Whether the latency is in range; None when the machine was so much busier during the exam that this alone explains it."""
    ratio = facts.latency_ratio
    if ratio is None or ratio <= facts.latency_limit:
        return True
    if facts.latency_ms is not None and facts.latency_ms <= facts.latency_floor_ms:
        return True
    # The rollout itself compares both under the same load, request by request.
    return None if facts.latency_pace is not None and ratio <= facts.latency_limit * max(1.0, facts.latency_pace) else False


def _latency(facts: Facts) -> str:
    if facts.latency_ratio is None:
        return "first version"
    took = f", {facts.latency_ms:.0f} ms" if facts.latency_ms is not None else ""
    busy = ""
    if _quick_enough(facts) is None:
        busy = f"; inconclusive: the machine itself was {facts.latency_pace:.2f} x as slow as during the champion's exam"
    return f"p95 {facts.latency_ratio:.2f} x the champion's{took}{busy}"


def _artifact(facts: Facts) -> str:
    if facts.parity != "pass" and not facts.hosted:
        return f"parity says {facts.parity or 'nothing'}"
    if facts.live_due and facts.live != "pass" and not facts.hosted:
        return f"parity at the endpoint says {facts.live or 'nothing: tunekeeper export parity VERSION --live'}"
    if not facts.digest_matches:
        return "the slot holds another file than the one that was examined"
    return "loaded and answering" if facts.slot_ready else "the slot does not answer"


def _drill(facts: Facts) -> str:
    if facts.first:
        return "first version: nothing to go back to"
    if facts.drilled_days is None:
        return "never drilled: the first drill is due after this deployment"
    return f"drilled {facts.drilled_days:.1f} days ago"
