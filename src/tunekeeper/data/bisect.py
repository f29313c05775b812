"""Bisect: after which dataset version a case broke, out of what exams recorded. Pure, and trains nothing.

Versions whose models no exam asked are never guessed at: they are named between the last good version and the first bad one.
Where versions were merged, it is looked for on the side that brought it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

State = Literal["right", "wrong", "mixed", "not asked"]
Parents = Mapping[str, Sequence[str]]
"""Version → those that its rows come from."""


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


def bisect(
    case: str, order: Sequence[str], sightings: Sequence[Sighting], grew_from: Mapping[str, Iterable[str]] | None = None
) -> Bisected:
    """The version after which `case` broke. `order`: dataset versions, oldest first; sightings of others are left out.
    `grew_from`: version → those that its rows come from; None where each grew from the one before."""
    seen = tuple(_seen(id, sightings) for id in order)
    states = {each.dataset: each.state for each in seen}
    asked = [id for id in order if states[id] != "not asked"]
    if not asked:
        return Bisected(case=case, verdict="no exams", good=None, bad=None, between=(), seen=seen)
    if "right" not in states.values():
        return Bisected(case=case, verdict="never right", good=None, bad=asked[0], between=(), seen=seen)
    if states[asked[-1]] == "right":
        return Bisected(case=case, verdict="right now", good=asked[-1], bad=None, between=(), seen=seen)
    parents = {b: [a] for a, b in pairwise(order)} if grew_from is None else grew_from
    known = {id: [each for each in parents.get(id, ()) if each in states] for id in order}
    good, bad, between = _broke(asked, states, known)
    return Bisected(case=case, verdict="broke", good=good, bad=bad, between=tuple(filter(between.__contains__, order)), seen=seen)


def _broke(asked: Sequence[str], states: Mapping[str, State], parents: Parents) -> tuple[str, str, set[str]]:
    """The last good version, the bad one that came of it, and those between them that no exam asked; back from the newest one
    that was asked (`asked`: oldest first, the newest not right), to the side of a merge that was bad before."""
    bad = asked[-1]
    while True:
        near, between = _before(bad, parents, stop=set(asked))
        older = [id for id in near if states[id] != "right" and any(states[each] == "right" for each in _all_before(id, parents))]
        if not older:
            break
        bad = max(older, key=asked.index)
    rights = [id for id in near if states[id] == "right"]
    if rights:
        return max(rights, key=asked.index), bad, between
    last = max(i for i, id in enumerate(asked) if states[id] == "right")  # it stands on another side, which nobody merged since
    return asked[last], asked[last + 1], set()


def _all_before(id: str, parents: Parents) -> set[str]:
    return _before(id, parents, stop=set())[1]


def _before(id: str, parents: Parents, *, stop: set[str]) -> tuple[set[str], set[str]]:
    """Going back from a version: the first ones of `stop` on each way, and those on the ways to them."""
    found, passed, open_ = set[str](), set[str](), list(parents[id])
    while open_:
        each = open_.pop()
        if each in stop:
            found.add(each)
        elif each not in passed:
            passed.add(each)
            open_ += parents[each]
    return found, passed


def _seen(dataset: str, sightings: Sequence[Sighting]) -> Seen:
    mine = tuple(each for each in sightings if each.dataset == dataset)
    answers = {each.right for each in mine}
    state: State = "not asked" if not answers else "mixed" if len(answers) > 1 else "right" if True in answers else "wrong"
    return Seen(dataset=dataset, state=state, sightings=mine)
