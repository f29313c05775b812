"""Nouns of stage 3: verdicts, exams, scores, cases and suites."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A measured number with its interval and count."""

    value: float | None
    """Point estimate; None when nothing was measured."""
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None
    """Upper end of the interval."""
    n: int = 0
    """How many samples stand behind it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the evidence says: pass, fail or inconclusive, with reasons, counts, intervals, rule ids, and what it measured."""

    outcome: Outcome
    """No evidence is inconclusive, never pass."""
    reasons: tuple[str, ...] = ()
    """One sentence each."""
    rules: tuple[str, ...] = ()
    """Ids of the rules that decided, e.g. `GATE-04`."""
    measured: dict[str, Estimate] = field(default_factory=dict)
    """Metric → estimate."""
    subject: str = ""
    """What was judged: version, artifact digest, rollout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One question of a suite with what a good answer must do."""

    id: str
    """Unique in the suite."""
    messages: tuple[dict[str, Any], ...]
    """The request, OpenAI chat messages, without the answer."""
    expected: Any = None
    """The reference answer, where there is one."""
    category: str = ""
    """Slice it belongs to."""
    tags: tuple[str, ...] = ()
    """e.g. `edge`, `regression`, `out_of_scope`."""
    source: str = ""
    """File and line, or the incident it was born from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Criterion:
    """One locked pass criterion."""

    metric: str
    """accuracy, format, or another scorer's name."""
    at_least: float | None = None
    """Pass when the estimate is at or above this."""
    at_most: float | None = None
    """Pass when the estimate is at or below this."""
    margin: float | None = None
    """Pass when not worse than the champion by more than this, paired."""
    blocking: bool = True
    """Whether failing it fails the gate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A versioned set of cases with locked pass criteria; regression cases inside it."""

    id: str
    """Name, e.g. `support-desk-core`."""
    model: str
    """The model it examines."""
    cases: tuple[Case, ...]
    """The cases, in file order; the model's incidents add theirs at exam time."""
    criteria: tuple[Criterion, ...]
    """What must hold."""
    scorers: tuple[str, ...] = ("exact",)
    """Names of the scorers that judge each answer."""
    scorer_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Scorer → its options, for those that have any."""
    digest: str = ""
    """Digest of cases and criteria: what was locked."""
    locked: datetime | None = None
    """When the criteria were first locked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One scorer's opinion of one answer, of an exam case or of an inference."""

    id: str
    """`<exam or request id>/<case>/<scorer>`."""
    subject: str
    """Exam id or request id."""
    case: str
    """Case id; empty for an inference."""
    scorer: str
    """Name of the scorer."""
    value: float | None
    """0 to 1; None when the scorer failed to judge, which is an error and not a verdict."""
    reason: str = ""
    """Why."""
    answer: str = ""
    """What was judged."""
    category: str = ""
    """Slice of the case."""
    created: datetime | None = None
    """When."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exam:
    """One run of a suite against one endpoint, resumable."""

    id: str
    """`exam_…`."""
    model: str
    """The model."""
    version: str
    """Version id that was examined."""
    artifact: str | None
    """Artifact that answered; None for a hosted model."""
    artifact_digest: str | None
    """Its digest: the gate is bound to it."""
    suite: str
    """Suite id."""
    suite_digest: str
    """What was locked."""
    champion_exam: str | None = None
    """Exam of the champion on the same cases, for the paired comparison."""
    job: str | None = None
    """Job that runs it."""
    state: Literal["running", "done", "failed"] = "running"
    """Where it stands."""
    cases: int = 0
    """Cases answered."""
    verdict: Verdict | None = None
    """What the gate said, once judged."""
    answers: str | None = None
    """Digest of a JSONL blob: case id, answer, latency, scores."""
    seconds: float | None = None
    """Wall seconds."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""
