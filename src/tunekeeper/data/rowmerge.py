"""Which rows stay where two versions are merged that grew from a third one.

What a row says and its metadata are merged each by itself: an edit on one side and another category on the other are both kept.

Of each row that differs somewhere its place and five digests are kept, never the row itself, so that two versions of a million
rows with nothing in common can be merged. Rows that stand in all versions just so are known by their digests and not even read.

Two rows are the same when 64 bits of a digest are: of ten million rows two wrongly are with probability 0.000003.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import decode, encode, question_key
from tunekeeper.data.lines import Line
from tunekeeper.data.quality import READMITTED
from tunekeeper.data.tallies import SIDES
from tunekeeper.data.terms import REWRITTEN
from tunekeeper.store.manifests import Numbers
from tunekeeper.store.marks import digests_of
from tunekeeper.store.rowreader import Reader, apart

Side = Literal["a", "b"]
Why = Literal["edited differently", "added differently", "edited in a, removed in b", "removed in a, edited in b"]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

_DIGESTS = ("name", "asks", "says", "told", "whole")
_RECORD = np.dtype([("number", np.uint32), ("side", np.uint8), *((digest, "u8") for digest in _DIGESTS)])
"""A row: its number in its version; its side, a place in `SIDES`; digests of its name, of what it asks (0 unless it is named by
its content), of what makes two rows say the same, of its metadata, and of all of it."""
_CHOSEN = np.dtype([("of", np.uint8), ("number", np.uint32), ("side", np.uint8), ("beside", np.int64)])
"""A row of the result: the version it is taken from, its number there, its side now; the number in the other version of the row
that gives the metadata, -1 where it has its own."""
_NOTES = (REWRITTEN, READMITTED)
"""Metadata that belongs to what the row says."""
_A, _B, _NONE = 0, 1, 2
_EVAL = SIDES.index("eval")
_TOGETHER = 4096
"""Rows that are held at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """One example that the two versions changed differently."""

    id: str
    """Its name."""
    why: Why
    """How they differ."""
    base: Example | None
    """What the common parent held; None when it was not there."""
    a: Example | None
    """What A holds; None when A removed it."""
    b: Example | None
    """What B holds; None when B removed it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Known:
    """What a version has of the rows that differ somewhere, an entry for each name that any version knows."""

    has: Flags
    """Whether it has such a row."""
    rows: Records
    """The row; zeros where there is none."""

    def same(self, other: _Known) -> Flags:
        """Whether both say the same, or neither has the row."""
        found: Flags = (self.has == other.has) & (self.rows["says"] == other.rows["says"])
        return found

    def told(self, other: _Known) -> Flags:
        """Whether both have the same metadata."""
        found: Flags = self.rows["told"] == other.rows["told"]
        return found

    def changed(self, old: _Known) -> Flags:
        """Whether the row came or went, says something else, has other metadata or another side than in `old`."""
        found: Flags = ~self.same(old) | (self.has & old.has & (~self.told(old) | (self.rows["side"] != old.rows["side"])))
        return found


class RowMerge:
    """The merge of the rows of two versions. Raises ArtifactError when some are damaged."""

    def __init__(self, base: Reader | None, a: Reader, b: Reader, prefer: Side | None) -> None:
        """`base`: the version that both grew from, None where there is none; `prefer`: whose row is taken where they conflict."""
        self._readers = (a, b, base)
        held = [reader for reader in self._readers if reader is not None]
        standing = {id(each): _standing(each, [other for other in held if other is not each]) for each in held}
        sets = [_records(each, ~standing[id(each)]) if each is not None else np.empty(0, _RECORD) for each in self._readers]
        self._x, self._y, self._old, first, of_a = _joined(sets, _asked(a, standing[id(a)], sets))
        x, y, old = self._x, self._y, self._old
        self._in_all = x.has & y.has & old.has
        self._in_conflict = ~(x.same(y) | x.same(old) | y.same(old))
        self._in_conflict |= self._in_all & ~(x.told(y) | x.told(old) | y.told(old))
        self._order = np.argsort(first)
        self.counts = self._counted()
        if base is None:  # what stands in both, both added alike
            self.counts["both"] += sum(int(standing[id(a)][a.present(side)].sum()) for side in SIDES)
        self._plan = _planned(a, standing[id(a)], self._chosen(prefer), of_a, first)
        self.examples = len(self._plan)

    def lines(self) -> Iterator[Line]:
        """The rows in A's order, then what B adds; from the first, each time it is called."""
        for start in range(0, len(self._plan), _TOGETHER):
            some = self._plan[start : start + _TOGETHER]
            found: list[bytes] = [b""] * len(some)
            for of, reader in enumerate(self._readers[:2]):
                places = np.flatnonzero(some["of"] == of)
                for place, line in zip(places.tolist(), _picked(reader, some["number"][places]), strict=True):
                    found[place] = line
                mixed, other = places[some["beside"][places] >= 0], self._readers[1 - of]
                beside = some["beside"][mixed].astype(np.uint32)
                for place, line in zip(mixed.tolist(), _picked(other, beside), strict=True):
                    found[place] = _with_metadata(found[place], line)
            yield from ((line, SIDES[side]) for line, side in zip(found, some["side"].tolist(), strict=True))

    def conflicts(self, most: int) -> Iterator[Conflict]:
        """What the two changed differently, A's order first, `most` of it at most."""
        places = self._order[self._in_conflict[self._order]][:most]
        known = zip(self._readers, (self._x, self._y, self._old), strict=True)
        for x, y, old in zip(*(_rows(reader, each, places) for reader, each in known), strict=True):
            some = x or y or old
            yield Conflict(id="" if some is None else some.id, why=_why(old, x, y), base=old, a=x, b=y)

    def _counted(self) -> dict[str, int]:
        by_a, by_b, open_ = self._x.changed(self._old), self._y.changed(self._old), self._in_conflict
        alike = by_a & by_b & self._x.same(self._y) & ~(self._in_all & ~self._x.told(self._y))
        told = {
            "from_a": by_a & ~alike & ~open_,
            "from_b": by_b & ~alike & ~open_,
            "both": alike & ~open_,
            "conflicts": open_,
        }
        return {name: int(flags.sum()) for name, flags in told.items()}

    def _chosen(self, prefer: Side | None) -> Records:
        """For each name the row of the result; `_NONE` where there is none."""
        x, y, old = self._x, self._y, self._old
        untouched = x.same(old) & (~y.same(old) | ((x.rows["whole"] == old.rows["whole"]) & (x.rows["side"] == old.rows["side"])))
        from_b = np.where(self._in_conflict, prefer == "b", untouched)
        has = np.where(from_b, y.has, x.has) & ~(self._in_conflict & (prefer is None))
        made = np.zeros(len(has), _CHOSEN)
        made["of"] = np.where(has, np.where(from_b, _B, _A), _NONE)
        for field in ("number", "side"):
            made[field] = np.where(from_b, y.rows[field], x.rows[field])
        of_x, of_y = ~x.told(old), ~y.told(old)
        mixed = self._in_all & ~self._in_conflict & np.where(from_b, of_x & ~of_y, of_y & ~of_x)
        made["beside"] = np.where(from_b, x.rows["number"], y.rows["number"])
        made["beside"][~mixed] = -1
        # Held out wins where nothing says which side was first: learning from a row that one version examines on would leak.
        moved = np.where(x.rows["side"] != old.rows["side"], x.rows["side"], y.rows["side"])
        settled = x.has & y.has & (x.rows["side"] != y.rows["side"]) & ~self._in_conflict
        made["side"] = np.where(settled, np.where(old.has, moved, _EVAL), made["side"])
        return made


