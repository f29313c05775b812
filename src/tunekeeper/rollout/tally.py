"""Counts of a rollout's requests, request by request in order of time, and what of them may be remembered between looks.

Memory only saves reading: whoever has none reads the log from the first move on and counts the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.rollout.decision import Tick

METRICS = ("errors", "corrections")
ARMS = ("candidate", "champion")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One request of a rollout, judged."""

    request_id: str
    """The request."""
    at: datetime
    """When it was accepted."""
    arm: str
    """`candidate` or `champion`: the one it was assigned to, whoever answered in the end."""
    weight: int
    """Candidate's ten-thousandths at that moment."""
    unit: str
    """What it counts for once: the unit's digest, or the request id."""
    failed: Mapping[str, bool]
    """Metric → whether it failed."""
    why: str
    """Why it failed, empty when it did not."""


class Tally:
    """Counts in ticks whose edges are fixed when traffic first moves.

    A unit counts once per traffic share, with its first request: outcomes of one person are not independent evidence.
    """

    def __init__(self, rollout: Rollout, below: Tally | None = None) -> None:
        """`below`: counts of everything older, which stay as they are."""
        self._started = rollout.started_at
        self._every = rollout.check_every
        self._phase_since = rollout.phase_since
        self._below = below
        self._cells: dict[tuple[int, int], Counter[str]] = {}
        self._seen: set[int] = set()
        self._in_phase = 0

    def add(self, item: Judged) -> None:
        """One more request, no older than those before it."""
        if self._started is None or not 0 < item.weight < 10_000:
            return
        if item.unit != item.request_id and not self._first(hash((item.unit, item.weight))):
            return
        tick = int((item.at - self._started).total_seconds() // self._every)
        cell = self._cells.setdefault((tick, item.weight), Counter())
        cell[item.arm] += 1
        cell.update(f"{item.arm} {metric}" for metric, failed in item.failed.items() if failed)
        if item.arm == "candidate" and self._phase_since is not None and item.at >= self._phase_since:
            self._in_phase += 1

    def _first(self, unit: int) -> bool:
        if unit in self._seen or (self._below is not None and unit in self._below._seen):
            return False
        self._seen.add(unit)
        return True

    def enter(self, phase_since: datetime | None) -> None:
        """A phase that began after everything that was counted so far."""
        if phase_since != self._phase_since:
            self._phase_since = phase_since
            self._in_phase = 0

    def ticks(self) -> dict[str, list[Tick]]:
        """Metric → ticks in order of time."""
        cells = {key: Counter(cell) for key, cell in self._cells.items()}
        for key, cell in self._below._cells.items() if self._below is not None else ():
            cells.setdefault(key, Counter()).update(cell)
        return {metric: [_tick(cells[key], metric, key[1]) for key in sorted(cells)] for metric in METRICS}

    @property
    def in_phase(self) -> int:
        """The candidate's requests in the current phase."""
        return self._in_phase + (self._below._in_phase if self._below is not None else 0)


def _tick(cell: Mapping[str, int], metric: str, weight: int) -> Tick:
    return Tick(
        candidate=cell["candidate"],
        candidate_failed=cell[f"candidate {metric}"],
        champion=cell["champion"],
        champion_failed=cell[f"champion {metric}"],
        share=weight / 10_000,
    )


@dataclass(slots=True)
class Counted:
    """Counts of a rollout that no later look would make otherwise."""

    under: tuple[Any, ...]
    """What they were made by: other rules make other counts."""
    tally: Tally
    """The counts."""
    upto: datetime
    """They are of the requests accepted before this moment."""
    hours: Counter[datetime] = field(default_factory=Counter)
    """Hour → requests of the log in it before `upto`, judged or not: when the log says otherwise, all is counted anew."""


class Looks:
    """What earlier looks of this process counted, one rollout a model."""

    def __init__(self) -> None:
        self._kept: dict[str, Counted] = {}

    def of(self, rollout: Rollout, rules: Mapping[str, Any]) -> Counted | None:
        """What is remembered of a rollout judged by these rules; None when nothing is."""
        found = self._kept.get(rollout.model)
        return found if found is not None and found.under == under(rollout, rules) else None

    def keep(self, model: str, counted: Counted | None) -> None:
        """Remember it for the next look; None forgets."""
        if counted is None:
            self._kept.pop(model, None)
        else:
            self._kept[model] = counted


def under(rollout: Rollout, rules: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the counts of a rollout depend on, apart from the log."""
    return rollout.id, rollout.slot, rollout.started_at, rollout.check_every, rollout.settle, dict(rules)
