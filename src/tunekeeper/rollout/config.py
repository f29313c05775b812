"""The `rollout:` section of a model file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunekeeper.core.nouns.rollout import Margins


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryPhase:
    """One step of a canary."""

    percent: float
    """Share of traffic for the candidate, 0 to 100."""
    hours: float
    """How long it lasts at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How a new version of this model gets its traffic (CAN-15: defined before the deploy)."""

    strategy: Literal["canary", "blue-green"] = "canary"
    """How a retrain is rolled out; the first deployment of a model is always blue-green."""
    phases: tuple[CanaryPhase, ...] = (CanaryPhase(percent=5, hours=2), CanaryPhase(percent=25, hours=4))
    """Steps before 100 % (CAN-01). Earlier steps test harm only; promotion needs every margin excluded by the end of the last."""
    margins: Margins = Margins()
    """Largest rise that is acceptable, as shares of requests: errors (failed or badly formed), corrections (edited by a user)."""
    alpha: float = 0.05
    """Chance of a false alarm, and of a false promotion, over the whole rollout."""
    check_minutes: float = 15.0
    """Minutes between two looks (CAN-08)."""
    settle_minutes: float = 10.0
    """Minutes that a user's edit is given to arrive before a request is counted, in both arms alike."""
    min_requests: int = 20
    """Requests the candidate must have answered in a phase before it may advance (FIX-19)."""
    patience_days: float = 14.0
    """Days in one phase without a decision before it goes back (RBK-12)."""
    assign_by: Literal["user", "session", "tenant", "key", "request"] = "user"
    """What a request's assignment sticks to."""
    approval_hours: float = 24.0
    """Hours an approval is good for."""
    approve: Literal["person", "auto"] = "person"
    """Whether a person must consent before traffic moves; `auto` needs maturity level 4."""
    on_call: str = ""
    """Who is called during a rollout; empty: automatic rollback alone stands guard (PRE-09)."""
    latency_limit: float = 1.5
    """Largest p95 of the exam's answers relative to the champion's (PRE-03)."""
    latency_floor_ms: float = 250.0
    """p95 of the exam's answers in milliseconds below which the ratio says nothing: a few milliseconds are noise."""
    drill_days: float = 31.0
    """Days after which a rollback drill is due again (PRE-06)."""
    incident_cases: int = 12
    """Failing requests that become regression cases after a rollback, at most."""
