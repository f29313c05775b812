"""Nouns of stage 1: examples, dataset versions, review items."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Split = Literal["train", "eval"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One conversation worth learning from or testing on, with provenance and fingerprint."""

    id: str
    """The row's own `metadata.id` where it has one, else `ex_<first 16 hex digits of the fingerprint>`."""
    messages: tuple[dict[str, Any], ...]
    """OpenAI chat messages; the last one is the assistant's answer to learn."""
    fingerprint: str
    """Digest of the canonical messages (and tools): equal conversations have equal fingerprints."""
    split: Split = "train"
    """Which part it belongs to once frozen."""
    source: str = ""
    """Where it came from: `file:tickets.csv:17`, `inference:req_…`, `incident:inc_…`."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """id, category, created, reviewer and whatever else the source gave."""
    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions of the conversation."""
    weight: float = 1.0
    """Sampling weight in training, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetVersion:
    """A frozen, content-addressed set of examples with its splits, parent and date. Never changes."""

    id: str
    """`<model>/d<number>`, e.g. `support-desk/d1`."""
    model: str
    """The model it is for."""
    number: int
    """1, 2, 3 … per model."""
    digest: str
    """Digest of the manifest: examples, order and splits."""
    examples: int
    """Rows in all."""
    train: int
    """Rows to learn from."""
    eval: int
    """Rows held out."""
    manifest: str | None = None
    """Digest of the blob that says which rows it holds on which side, in order; None when it holds none."""
    parent: str | None = None
    """The dataset version it grew from."""
    report: dict[str, Any] = field(default_factory=dict)
    """Counts of what was added, dropped and why, balance, redactions."""
    note: str = ""
    """Why it was frozen."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves; a frozen version is saved once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opinion:
    """What one reviewer said about one item."""

    by: str
    """Reviewer."""
    verdict: Literal["good", "bad", "edited", "excluded", "first", "second", "tie"]
    """Of an answer, or which answer of a pair is better."""
    answer: str | None = None
    """The corrected answer."""
    seconds: float | None = None
    """How long the person took."""
    at: datetime | None = None
    """When."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewItem:
    """One thing people are asked to judge, why it was chosen, what each of them said, and what comes of it."""

    id: str
    """`rev_…`."""
    model: str
    """The model."""
    request_id: str
    """The inference to judge; empty where it is none of the log."""
    unit: str | None = None
    """The assignment unit of that inference, by which an erasure knows whose it was when the log has forgotten it."""
    why: str
    """Why it was chosen: sample, low_confidence, novel, disagreement, pair, edit, thumb, incident, exam, update."""
    state: Literal["open", "done", "skipped", "gold"] = "open"
    """Where it stands; `gold` has a known answer, is mixed in to measure reviewers, and never becomes an example."""
    verdict: Literal["good", "bad", "edited", "excluded"] | None = None
    """What the reviewers agree on."""
    answer: str | None = None
    """The corrected answer."""
    by: str | None = None
    """Reviewer."""
    seconds: float | None = None
    """How long the person took."""
    created: datetime | None = None
    """When it entered the queue."""
    done_at: datetime | None = None
    """When it was judged."""
    kind: Literal["answer", "pair"] = "answer"
    """One answer to judge, or two of which the better one is chosen."""
    reasons: tuple[str, ...] = ()
    """Why it was chosen, in words."""
    weight: float = 1.0
    """Answers of its window that it stands for: what was sampled more often than its part counts so much less in a share."""
    wants: int = 1
    """People whose opinion is wanted."""
    opinions: tuple[Opinion, ...] = ()
    """One per reviewer, oldest first."""
    held: tuple[str, datetime] | None = None
    """Who has it open, and until when unless renewed."""
    skipped: dict[str, datetime] = field(default_factory=dict)
    """Reviewer → when they left it to others."""
    texts: dict[str, str] = field(default_factory=dict)
    """Reviewer → their unfinished edit."""
    remarks: tuple[dict[str, str], ...] = ()
    """Notes, labels, flags, and judgments taken back (`undone`): `kind`, `text`, `by`, `at`."""
    shown: dict[str, Any] = field(default_factory=dict)
    """What the log does not have: `messages`, `answer`; of a pair `other` and where each is `from`; the `exam` and its `case`; of
    the first answers of a new version its `version` and `rollout`."""
    known: str | None = None
    """The right answer of a gold item."""
    better: Literal["first", "second", "tie"] | None = None
    """Of a pair: what the reviewers agree on."""
    rev: int = 0
    """Number of saves."""
