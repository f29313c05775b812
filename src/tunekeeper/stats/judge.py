"""A model's judgements, corrected by a few human labels (guarded PPI++).

An uncorrected judge's interval is wrong nearly always at 5,000 judgements. Below 200 labels the humans alone are used.
Sources: Angelopoulos et al., Science 2023 (prediction-powered inference); Angelopoulos, Duchi, Zrnic, arXiv 2311.01453 (PPI++).
The guard (two imagined residuals a unit away, Student quantile) is ours: plain PPI++ under-covers with a strong judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunekeeper.stats.intervals import wilson
from tunekeeper.stats.special import normal_quantile, t_quantile

MIN_LABELS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Corrected:
    """The share of acceptable answers, as people would judge them."""

    value: float | None
    """Estimate; None without human labels."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""
    labels: int
    """Human labels behind it."""
    judged: int
    """Judgements without a human label."""
    method: Literal["wilson", "ppi++"]
    """How it was made."""
    rho: float | None
    """Correlation of judge and human; None when either never varies."""
    gain: float | None
    """Labels a human-only study would need for the same width, over `labels`; None below 200."""


def corrected_share(
    human: Sequence[bool],
    judged: Sequence[float],
    unlabelled: Sequence[float],
    confidence: float = 0.95,
    min_labels: int = MIN_LABELS,
) -> Corrected:
    """Correct a judge. `human[i]` and `judged[i]` speak of the same answer (drawn at random); `unlabelled`: the judge on others.

    Judgements lie in 0..1. Raises ValueError when the first two differ in length.
    """
    n, rest = len(human), len(unlabelled)
    rho = _correlation([float(h) for h in human], judged)
    if n < min_labels or rest == 0:
        low, high = wilson(sum(human), n, confidence)
        return Corrected(
            value=sum(human) / n if n else None, low=low, high=high, labels=n, judged=rest, method="wilson", rho=rho, gain=None
        )
    y = [float(h) for h in human]
    f_mean = math.fsum(unlabelled) / rest
    pooled = [*judged, *unlabelled]
    f_variance = _variance(pooled)
    mean_y, mean_f = math.fsum(y) / n, math.fsum(judged) / n
    covariance = math.fsum((a - mean_y) * (b - mean_f) for a, b in zip(y, judged, strict=True)) / (n - 1)
    trust = min(1.0, max(0.0, covariance / ((1 + n / rest) * f_variance))) if f_variance > 0 else 0.0
    residuals = [a - trust * b for a, b in zip(y, judged, strict=True)]
    middle = math.fsum(residuals) / n
    guarded = _variance([*residuals, middle + 1, middle - 1])
    half = t_quantile(0.5 + confidence / 2, n - 1) * math.sqrt(trust**2 * f_variance / rest + guarded / n)
    value = min(1.0, max(0.0, trust * f_mean + middle))
    low, high = max(0.0, value - half), min(1.0, value + half)
    z = normal_quantile(0.5 + confidence / 2)
    gain = max(mean_y * (1 - mean_y), 1 / n) * z * z / (half * half) / n
    return Corrected(value=value, low=low, high=high, labels=n, judged=rest, method="ppi++", rho=rho, gain=gain)


def sampling_shares(judged: Sequence[float], labels: int, floor: float = 0.2) -> list[float]:
    """Probability to ask a human about each answer, for about `labels` in all: sqrt(c(1-c)) with a uniform `floor` share.

    Weight each label by 1/probability (Zrnic, Candes, ICML 2024). Probabilities lie in (0, 1].
    """
    n = len(judged)
    if n == 0:
        return []
    doubt = [math.sqrt(max(0.0, c * (1 - c))) for c in judged]
    total = math.fsum(doubt)
    return [min(1.0, labels * ((1 - floor) * d / total + floor / n)) if total > 0 else min(1.0, labels / n) for d in doubt]


def margin_on_judge_scale(margin: float, sensitivity: float, specificity: float) -> float:
    """A margin on true failures as the judge sees it: margin (sensitivity + specificity - 1)."""
    return margin * (sensitivity + specificity - 1)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def _correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} human labels and {len(b)} judgements are not pairs")
    if len(a) < 2:
        return None
    va, vb = _variance(a), _variance(b)
    if va <= 0 or vb <= 0:
        return None
    ma, mb = math.fsum(a) / len(a), math.fsum(b) / len(b)
    return math.fsum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True)) / (len(a) - 1) / math.sqrt(va * vb)
