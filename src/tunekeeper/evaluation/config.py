"""The evaluation section of models/<name>.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How a version is examined and what it must show."""

    suite: str = "suites/core.yaml"
    """Suite file, relative to the project."""
    accuracy: float = 0.90
    """Share of fully right answers that is asked for when the suite states no criteria, 0 to 1 (EVAL-07)."""
    format: float = 0.95
    """Share of well-formed answers that is asked for when the suite states no criteria, 0 to 1 (EVAL-08)."""
    margin: float = 0.05
    """How much less accurate than the champion a candidate may be, absolute share, where the suite states no margin."""
    judged_by: Literal["bound", "estimate"] = "bound"
    """bound: the interval must clear the target, so that luck does not pass; estimate: the measured share must (the article's
    rule: a model that is right 85 % of the time passes a 90 % gate on 50 cases in 22 % of exams)."""
    confidence: float = 0.95
    """One-sided confidence of the bounds that decide, 0.5 to 1."""
    min_cases: int = 50
    """Cases below which the exam is inconclusive (EVAL-01)."""
    unanswered: float = 0.02
    """Share of cases that may stay without an answer or a judgement, 0 to 1; above it the exam is inconclusive."""
    dataset_cases: int = 100
    """Most cases that are taken from the new dataset's held-out rows beside the suite's (EVAL-42)."""
    concurrency: int = 4
    """Cases asked at once."""
    max_tokens: int = 256
    """Tokens one answer may have."""
    context: int = 512
    """Tokens one request may use, prompt and answer together, of a server that is started for the exam."""
    threads: int = 1
    """Threads of such a server."""
    timeout: float = 60.0
    """Real seconds one answer may take."""