def _standing(reader: Reader, others: Sequence[Reader]) -> Flags:
    """Whether all others hold a row just so, on the same side; by its number."""
    stands = np.ones(sum(reader.manifest.rows), bool)
    for other in others:
        parts, there = apart(reader, other), np.zeros(len(stands), bool)
        there[parts.kept] = True
        for numbers in parts.moved.values():
            there[numbers] = False
        stands &= there
    return stands


def _records(reader: Reader, differs: Flags) -> Records:
    """The records of these rows, side by side, in order."""
    made = [np.empty(0, _RECORD)]
    for place, side in enumerate(SIDES):
        numbers = reader.present(side)
        made += [_some_records(reader, some, place) for some in _cut(numbers[differs[numbers]])]
    return np.concatenate(made)


def _some_records(reader: Reader, numbers: Numbers, side: int) -> Records:
    lines = reader.pick(numbers)
    rows = [decode(line) for line in lines]
    made = np.zeros(len(rows), _RECORD)
    made["number"], made["side"] = numbers, side
    made["name"] = [_digest(row.id) for row in rows]
    made["asks"] = [_digest(question_key(row)) if _by_content(row) else 0 for row in rows]
    made["says"] = [_digest(json.dumps((row.fingerprint, row.tools, float(row.weight)), sort_keys=True)) for row in rows]
    told = ({key: value for key, value in row.metadata.items() if key not in _NOTES} for row in rows)
    made["told"] = [_digest(json.dumps(metadata, sort_keys=True)) for metadata in told]
    made["whole"] = [int.from_bytes(digest[:8], "big") for digest in digests_of(lines)]
    return made


