"""What a rollout does next: pure, `(rollout, evidence, now) → action`.

Two any-time-valid tests, three answers (Gruenwald, de Heide, Koolen, JRSS-B 2024): harm shown → go back; every margin excluded →
promote; neither → hold. "No alarm" never promotes, and silence is not evidence: a candidate that answered too little holds, and
after its patience goes back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tunekeeper.core.nouns.evaluation import Estimate, Verdict
from tunekeeper.core.nouns.rollout import Phase, Rollout
from tunekeeper.stats.eprocess import TwoSample
from tunekeeper.stats.intervals import wilson


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Counts of one interval with one traffic share."""

    candidate: int
    """Requests the candidate answered."""
    candidate_failed: int
    """Of these, how many failed."""
    champion: int
    """Requests the champion answered."""
    champion_failed: int
    """Of these, how many failed."""
    share: float
    """Probability of assignment to the candidate at that moment, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was counted since traffic first moved."""

    ticks: Mapping[str, Sequence[Tick]]
    """Metric (errors, corrections) → ticks in order of time."""
    phase_requests: int
    """Requests the candidate answered in the current phase."""
    slot_ready: bool = True
    """Whether the candidate's server answers."""
    digest: str | None = None
    """Digest of what the slot holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """The next small step."""

    kind: Literal["hold", "advance", "promote", "go_back"]
    """What to do."""
    reason: str
    """Why, one sentence with numbers."""
    verdict: Verdict
    """What the evidence says."""
    metrics: dict[str, dict[str, float | int]] = field(default_factory=dict)
    """Metric → counts, rates and e-values, for the record."""


def decide(rollout: Rollout, evidence: Evidence, now: float, *, min_requests: int, prior: Mapping[str, float]) -> Action:
    """The action for a running canary at steady time `now`. `prior`: metric → production's failure rate before, 0 to 1."""
    margins = {"errors": rollout.margins.errors, "corrections": rollout.margins.corrections}
    metrics = {name: _weigh(evidence.ticks.get(name, ()), margin, prior.get(name, 0.02)) for name, margin in margins.items()}
    harm_limit = math.log(len(metrics) / rollout.alpha)  # e-Bonferroni over the guardrails
    safe_limit = math.log(1 / rollout.alpha)  # intersection-union needs no correction
    if rollout.artifact_digest is not None and evidence.digest != rollout.artifact_digest:
        return _act("go_back", "the slot holds another file than the one that was judged", "fail", ("I5",), metrics, rollout)
    harmed = [name for name, m in metrics.items() if m["log_e_harm"] >= harm_limit]
    if harmed:
        return _act("go_back", _harm_sentence(harmed[0], metrics[harmed[0]]), "fail", _rules(harmed[0]), metrics, rollout)
    waited = now - (rollout.phase_started if rollout.phase_started is not None else now)
    if waited >= rollout.patience:
        return _act(
            "go_back",
            f"no decision within {_hours(rollout.patience)} of this phase",
            "inconclusive",
            ("RBK-12",),
            metrics,
            rollout,
        )
    if not evidence.slot_ready:
        return _act("hold", "the candidate's server does not answer", "inconclusive", ("FIX-17",), metrics, rollout)
    phase = rollout.phases[rollout.phase]
    if waited < phase.seconds:
        return _act(
            "hold",
            f"{_hours(waited)} of {_hours(phase.seconds)} at {phase.weight / 100:g} %",
            "inconclusive",
            ("CAN-01",),
            metrics,
            rollout,
        )
    if evidence.phase_requests < min_requests:
        reason = f"only {evidence.phase_requests} of {min_requests} requests in this phase: not enough data"
        return _act("hold", reason, "inconclusive", ("FIX-19",), metrics, rollout)
    if rollout.phase + 1 < len(rollout.phases):
        following = rollout.phases[rollout.phase + 1]
        reason = f"no harm shown at {phase.weight / 100:g} %; going on to {following.weight / 100:g} %"
        return _act("advance", reason, "inconclusive", ("CAN-10",), metrics, rollout)
    open_metrics = [name for name, m in metrics.items() if m["log_e_safe"] < safe_limit]
    if open_metrics:
        return _act(
            "hold",
            _open_sentence(open_metrics[0], metrics[open_metrics[0]], safe_limit),
            "inconclusive",
            ("CAN-10",),
            metrics,
            rollout,
        )
    total = int(metrics["errors"]["candidate"])
    return _act(
        "promote",
        f"every margin is excluded after {total} requests of the candidate",
        "pass",
        ("CAN-10", "GATE-07"),
        metrics,
        rollout,
    )


