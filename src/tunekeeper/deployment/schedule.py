"""How long bringing a version to users took beside what is set aside for it (DEPL-06). Pure.

Half an hour to export and convert, half an hour to deploy and verify, and half an hour to spare: an hour to two in all (article
000, stage 4). Waiting for people, and the rollout itself, are not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHARE = 1800.0
"""Seconds set aside for each of the two, and to spare."""
PARTS = {"export": ("export",), "verify": ("load", "check")}
"""Part → the stages of a cycle that it is made of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """What a deployment took, in real seconds."""

    export: float | None
    """Merging, converting, comparing with training; None: it has not ended, or another cycle did it."""
    verify: float | None
    """Loading, smoke test, checklist."""
    planned: float = 3 * SHARE
    """What is set aside for all of it."""

    @property
    def total(self) -> float:
        """Both, as far as they are known."""
        return (self.export or 0.0) + (self.verify or 0.0)

    @property
    def late(self) -> bool:
        """Whether what was set aside, the spare half hour included, is used up."""
        return self.total > self.planned

    def says(self) -> str | None:
        """One line for people; None before anything is known."""
        parts = {"export": self.export, "load and verify": self.verify}
        known = {name: seconds for name, seconds in parts.items() if seconds is not None}
        if not known:
            return None
        told = ", ".join(f"{name} {span(value)} of {span(SHARE)}" for name, value in known.items())
        left = self.planned - self.total
        if self.late:
            return f"{told}: {span(-left)} beyond the {span(self.planned)} set aside; see what took so long before the next one"
        spare = "; part of what is to spare is used" if max(known.values()) > SHARE else ""
        return f"{told}: {span(left)} left of {span(self.planned)}{spare}"


def times(timings: Mapping[str, float]) -> Times:
    """Of a cycle's `timings`: stage → real seconds."""
    return Times(export=_sum(timings, PARTS["export"]), verify=_sum(timings, PARTS["verify"]))


def _sum(timings: Mapping[str, float], stages: Sequence[str]) -> float | None:
    known = [timings[stage] for stage in stages if stage in timings]
    return sum(known) if known else None


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `1 h 30 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "") if hours else f"{minutes} min"
