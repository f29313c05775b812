"""How many samples, and what a given number can show: normal approximations, for plans and for honest captions.

Source: Fleiss, Levin, Paik, "Statistical Methods for Rates and Proportions", 2003, chapter 4.
"""

from __future__ import annotations

import math

from tunekeeper.stats.intervals import wilson
from tunekeeper.stats.special import normal_quantile


def n_per_arm(p: float, difference: float, alpha: float = 0.05, power: float = 0.8, *, sides: int = 2) -> int:
    """Requests per arm to tell two rates around `p` that lie `difference` > 0 apart: (z_a + z_b)^2 2 p (1-p) / difference^2."""
    if difference <= 0 or not 0 < p < 1:
        raise ValueError(f"rate {p}, difference {difference}: want 0 < rate < 1 and difference > 0")
    z = normal_quantile(1 - alpha / sides) + normal_quantile(power)
    return math.ceil(z * z * 2 * p * (1 - p) / (difference * difference))


def detectable(p: float, n: int, alpha: float = 0.05, power: float = 0.8, *, sides: int = 2) -> float:
    """The smallest difference that `n` per arm shows with the given power at a rate near `p`; 1 when n is 0."""
    if n <= 0:
        return 1.0
    z = normal_quantile(1 - alpha / sides) + normal_quantile(power)
    return min(1.0, z * math.sqrt(2 * p * (1 - p) / n))


def cases_to_show(p: float, at_least: float, confidence: float = 0.9, most: int = 100_000) -> int | None:
    """Fewest cases after which a model that is right with rate `p` has its Wilson interval at or above `at_least`.

    None when p is not above the target, or when more than `most` would be needed.
    """
    if p <= at_least:
        return None
    low, high = 1, most
    if wilson(p * most, most, confidence)[0] < at_least:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if wilson(p * middle, middle, confidence)[0] >= at_least else (middle + 1, high)
    return low
