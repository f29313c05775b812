"""Has a stream of yes/no outcomes become worse? A Shiryaev-Roberts e-detector.

M_t = (M_{t-1} + 1) L_t for each alternative, averaged; an alarm at M >= ARL happens, while nothing is wrong, once in ARL
outcomes at most on average, whatever the dependence between them. Source: Shin, Ramdas, Rinaldo, NEJSDS 2024.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

STEPS = (0.03, 0.06, 0.12, 0.25)


class Detector:
    """One-sided detector of a rise in a failure rate; improvements never alarm."""

    def __init__(self, reference: float, reference_n: float, arl: float, steps: tuple[float, ...] = STEPS) -> None:
        """`reference`: failure rate of the reference window (0 to 1) measured on `reference_n` outcomes: two standard deviations
        are added to it. `arl`: outcomes per false alarm, > 1. `steps`: rises to bet on, absolute."""
        if not 0 <= reference <= 1 or reference_n <= 0 or arl <= 1:
            raise ValueError(f"reference {reference} of {reference_n}, arl {arl}: want 0..1, > 0 and > 1")
        smoothed = (reference * reference_n + 1) / (reference_n + 2)
        self.rate = min(0.97, smoothed + 2 * math.sqrt(smoothed * (1 - smoothed) / reference_n))
        self.arl = arl
        self.alternatives = tuple(min(0.99, self.rate + step) for step in steps)
        self.wealth = [0.0] * len(steps)
        self.seen = 0
        self.alarm_at: int | None = None

    def update(self, failed: bool) -> bool:
        """Add one outcome; whether the alarm is on. The first alarm's place stays in `alarm_at` (count of outcomes seen)."""
        self.seen += 1
        for j, p in enumerate(self.alternatives):
            factor = p / self.rate if failed else (1 - p) / (1 - self.rate)
            self.wealth[j] = (self.wealth[j] + 1) * factor
        if self.alarm_at is None and self.statistic >= self.arl:
            self.alarm_at = self.seen
        return self.alarm_at is not None

    def feed(self, outcomes: Iterable[bool]) -> int | None:
        """Add outcomes in order up to the first alarm; its place, or None."""
        for failed in outcomes:
            if self.update(failed):
                break
        return self.alarm_at

    @property
    def statistic(self) -> float:
        """The mean over alternatives, compared with `arl`."""
        return sum(self.wealth) / len(self.wealth)

    def to_dict(self) -> dict[str, Any]:
        """The whole state as JSON values."""
        return {
            "rate": self.rate,
            "arl": self.arl,
            "alternatives": list(self.alternatives),
            "wealth": list(self.wealth),
            "seen": self.seen,
            "alarm_at": self.alarm_at,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Detector:
        """The detector that `to_dict` described."""
        made = cls(0.0, 1.0, state["arl"])
        made.rate, made.alternatives = state["rate"], tuple(state["alternatives"])
        made.wealth, made.seen, made.alarm_at = list(state["wealth"]), state["seen"], state["alarm_at"]
        return made