def phases_of(steps: Sequence[tuple[float, float]]) -> tuple[Phase, ...]:
    """Phases from (percent, hours) pairs."""
    return tuple(Phase(weight=round(percent * 100), seconds=hours * 3600) for percent, hours in steps)


def blast_radius(percent: float, failure: float) -> float:
    """Share of all requests harmed while a candidate failing `failure` (0 to 1) of its own has `percent` of traffic (CAN-13)."""
    return percent / 100 * failure


def _weigh(ticks: Sequence[Tick], margin: float, prior: float) -> dict[str, float | int]:
    rate = min(max(prior, 0.002), 0.9)
    harm = TwoSample("harm", prior_rate=rate)
    safe = TwoSample("safe", margin, prior_rate=rate)
    for tick in ticks:
        for test in (harm, safe):
            test.update(tick.candidate, tick.candidate_failed, tick.champion, tick.champion_failed, tick.share)
    n1, k1 = sum(t.candidate for t in ticks), sum(t.candidate_failed for t in ticks)
    n0, k0 = sum(t.champion for t in ticks), sum(t.champion_failed for t in ticks)
    return {
        "candidate": n1,
        "candidate_failed": k1,
        "champion": n0,
        "champion_failed": k0,
        "margin": margin,
        "log_e_harm": harm.log_e,
        "log_e_safe": safe.log_e,
    }


def _act(
    kind: Literal["hold", "advance", "promote", "go_back"],
    reason: str,
    outcome: Literal["pass", "fail", "inconclusive"],
    rules: tuple[str, ...],
    metrics: dict[str, dict[str, float | int]],
    rollout: Rollout,
) -> Action:
    measured: dict[str, Estimate] = {}
    for name, m in metrics.items():
        for arm in ("candidate", "champion"):
            n, k = int(m[arm]), int(m[f"{arm}_failed"])
            low, high = wilson(k, n) if n else (None, None)
            measured[f"{name}.{arm}"] = Estimate(value=k / n if n else None, low=low, high=high, n=n)
    verdict = Verdict(outcome=outcome, reasons=(reason,), rules=rules, measured=measured, subject=rollout.version)
    return Action(kind=kind, reason=reason, verdict=verdict, metrics=metrics)


def _rules(metric: str) -> tuple[str, ...]:
    return ("CAN-02", "RBK-02") if metric == "errors" else ("CAN-06", "RBK-01")


def _harm_sentence(name: str, m: dict[str, float | int]) -> str:
    return (
        f"{name} are shown to be higher: candidate {m['candidate_failed']}/{m['candidate']}, champion "
        f"{m['champion_failed']}/{m['champion']} (e = {math.exp(min(m['log_e_harm'], 50)):.3g})"
    )


def _open_sentence(name: str, m: dict[str, float | int], limit: float) -> str:
    return (
        f"a rise of {name} by {100 * m['margin']:g} points is not excluded yet: "
        f"candidate {m['candidate_failed']}/{m['candidate']}, "
        f"champion {m['champion_failed']}/{m['champion']} (e = {math.exp(min(m['log_e_safe'], 50)):.3g} of {math.exp(limit):.3g})"
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"
