"""Do confidences mean what they say? Equal-mass bins, weighted, with the bias of small bins taken off.

Source: Kumar, Liang, Ma, "Verified uncertainty calibration", NeurIPS 2019 (debiased L2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """One bin of the reliability curve."""

    confidence: float
    """Mean confidence, 0 to 1."""
    accuracy: float
    """Share that was right."""
    n: int
    """Answers in it."""


def curve(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> list[Bin]:
    """Reliability curve over at most `bins` bins of equal mass (ties stay together). ValueError on unequal lengths."""
    rows = sorted(zip(confidences, correct, strict=True))
    if not rows:
        return []
    size = math.ceil(len(rows) / bins)
    made: list[Bin] = []
    start = 0
    while start < len(rows):
        end = min(start + size, len(rows))
        while end < len(rows) and rows[end][0] == rows[end - 1][0]:
            end += 1
        part = rows[start:end]
        mean = math.fsum(c for c, _ in part) / len(part)
        made.append(Bin(confidence=mean, accuracy=sum(bool(ok) for _, ok in part) / len(part), n=len(part)))
        start = end
    return made


def weighted_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float | None:
    """Expected calibration error, bins weighted by count: mean |confidence - accuracy|. Biased upward when small. None: empty."""
    parts = curve(confidences, correct, bins)
    n = sum(b.n for b in parts)
    return math.fsum(b.n * abs(b.confidence - b.accuracy) for b in parts) / n if n else None


def debiased_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float | None:
    """Root mean squared calibration error with each bin's sampling variance subtracted: near 0 for a calibrated model at any n.

    None with fewer than two answers in every bin.
    """
    parts = [b for b in curve(confidences, correct, bins) if b.n > 1]
    n = sum(b.n for b in parts)
    if n == 0:
        return None
    squares = [b.n / n * ((b.confidence - b.accuracy) ** 2 - b.accuracy * (1 - b.accuracy) / (b.n - 1)) for b in parts]
    return math.sqrt(max(0.0, math.fsum(squares)))
