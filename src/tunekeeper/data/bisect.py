"""Bisect: after which dataset version a case broke, out of what exams recorded. Pure, and trains nothing.

Versions whose models no exam asked are never guessed at: they are named between the last good version and the first bad one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["right", "wrong", "mixed", "not asked"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What one exam said about the case."""

    dataset: str
    """The version that the examined model learned."""
    version: str
    """The examined model version."""
    exam: str
    """The exam."""
    right: bool
    """Whether the answer was right."""
    answer: str | None
    """What was said; None when nothing answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What exams know about one dataset version."""

    dataset: str
    """The version."""
    state: State
    """mixed: models that learned it disagree."""
    sightings: tuple[Sighting, ...]
    """The exams behind it, in the order given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bisected:
    """After which version a case broke."""

    case: str
    """The case."""
    verdict: Literal["broke", "right now", "never right", "no exams"]
    """broke: right once and wrong (or mixed) since; right now: the newest examined version has it right."""
    good: str | None
    """The newest version of which every model had it right, before it broke; with `right now` the newest examined one."""
    bad: str | None
    """The first examined version after `good` of which not every model had it right; with `never right` the first examined."""
    between: tuple[str, ...]
    """Versions between the two that no exam asked: it may be any of these that broke it."""
    seen: tuple[Seen, ...]
    """Every version, oldest first."""


def bisect(case: str, order: Sequence[str], sightings: Sequence[Sighting]) -> Bisected:
    """The version after which `case` broke. `order`: dataset versions, oldest first; sightings of others are left out."""
    seen = tuple(_seen(id, sightings) for id in order)
    asked = [i for i, each in enumerate(seen) if each.state != "not asked"]
    rights = [i for i in asked if seen[i].state == "right"]
    if not asked:
        return Bisected(case=case, verdict="no exams", good=None, bad=None, between=(), seen=seen)
    if not rights:
        return Bisected(case=case, verdict="never right", good=None, bad=order[asked[0]], between=(), seen=seen)
    good = rights[-1]
    if good == asked[-1]:
        return Bisected(case=case, verdict="right now", good=order[good], bad=None, between=(), seen=seen)
    bad = next(i for i in asked if i > good)
    between = tuple(order[good + 1 : bad])
    return Bisected(case=case, verdict="broke", good=order[good], bad=order[bad], between=between, seen=seen)


def _seen(dataset: str, sightings: Sequence[Sighting]) -> Seen:
    mine = tuple(each for each in sightings if each.dataset == dataset)
    answers = {each.right for each in mine}
    state: State = "not asked" if not answers else "mixed" if len(answers) > 1 else "right" if True in answers else "wrong"
    return Seen(dataset=dataset, state=state, sightings=mine)
