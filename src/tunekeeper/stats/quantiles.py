"""Quantiles and intervals for them that ask nothing of the distribution: latencies and lengths have long tails.

Source: David, Nagaraja, Order Statistics, 3rd ed., 7.1: the interval lies between two of the ordered values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(ordered: Sequence[float], p: float) -> float:
    """The p-quantile, p in [0, 1], of at least one value in ascending order; linear between two values."""
    place = p * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def quantile_interval(ordered: Sequence[float], p: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """An exact interval of the p-quantile, p in (0, 1), for one look at values in ascending order; never covers less than
    `confidence`. None where there are too few values for one (six for a median at 95 %)."""
    n, tail = len(ordered), (1 - confidence) / 2
    below = _rank(n, p, tail)
    above = _rank(n, 1 - p, tail)
    return (ordered[below - 1], ordered[n - above]) if below and above else None


def _rank(n: int, p: float, tail: float) -> int:
    """The highest rank, from 1, below which the p-quantile lies with at most `tail` probability; 0 where there is none."""
    if n < 1:
        return 0
    found, below = 0, 0.0
    for hits in range(n):
        logarithm = math.lgamma(n + 1) - math.lgamma(hits + 1) - math.lgamma(n - hits + 1)
        below += math.exp(logarithm + hits * math.log(p) + (n - hits) * math.log1p(-p))
        if below > tail:
            break
        found = hits + 1
    return found
