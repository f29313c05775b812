"""How good the data is, as a number: data quality is the ceiling on model quality, so it stands beside every run.

A row begins at 1. Each kind of finding about it takes its part of what is left, however often it was found, and so does being
made up by a machine: `score = Π (1 − penalty)`. A set's score is the mean of its rows'; what concerns the set as a whole
(`SET_PENALTIES`) takes its part of that. A row with a refusal has 0.2, one with a stale term 0.7, one with both 0.14.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.findings import Finding
from tunekeeper.data.tallies import is_synthetic

PENALTIES: dict[str, float] = {
    "broken": 1.0,
    "bad_roles": 1.0,
    "empty": 1.0,
    "answer_equals_prompt": 0.9,
    "format": 0.8,
    "refusal": 0.8,
    "truncated": 0.7,
    "mojibake": 0.7,
    "template_leak": 0.7,
    "contradiction": 0.7,
    "leak": 0.6,
    "exact_duplicate": 0.5,
    "pii": 0.5,
    "profanity": 0.5,
    "language": 0.5,
    "too_long": 0.5,
    "stale_vocabulary": 0.3,
    "near_duplicate": 0.2,
}
"""Kind of finding → part of a row's score that it takes, 0 to 1; other kinds take nothing from a row."""
SYNTHETIC = 0.2
"""Part that being made up by a machine takes."""
SET_PENALTIES: dict[str, float] = {
    "synthetic_only": 0.5,
    "synthetic_share": 0.1,
    "recency": 0.1,
    "imbalance": 0.1,
    "side_bias": 0.05,
}
"""Kind of finding about the set as a whole → part of its score that it takes."""
LOW = 0.5
"""Score below which a row counts as low."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """The quality of a set of rows."""

    score: float | None
    """Mean score of its rows less what the whole loses, 0 to 1; None where nobody compared the rows with each other."""
    at_most: float
    """The same by what was looked at: more than that it cannot be."""
    clean: float
    """Part of the rows about which nothing is said, 0 to 1."""
    low: int
    """Rows with a score below 0.5."""
    rows: int
    """Rows that were looked at."""
    of: int
    """Rows there are; more than `rows` where only some were looked at."""
    kinds: dict[str, int]
    """Kind of finding → rows it was said of, most first."""


def row_score(kinds: Iterable[str], *, synthetic: bool = False) -> float:
    """The score of a row about which findings of these kinds speak, 0 to 1."""
    score = 1 - SYNTHETIC if synthetic else 1.0
    for kind in set(kinds):
        score *= 1 - PENALTIES.get(kind, 0.0)
    return round(score, 4)


def row_scores(examples: Iterable[Example], found: Iterable[Finding]) -> dict[str, float]:
    """Id → score of every row; `found`: what is said of them, findings about others are passed over."""
    kinds: dict[str, set[str]] = {}
    for each in found:
        if each.id is not None:
            kinds.setdefault(each.id, set()).add(each.kind)
    return {e.id: row_score(kinds.get(e.id, ()), synthetic=is_synthetic(e)) for e in examples}


def quality_of(examples: Sequence[Example], found: Sequence[Finding], *, compared: bool, of: int | None = None) -> Quality | None:
    """The quality of rows with these findings; None without rows. `compared`: whether somebody looked for what only a comparison
    of the rows finds. `of`: rows there are, where these are some of them."""
    if not examples:
        return None
    ids = {e.id for e in examples}
    said = {(f.id, f.kind) for f in found if f.id in ids}
    scores = row_scores(examples, found)
    score = sum(scores[e.id] for e in examples) / len(examples)
    for kind in {f.kind for f in found if f.id is None}:
        score *= 1 - SET_PENALTIES.get(kind, 0.0)
    spoken = {id for id, _ in said}
    return Quality(
        score=round(score, 4) if compared else None,
        at_most=round(score, 4),
        clean=round(sum(e.id not in spoken for e in examples) / len(examples), 4),
        low=sum(scores[e.id] < LOW for e in examples),
        rows=len(examples),
        of=len(examples) if of is None else of,
        kinds=dict(sorted(Counter(kind for _, kind in said).items(), key=lambda item: (-item[1], item[0]))),
    )


def state_of(path: Path) -> tuple[int, int] | None:
    """By what a draft's file is known to be the same one: bytes and moment of change (ns); None where there is none."""
    if not path.exists():
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def sentence(quality: Mapping[str, Any] | None) -> str:
    """What a version's report says of its quality, in one line; empty where it says nothing."""
    if not quality:
        return ""
    some = f", by {quality['rows']} of its {quality['of']} rows" if quality["of"] > quality["rows"] else ""
    kinds = ", ".join(f"{n} {kind}" for kind, n in list(quality["kinds"].items())[:3])
    score = f"unchecked, at most {quality['at_most']:.2f}" if quality["score"] is None else f"{quality['score']:.2f}"
    return f"{score} ({quality['clean']:.0%} clean, {quality['low']} low{some})" + (f": {kinds}" if kinds else "")


def word(quality: Mapping[str, Any] | None) -> str | None:
    """The score as a table shows it; None for a version of which nothing is known."""
    if not quality:
        return None
    return "unchecked" if quality["score"] is None else f"{quality['score']:.2f}"
