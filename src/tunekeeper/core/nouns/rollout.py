"""Nouns of stage 4b: rollouts, approvals, incidents."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tunekeeper.core.nouns.evaluation import Case, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One step of a canary."""

    weight: int
    """Ten-thousandths of traffic for the candidate."""
    seconds: float
    """How long it lasts at least, in workspace seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """How much worse a candidate may be, as shares of requests."""

    errors: float = 0.02
    """Wrong formats and failed requests, absolute."""
    corrections: float = 0.05
    """Answers a user had to edit, absolute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutCheck:
    """One look at the evidence of a rollout."""

    at: datetime
    """When."""
    phase: int
    """Index of the phase."""
    action: str
    """hold, advance, promote, go_back."""
    reason: str
    """One sentence."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Metric → counts of both arms, e-values and intervals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """The journey of one version from no traffic to all of it: strategy, phase, next check, evidence, outcome."""

    id: str
    """`rol_…`."""
    model: str
    """The model."""
    version: str
    """Version id."""
    slot: str
    """Slot that holds it."""
    artifact: str | None = None
    """Artifact that was judged."""
    artifact_digest: str | None = None
    """Its digest: nothing else may get traffic."""
    strategy: Literal["blue-green", "canary"] = "canary"
    """How it moves."""
    phases: tuple[Phase, ...] = ()
    """The steps of a canary."""
    margins: Margins = Margins()
    """What must be excluded before promotion."""
    alpha: float = 0.05
    """Error of each of the two tests."""
    assign_by: str = "user"
    """What a request's assignment sticks to: user, session, tenant, key or request."""
    check_every: float = 900.0
    """Workspace seconds between two looks."""
    settle: float = 0.0
    """Workspace seconds that feedback is given to arrive before a request counts, in both arms."""
    patience: float = 14 * 86400.0
    """Workspace seconds in one phase without a decision before it goes back."""
    state: Literal["loading", "running", "promoted", "rolled_back", "stopped"] = "loading"
    """Where it stands."""
    phase: int = 0
    """Index of the current phase."""
    phase_started: float | None = None
    """Steady clock at its start."""
    phase_since: datetime | None = None
    """UTC at its start."""
    started_at: datetime | None = None
    """UTC when traffic first moved."""
    due: float | None = None
    """Steady clock of the next look."""
    checks: tuple[RolloutCheck, ...] = ()
    """Every look so far."""
    verdict: Verdict | None = None
    """What ended it."""
    override: str | None = None
    """Name and reason of the person who let it through a failed gate."""
    incident: str | None = None
    """Incident it ended in."""
    cycle: str | None = None
    """Cycle it belongs to."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """A named person's consent to one move, bound to hashes, with an expiry."""

    id: str
    """`apr_…`."""
    model: str
    """The model."""
    version: str
    """Version id."""
    artifact_digest: str
    """What was approved; any change voids it."""
    suite_digest: str
    """Gate set it was approved under."""
    by: str
    """Who."""
    reason: str = ""
    """Why, in their words."""
    expires: datetime | None = None
    """24 hours later by default."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """A rollback and its 24-hour analysis: what failed, why missed, what changes, when to retry; cases born from it."""

    id: str
    """`inc_…`."""
    model: str
    """The model."""
    version: str
    """Version that was gone back from."""
    rollout: str | None
    """Rollout that ended in it."""
    reason: str
    """Why, in one sentence."""
    requests: tuple[str, ...] = ()
    """Failing request ids."""
    cases: tuple[Case, ...] = ()
    """Regression cases born from them; the next deploy must pass all."""
    state: Literal["open", "closed"] = "open"
    """Where it stands."""
    what_failed: str = ""
    """Question 1."""
    why_missed: str = ""
    """Question 2."""
    what_changes: str = ""
    """Question 3."""
    retry_on: datetime | None = None
    """Question 4."""
    due: datetime | None = None
    """24 hours after the rollback."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""
