"""How far reviewers agree with each other, on items that more than one of them judged. Pure.

Only the opinions count that were asked for at first. One more is asked for where those disagree, so the items with just two are
those on which two agreed, and by them alone everybody would always agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.opinions import disagree, opinions_of
from tunekeeper.stats.agreement import cohen_kappa, fleiss_kappa, landis_koch

LEAST = 10
"""Items below which a kappa says nothing about people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kappa:
    """Agreement beyond chance."""

    items: int
    """Items it rests on."""
    same: float
    """Part of them on which all said the same, 0 to 1."""
    kappa: float | None
    """Cohen's for two people, Fleiss' for more; None where all always said one and the same thing."""
    words: str
    """What Landis and Koch call it; `inconclusive` without a kappa, and with one of fewer than LEAST items."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Agreement of all, and of each two."""

    overall: dict[str, Kappa] = field(default_factory=dict)
    """`answer` or `pair` → Fleiss' kappa."""
    pairs: dict[str, Kappa] = field(default_factory=dict)
    """`ana, bob` → Cohen's kappa on answers both judged."""
    disputed: tuple[str, ...] = ()
    """Open items whose opinions do not agree: one more is wanted."""


def agreement(items: Sequence[ReviewItem]) -> Agreement:
    """The agreement of the reviewers of `items`: verdicts of answers, choices of pairs."""
    first = {kind: _first([item for item in items if item.kind == kind]) for kind in ("answer", "pair")}
    tables = {kind: [[o.verdict for o in said] for said in each] for kind, each in first.items() if each}
    return Agreement(
        overall={kind: _kappa([len(set(row)) == 1 for row in table], fleiss_kappa(table)) for kind, table in tables.items()},
        pairs=_pairs(first["answer"]),
        disputed=tuple(item.id for item in items if disagree(item)),
    )


def _first(items: Sequence[ReviewItem]) -> list[Sequence[Opinion]]:
    """Of each item as many opinions, oldest first, as finished ones have at least; items with fewer are left out."""
    said = [(item.state == "done", opinions_of(item)) for item in items if len(opinions_of(item)) > 1]
    asked = min((len(each) for _, each in said), default=0)
    asked = min((len(each) for done, each in said if done), default=asked)
    return [each[:asked] for _, each in said if len(each) >= asked]


def _pairs(said: Sequence[Sequence[Opinion]]) -> dict[str, Kappa]:
    both: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in said:
        for (a, first), (b, second) in combinations(sorted((o.by, o.verdict) for o in each), 2):
            both[f"{a}, {b}"].append((first, second))
    return {names: _kappa([a == b for a, b in told], cohen_kappa(told)) for names, told in sorted(both.items())}


def _kappa(same: Sequence[bool], kappa: float | None) -> Kappa:
    words = "inconclusive" if kappa is None or len(same) < LEAST else landis_koch(kappa)
    return Kappa(items=len(same), same=sum(same) / len(same), kappa=kappa, words=words)
