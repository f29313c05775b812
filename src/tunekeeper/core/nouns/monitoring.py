"""Nouns of stage 5: signals, baselines, alerts, triggers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """One measured number over one window and segment."""

    id: str
    """`<model>/<name>/<segment>/<window end>`: measuring twice saves once."""
    model: str
    """The model."""
    name: str
    """edit_rate, accuracy, format, vocabulary_drift, input_drift, latency_p95, error_rate …"""
    since: datetime
    """Start of the window."""
    until: datetime
    """End of the window."""
    segment: str = ""
    """`name=value`; empty for all."""
    value: float | None = None
    """The number; None when nothing was measured."""
    low: float | None = None
    """Lower end of its interval."""
    high: float | None = None
    """Upper end of its interval."""
    n: int = 0
    """Samples behind it."""
    detail: dict[str, Any] = field(default_factory=dict)
    """e.g. the new words, the samples' request ids."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The day-one distributions that signals are compared with."""

    id: str
    """`bas_…`."""
    model: str
    """The model."""
    version: str
    """Version that was live."""
    since: datetime
    """Start of the window."""
    until: datetime
    """End of the window."""
    n: int
    """Requests in it."""
    values: dict[str, float]
    """Metric → value on day one."""
    features: dict[str, Any] = field(default_factory=dict)
    """Stored distributions: length quantiles, vocabulary, labels."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """A rule that holds, since when, on which samples, who was told."""

    id: str
    """`alr_…`."""
    model: str
    """The model."""
    rule: str
    """Rule id, e.g. `MON-03`."""
    severity: Literal["warning", "critical"] = "warning"
    """How bad."""
    state: Literal["firing", "resolved"] = "firing"
    """Where it stands."""
    reason: str = ""
    """Numbers with n and window, one sentence."""
    signal: str | None = None
    """Signal id that made it fire."""
    samples: tuple[str, ...] = ()
    """Request ids behind the number."""
    since: datetime | None = None
    """When it began."""
    until: datetime | None = None
    """When it ended."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """A reason to open a cycle that the system noticed."""

    id: str
    """`trg_…`."""
    model: str
    """The model."""
    reason: str
    """Rule id of requirement section 18, e.g. `RETR-01`."""
    evidence: tuple[str, ...] = ()
    """Alert and signal ids."""
    summary: str = ""
    """One sentence with numbers."""
    state: Literal["open", "taken", "dismissed"] = "open"
    """Where it stands."""
    cycle: str | None = None
    """Cycle that took it."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""
