"""Many tests at once. Sources: Benjamini, Hochberg, JRSS-B 1995; Wang, Ramdas, JRSS-B 2022 (e-BH)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def bh(p_values: Sequence[float], rate: float = 0.1) -> list[bool]:
    """Which p-values are discoveries at false-discovery rate `rate` (independent or positively dependent tests)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    return _step(order, [p_values[i] <= rate * (k + 1) / len(order) for k, i in enumerate(order)])


def e_bh(log_e: Sequence[float], rate: float = 0.1) -> list[bool]:
    """Which natural-log e-values are discoveries at false-discovery rate `rate`: any dependence, any stopping time."""
    order = sorted(range(len(log_e)), key=lambda i: -log_e[i])
    return _step(order, [log_e[i] >= math.log(len(order) / (rate * (k + 1))) for k, i in enumerate(order)])


def _step(order: list[int], holds: list[bool]) -> list[bool]:
    last = max((k for k, ok in enumerate(holds) if ok), default=-1)
    chosen = set(order[: last + 1])
    return [i in chosen for i in range(len(order))]
