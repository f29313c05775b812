"""How far reviewers agree with each other, on items that more than one of them judged. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.data.opinions import disagree, opinions_of
from tunekeeper.stats.agreement import cohen_kappa, fleiss_kappa, landis_koch


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
    """What Landis and Koch call it; empty without a kappa."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Agreement of all, and of each two."""

    overall: dict[str, Kappa] = field(default_factory=dict)
    """`answer` or `pair` → Fleiss' kappa, over the items with the most usual number of opinions above one."""
    pairs: dict[str, Kappa] = field(default_factory=dict)
    """`ana, bob` → Cohen's kappa on answers both judged."""
    disputed: tuple[str, ...] = ()
    """Open items whose opinions do not agree: one more is wanted."""


def agreement(items: Sequence[ReviewItem]) -> Agreement:
    """The agreement of the reviewers of `items`: verdicts of answers, choices of pairs."""
    found: dict[str, Kappa] = {}
    for kind in ("answer", "pair"):
        said = [[o.verdict for o in opinions_of(item)] for item in items if item.kind == kind]
        counts = Counter(len(each) for each in said if len(each) > 1)
        if counts:
            usual = counts.most_common(1)[0][0]
            table = [each for each in said if len(each) == usual]
            found[kind] = _kappa([len(set(each)) == 1 for each in table], fleiss_kappa(table))
    return Agreement(overall=found, pairs=_pairs(items), disputed=tuple(item.id for item in items if disagree(item)))


def _pairs(items: Sequence[ReviewItem]) -> dict[str, Kappa]:
    both: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for item in items:
        if item.kind == "answer":
            said = sorted((o.by, o.verdict) for o in opinions_of(item))
            for (a, first), (b, second) in combinations(said, 2):
                both[f"{a}, {b}"].append((first, second))
    return {names: _kappa([a == b for a, b in said], cohen_kappa(said)) for names, said in sorted(both.items())}


def _kappa(same: Sequence[bool], kappa: float | None) -> Kappa:
    words = "" if kappa is None else landis_koch(kappa)
    return Kappa(items=len(same), same=sum(same) / len(same), kappa=kappa, words=words)
