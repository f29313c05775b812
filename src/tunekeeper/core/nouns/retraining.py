"""Nouns of stage 6: cycles, and what a poked stage answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The stage has finished: the record it left."""

    record: str
    """Id of the record."""
    note: str = ""
    """One sentence with numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """The stage is at work or waits for something."""

    why: str
    """One sentence."""
    progress: float | None = None
    """0 to 1 where it is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """The stage cannot go on: the cycle closes."""

    why: str
    """One sentence."""
    record: str | None = None
    """Id of the record that says why."""
    outcome: Literal["failed", "inconclusive", "blocked"] = "failed"
    """How the cycle closes."""


Answer = Done | Wait | Stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """One trip round the loop: why it opened, the record each stage left, who approved, how it closed."""

    id: str
    """`cyc_…`."""
    model: str
    """The model."""
    number: int
    """1, 2, 3 … per model."""
    why: str
    """One sentence."""
    reason: str = "person"
    """trigger, calendar, person or webhook."""
    trigger: str | None = None
    """Trigger id."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the opener fixed: `dataset`, `from`, `strategy`, `override`, `recipe`."""
    stage: str = "data"
    """Current stage: data, train, export, evaluate, load, check, approve, rollout, closed."""
    records: dict[str, str] = field(default_factory=dict)
    """Stage → id of the record it left."""
    notes: dict[str, str] = field(default_factory=dict)
    """Stage → one sentence with numbers."""
    waiting: str = ""
    """What the current stage waits for."""
    progress: float | None = None
    """0 to 1 within the current stage where it is known."""
    faults: tuple[float, ...] = ()
    """Real monotonic seconds of the current stage's latest faults of our own."""
    entered: float | None = None
    """Real monotonic seconds when the current stage began."""
    timings: dict[str, float] = field(default_factory=dict)
    """Stage → real seconds it took."""
    state: Literal["open", "promoted", "failed", "inconclusive", "blocked", "rolled_back", "abandoned"] = "open"
    """Where it stands."""
    closed_why: str = ""
    """One sentence."""
    closed_at: datetime | None = None
    """When it closed."""
    created: datetime | None = None
    """When it opened."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The thing a user keeps alive: one task, one owner, one file `models/<name>.yaml`."""

    name: str
    """E.g. `support-desk`."""
    client: str = ""
    """Owner."""
    task: str = ""
    """What it does, one sentence."""
    base: str = ""
    """Folder of the base checkpoint, relative to the project."""
    system: str | None = None
    """System prompt that every request of this task carries."""
    format: dict[str, Any] = field(default_factory=dict)
    """What a well-formed answer looks like; `scoring.formats` reads it."""
    level: int = 2
    """Maturity level 1 to 4: how far machines may go forward alone."""
