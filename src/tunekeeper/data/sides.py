"""Whether both sides hold rows, and whether the held-out one is like the one that is learnt from: by topic, length, source, date.

What an exam measures on a side of another kind says little about the traffic. A difference counts where it is large (for a share
10 points, for a distribution a distance of 0.15) and more than chance would make of so few rows (once in a thousand splits). What
one side lacks counts however small its share is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data import drafts
from tunekeeper.data.examples import GROUP_KEYS, created_of, read_file, tells, topic_of
from tunekeeper.data.findings import Finding, place_of
from tunekeeper.data.split import OPEN, side_of_file
from tunekeeper.text.fingerprints import text_of
from tunekeeper.workspace import Workspace

LEAST_HELD = 50
"""Held-out rows below which chance alone makes the sides differ."""
SAMPLE = 20_000
"""Rows that are looked at of a set of very many, evenly spread."""
SHARE_GAP = 0.1
DISTANCE = 0.15
"""Largest distance between two distributions (Kolmogorov and Smirnov), 0 to 1."""
EXPECTED = 7.0
"""Rows of a topic or a source that chance leaves out of a side once in a thousand splits, where so many are to be expected."""
LEAST_LACKED = 5
"""Rows that the other side has of it at least."""
PRUNED = ("outdated", "stale_vocabulary", "superseded")
"""Why rows leave a draft that is pruned."""
_CHANCE = 3.29
"""Standard deviations that a share differs by once in a thousand times."""
_CHANCE_DISTANCE = 1.95
"""The same of a distance, before it is scaled by the rows."""


def refuse_one_sided(ws: Workspace, model: str, counts: Mapping[str, int], share: float | None = None) -> None:
    """Raise DataError where one side of a set holds no row. `counts`: side → rows. `share`: the part that is to be held out."""
    empty = next((side for side in ("train", "eval") if not counts[side]), None)
    if empty is None:
        return
    rows, where = sum(counts.values()), "to learn from" if empty == "train" else "held out"
    key = None if share is None else _bound_by(ws, model)
    if rows > 1 and key is not None:
        alone = f"where {key} tells nobody apart, the file without it: tunekeeper data import FILE --replace --model {model}"
        why = f"all of them name one {key}, and rows of one stay on one side"
        raise DataError(f"{model}: {rows} rows and none of them {where}; {why}", fix=f"import rows of others, or, {alone}")
    raise DataError(f"{model}: {rows} rows and none of them {where}; no row changes sides", fix=_way_out(ws, model, share))


def _bound_by(ws: Workspace, model: str) -> str | None:
    """The key of metadata by which all rows of the draft are of one user or of one conversation; None where they are not."""
    shared: dict[str, Any] | None = None
    for row in read_file(drafts.folder(ws, model) / "draft.jsonl"):
        named = {key: row.metadata[key] for key in GROUP_KEYS if tells(row.metadata.get(key))}
        shared = named if shared is None else {key: name for key, name in shared.items() if named.get(key) == name}
    return next(iter(shared or ()), None)


def _way_out(ws: Workspace, model: str, share: float | None) -> str:
    """What gives an empty side rows: those that are new to the draft, or come back to it, are dealt out so that it gets some."""
    others = "import rows of other questions, conversations and users"
    if share == 0:
        return f"write data: {{eval_share: 0.1}} in models/{model}.yaml, then {others}"
    dropped = (line["kind"] for line in drafts.read_findings(ws, model) if line.get("action") == "dropped" and line.get("row"))
    gone = Counter(kind for kind in dropped if kind in PRUNED)
    back = f"tunekeeper data readmit --reason {gone.most_common(1)[0][0]} --model {model}, or " if gone else ""
    return f"{back}{others}: new ones are dealt out so that neither side lacks any"


class Traits(NamedTuple):
    """By what the sides are compared, of one row."""

    split: Split
    """Its side."""
    topic: str
    """Its topic."""
    source: str
    """Where it comes from, without its line or its request; empty for a file that is called after a split."""
    length: float
    """Its characters."""
    date: float | None
    """Its date, in seconds since 1970; None without one."""


def traits_of(row: Example) -> Traits:
    """By what a row is compared."""
    date, file = created_of(row.metadata), place_of(row.source)[0] or ""
    return Traits(
        split=row.split,
        topic=topic_of(row),
        source="" if side_of_file(file) != OPEN else file or row.source.partition(":")[0],
        length=float(sum(len(text_of(message.get("content"))) for message in row.messages)),
        date=None if date is None else date.timestamp(),
    )


def side_bias(rows: Iterable[Traits]) -> list[Finding]:
    """A finding for each respect in which the sides differ (DATA-25); with fewer than 50 rows held out only what a side lacks."""
    every = list(rows)
    train, held = ([e for e in every if e.split == side] for side in ("train", "eval"))
    if not train or not held:
        return []
    found = [_shares("topic", lambda e: e.topic, train, held), _shares("source", lambda e: e.source, train, held)]
    found.append(_distributions("length", lambda e: e.length, lambda value: f"{value:.0f} characters", train, held))
    found.append(_distributions("date", lambda e: e.date, lambda value: f"{np.datetime64(int(value), 's')}"[:10], train, held))
    return [each for each in found if each is not None]


def _shares(what: str, of: Callable[[Traits], str], train: Sequence[Traits], held: Sequence[Traits]) -> Finding | None:
    """The value whose share differs most between the sides, where it differs too much; else one that a side lacks."""
    a, b = Counter(map(of, train)), Counter(map(of, held))
    gap, value = max((abs(a[value] / len(train) - b[value] / len(held)), value) for value in {*a, *b})
    together = (a[value] + b[value]) / (len(train) + len(held))
    chance = _CHANCE * (together * (1 - together) * (1 / len(train) + 1 / len(held))) ** 0.5
    if len(held) < LEAST_HELD or gap <= max(SHARE_GAP, chance):
        return _lacked(what, a, b, here="to learn from", there="held out") or _lacked(
            what, b, a, here="held out", there="to learn from"
        )
    shares = f"{a[value] / len(train):.0%} of the rows to learn from, {b[value] / len(held):.0%} of those held out"
    return Finding(kind="side_bias", topic=value if what == "topic" else None, detail=f"{what} {value or 'none'!r}: {shares}")


def _lacked(what: str, mine: Counter[str], theirs: Counter[str], *, here: str, there: str) -> Finding | None:
    """The value with most rows on one side and none on the other, where chance leaves out no such value."""
    per_row = theirs.total() / mine.total()
    value, n = max(((v, n) for v, n in mine.items() if v and not theirs[v]), key=lambda each: (each[1], each[0]), default=("", 0))
    if n < LEAST_LACKED or n * per_row < EXPECTED:
        return None
    detail = f"{what} {value!r}: {n} rows {here}, none {there}"
    return Finding(kind="side_bias", topic=value if what == "topic" else None, detail=detail)


def _distributions(
    what: str,
    of: Callable[[Traits], float | None],
    shown: Callable[[float], str],
    train: Sequence[Traits],
    held: Sequence[Traits],
) -> Finding | None:
    """How far the distributions of a number lie apart, where that is too far; rows without the number do not count."""
    a, b = ([value for value in map(of, side) if value is not None] for side in (train, held))
    if len(b) < LEAST_HELD or not a:
        return None
    x, y = np.sort(np.array(a)), np.sort(np.array(b))
    every = np.concatenate([x, y])
    apart = np.abs(np.searchsorted(x, every, "right") / len(x) - np.searchsorted(y, every, "right") / len(y))
    distance = float(apart.max())
    if distance <= max(DISTANCE, _CHANCE_DISTANCE * (1 / len(x) + 1 / len(y)) ** 0.5):
        return None
    middles = f"{shown(median(a))} in the middle of the rows to learn from, {shown(median(b))} of those held out"
    return Finding(kind="side_bias", detail=f"{what}: {middles}; the distributions are {distance:.2f} apart")
