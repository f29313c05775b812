"""Two models on the same cases, looked at once: exams.

Sources: McNemar 1947; Fagerland, Lydersen, Laake, BMC Med. Res. Methodol. 2013 (mid-p); Newcombe, Statistics in Medicine 1998
(17: 2635, method 10) for the interval of a paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from tunekeeper.stats.intervals import mean_interval, wilson


def mcnemar(fixed: int, broken: int) -> float:
    """Two-sided mid-p of "as many cases were fixed as broken"; counts of cases where exactly one model was right. 1 when none."""
    n = fixed + broken
    if n == 0:
        return 1.0
    few = min(fixed, broken)
    terms = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(few + 1)]
    below = math.fsum(math.exp(t) for t in terms)
    return min(1.0, 2 * below - math.exp(terms[-1])) if fixed != broken else 1.0


def difference(both: int, only_new: int, only_old: int, neither: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two paired rates, new - old, from the four counts of a 2x2 table. No pairs: (-1, 1)."""
    n = both + only_new + only_old + neither
    if n == 0:
        return -1.0, 1.0
    new, old = both + only_new, both + only_old
    (low1, high1), (low0, high0) = wilson(new, n, confidence), wilson(old, n, confidence)
    p1, p0 = new / n, old / n
    phi = _correlation(both, only_new, only_old, neither)
    d = p1 - p0
    low = d - math.sqrt(max(0.0, (p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high0 - p0) + (high0 - p0) ** 2))
    high = d + math.sqrt(max(0.0, (high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p0 - low0) + (p0 - low0) ** 2))
    return max(-1.0, low), min(1.0, high)


def _correlation(both: int, only_new: int, only_old: int, neither: int) -> float:
    """Newcombe's phi, continuity corrected where positive, 0 where a margin is empty."""
    n = both + only_new + only_old + neither
    product = (both + only_new) * (only_old + neither) * (both + only_old) * (only_new + neither)
    if product == 0:
        return 0.0
    cross = both * neither - only_new * only_old
    if cross > 0:
        cross = max(int(cross - n / 2), 0)
    return cross / math.sqrt(product)


def difference_of_scores(new: Sequence[float], old: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of new - old over the same cases, scores in [0, 1] in the same order.

    Right-or-wrong scores get the interval of paired rates, graded ones a guarded Student interval. Raises ValueError when the two
    differ in length.
    """
    if len(new) != len(old):
        raise ValueError(f"{len(new)} new scores and {len(old)} old ones are not pairs")
    if all(v in (0, 1) for v in (*new, *old)):
        pairs = [(bool(a), bool(b)) for a, b in zip(new, old, strict=True)]
        counts = [pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]
        return difference(counts[0], counts[1], counts[2], counts[3], confidence)
    return mean_interval([a - b for a, b in zip(new, old, strict=True)], confidence, low=-1.0, high=1.0)


def non_inferior(low: float, high: float, margin: float) -> Literal["pass", "fail", "inconclusive"]:
    """What an interval (low, high) of new - old says about "not worse than by `margin`", higher being better, margin >= 0.

    pass: the interval excludes the margin (low > -margin; for margin 0, low >= 0). fail: it shows a loss (high < 0) and does not
    exclude the margin. inconclusive: neither; more cases are needed.
    """
    if low > -margin or (margin == 0 and low >= 0):
        return "pass"
    return "fail" if high < 0 else "inconclusive"