def _by_content(row: Example) -> bool:
    return row.id.startswith("ex_")


def _digest(text: str) -> int:
    """64 bits of a text's digest, never 0."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _cut(numbers: Numbers) -> list[Numbers]:
    return [numbers[start : start + _TOGETHER] for start in range(0, len(numbers), _TOGETHER)]


def _asked(a: Reader, standing: Flags, sets: Sequence[Records]) -> npt.NDArray[np.uint64]:
    """Questions of rows named by their content that a row which all versions share, named so too, asks as well."""
    asked = np.unique(np.concatenate([rows["asks"] for rows in sets]))
    found = [np.empty(0, np.uint64)]
    for side in SIDES if asked[-1:].any() else ():
        numbers = a.present(side)
        for some in _cut(numbers[standing[numbers]]):
            rows = [decode(line) for line in a.pick(some) if b'"id":"ex_' in line]
            found.append(np.array([_digest(question_key(row)) for row in rows if _by_content(row)], np.uint64))
    return np.intersect1d(asked, np.concatenate(found))


def _joined(sets: Sequence[Records], taken: npt.NDArray[np.uint64]) -> tuple[_Known, _Known, _Known, Places, Places]:
    """What A, B and the version before them have by each name; where each name is first in A, B and that one, one after the
    other; and which name each row of A has.

    A row is the same one in another version by its name, or by its question where it is named by its content: unless several such
    rows of one version ask that (`taken`: also a row that is in none of the sets); then their names tell them apart.
    """
    counted = [np.unique(rows["asks"], return_counts=True) for rows in sets]
    many = np.concatenate([taken, *(asked[times > 1] for asked, times in counted)])
    keys = [np.where((rows["asks"] == 0) | np.isin(rows["asks"], many), rows["name"], rows["asks"]) for rows in sets]
    _, first, names = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    of_a, of_b, of_old = np.split(names, np.cumsum([len(rows) for rows in sets[:2]]))
    known = [_known(rows, of, len(first)) for rows, of in zip(sets, (of_a, of_b, of_old), strict=True)]
    return known[0], known[1], known[2], first, of_a


def _known(rows: Records, names: Places, count: int) -> _Known:
    has, made = np.zeros(count, bool), np.zeros(count, _RECORD)
    has[names], made[names] = True, rows
    return _Known(has=has, rows=made)


def _planned(a: Reader, standing: Flags, chosen: Records, of_a: Places, first: Places) -> Records:
    """The rows of the result: in A's order what stands in all versions and what was chosen, then what only B has."""
    numbers = np.concatenate([a.present(side) for side in SIDES])
    sides = np.repeat(np.arange(len(SIDES)), [len(a.present(side)) for side in SIDES])
    made = np.zeros(len(numbers), _CHOSEN)
    made["number"], made["side"], made["beside"] = numbers, sides, -1
    differing = np.flatnonzero(~standing[numbers])
    made[differing] = chosen[of_a]
    made["of"][differing[first[of_a] != np.arange(len(of_a))]] = _NONE  # a name stands once
    added = np.argsort(first)
    plan = np.concatenate([made, chosen[added[first[added] >= len(of_a)]]])
    stays: Records = plan[plan["of"] != _NONE]
    return stays


def _picked(reader: Reader | None, numbers: Numbers) -> list[bytes]:
    return reader.pick(numbers) if reader is not None and len(numbers) else []


def _with_metadata(line: bytes, other: bytes) -> bytes:
    """A row with the metadata of another one, but for what was noted of its own text."""
    row = decode(line)
    noted = {key: row.metadata[key] for key in _NOTES if key in row.metadata}
    told = {key: value for key, value in decode(other).metadata.items() if key not in _NOTES}
    return encode(replace(row, metadata=told | noted))


def _rows(reader: Reader | None, known: _Known, places: Places) -> list[Example | None]:
    """The rows that a version has at these places."""
    there = known.rows[places[known.has[places]]]
    picked = zip(_picked(reader, there["number"]), there["side"].tolist(), strict=True)
    rows = (decode(line, SIDES[side]) for line, side in picked)
    return [next(rows) if has else None for has in known.has[places].tolist()]


def _why(old: Example | None, x: Example | None, y: Example | None) -> Why:
    if x is None:
        return "removed in a, edited in b"
    if y is None:
        return "edited in a, removed in b"
    return "added differently" if old is None else "edited differently"
