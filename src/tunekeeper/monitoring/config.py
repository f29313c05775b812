"""The `monitoring:` section of a model file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Where each alarm line lies. The articles give several numbers for accuracy: target 0.90, alarm 0.88, hard trigger 0.85."""

    accuracy_alarm: float = 0.88
    """Accuracy on reviewed samples below which an alert fires (MON-01)."""
    accuracy_trigger: float = 0.85
    """Accuracy below which one window is enough to open a cycle (RETR-01, ALRT-06)."""
    format: float = 0.93
    """Format compliance below which an alert fires (MON-02)."""
    edit_rate: float = 0.15
    """Share of answers that users edit above which an alert fires (MON-03)."""
    error_rate: float = 0.02
    """Share of failed requests above which an alert fires (RBK-13)."""
    confidence_drop: float = 0.1
    """Part of day one's mean token probability, 0 to 1, that may be lost before an alert fires (MON-04)."""
    latency_ratio: float = 2.0
    """p95 latency over the baseline's above which an alert fires (MON-05)."""
    latency_floor_ms: float = 250.0
    """p95 in milliseconds below which latency is no alarm, whatever the ratio: nobody notices."""
    vocabulary: float = 0.05
    """Share of requests with a recurring word that neither training nor day one knew, above which an alert fires (DRIFT-06)."""
    input: float = 0.1
    """Jensen-Shannon distance of the input's words from day one above which an alert fires (DRIFT-01), where day one's own
    noise does not ask for more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What is watched, how often, and when it is an alarm."""

    limits: Limits = Limits()
    """Alarm lines."""
    window_hours: float = 168.0
    """Length of a window in hours (a week)."""
    every_hours: float = 24.0
    """Hours between two measurements."""
    min_samples: int = 30
    """Samples below which a number is shown and never an alarm, nor an all-clear."""
    min_reviewed: int = 20
    """Reviewed answers below which accuracy is inconclusive."""
    baseline_requests: int = 100
    """Requests after a promotion that make the day-one baseline (MON-09)."""
    review_share: float = 0.1
    """Share of answers put into the review queue (MON-01: 5 to 10 %)."""
    segments: tuple[str, ...] = ()
    """Segment names that are measured apart (MON-13, ALRT-04)."""
    silent_hours: float = 48.0
    """Hours without a request after which monitoring says that it hears nothing (FIX-17)."""
    confirm_windows: int = 2
    """Windows in a row that must agree before an alarm becomes a trigger, unless the interval alone excludes the line."""
