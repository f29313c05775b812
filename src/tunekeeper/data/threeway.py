"""Three-way merge of two versions, example by example, against the version that both grew from.

What one side changed and the other left alone is taken; what both changed in the same way is taken once; what they changed
differently is a conflict, shown side by side, and then nothing is written at all. Of versions only the rows that differ somewhere
are held: those that stand in all three just so are known by their digests, and go from A into the draft as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example, Split
from tunekeeper.data import drafts, lines, versions
from tunekeeper.data.differences import same_content
from tunekeeper.data.examples import decode, question_key
from tunekeeper.data.lines import Line
from tunekeeper.data.revert import Replaced, replace_draft
from tunekeeper.data.tallies import SIDES
from tunekeeper.store.packs import lines_of
from tunekeeper.store.rowreader import Reader
from tunekeeper.workspace import Workspace

Side = Literal["a", "b"]
Why = Literal["edited differently", "added differently", "edited in a, removed in b", "removed in a, edited in b"]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What a three-way merge comes to."""

    rows: tuple[Example, ...]
    """The merged rows, A's order first; those in conflict as `prefer` says, or left out without it."""
    conflicts: tuple[Conflict, ...]
    """What the two changed differently, also where `prefer` decided."""
    counts: dict[str, int]
    """from_a, from_b (changes that one side alone made), both (changes made alike), conflicts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeDone:
    """What `merge` did."""

    a: str
    """The first version."""
    b: str
    """The second."""
    base: str | None
    """The newest version both grew from; None when there is none."""
    counts: dict[str, int]
    """As in `Merged`."""
    conflicts: tuple[Conflict, ...]
    """What has to be decided, or was decided by `prefer`."""
    examples: int
    """Rows of the result."""
    draft: Replaced | None
    """The draft that holds the result; None when it was left alone: conflicts, or a dry run."""


def merge_versions(
    ws: Workspace,
    a: str,
    b: str,
    *,
    model: str | None = None,
    prefer: Side | None = None,
    dry_run: bool = False,
    by: str = "data",
) -> MergeDone:
    """Merge version `b` into version `a` and make the result the draft; with conflicts and no `prefer` nothing is written.

    What the draft held is kept, as by `revert`. Raises NotFound, Busy, and UserError for versions of two models or a result
    without rows.
    """
    first, second = versions.resolve(ws, a, model), versions.resolve(ws, b, model)
    if first.model != second.model:
        raise UserError(f"{first.id} and {second.id} are of two models", fix=f"name two versions of {first.model}")
    base = common_parent(first, second, {each.id: each for each in versions.log(ws, first.model)})
    merge = _Merge([_opened(ws, each) for each in (base, first, second)], prefer)
    done = MergeDone(
        a=first.id,
        b=second.id,
        base=None if base is None else base.id,
        counts=merge.found.counts,
        conflicts=merge.found.conflicts,
        examples=merge.examples,
        draft=None,
    )
    if dry_run or (done.conflicts and prefer is None):
        return done
    if not done.examples:
        raise UserError(f"{first.id} and {second.id} merge to no rows", fix=f"tunekeeper data diff {first.id} {second.id}")
    origin = {"merged": f"{first.id} + {second.id}", "base": done.base, "preferred": prefer if done.conflicts else None}
    with drafts.locked(ws, first.model):
        return replace(done, draft=replace_draft(ws, first, merge.lines, origin, by=by))


def common_parent(a: DatasetVersion, b: DatasetVersion, known: Mapping[str, DatasetVersion]) -> DatasetVersion | None:
    """The newest version that both grew from, one of them itself included; None when they share none."""
    shared = _ancestors(a, known).keys() & _ancestors(b, known).keys()
    return max((known[id] for id in shared), key=lambda each: each.number, default=None)


def _ancestors(version: DatasetVersion, known: Mapping[str, DatasetVersion]) -> dict[str, DatasetVersion]:
    """The version and all that its rows come from, by id.

    What was frozen after a revert grew from the version that was brought back, what was frozen after a merge from both: there
    `parent` only says which version was the newest.
    """
    found: dict[str, DatasetVersion] = {}
    open_ = [version]
    while open_:
        each = open_.pop()
        if each.id not in found:
            found[each.id] = each
            open_ += [known[id] for id in _grew_from(each) if id in known]
    return found


def _grew_from(version: DatasetVersion) -> list[str]:
    origin = version.report.get("origin") or {}
    named = [origin["reverted_to"]] if "reverted_to" in origin else str(origin.get("merged", "")).split(" + ")
    return [id for id in named if id] or ([version.parent] if version.parent else [])


def merge_rows(base: Sequence[Example], a: Sequence[Example], b: Sequence[Example], *, prefer: Side | None = None) -> Merged:
    """Merge the rows of `a` and `b`, which both grew from `base`. `prefer`: whose version of a conflict is taken."""
    return _decided((base, a, b), _names((base, a, b)), prefer).merged()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decided:
    """What becomes of each row."""

    taken: dict[str, Example | None]
    """What makes it the same row in another version → the row of the merge; None where there is none."""
    conflicts: tuple[Conflict, ...]
    """As in `Merged`."""
    counts: dict[str, int]
    """As in `Merged`."""

    def merged(self) -> Merged:
        """The same with nothing but the rows that stay."""
        rows = tuple(row for row in self.taken.values() if row is not None)
        return Merged(rows=rows, conflicts=self.conflicts, counts=self.counts)


def _decided(sets: Sequence[Sequence[Example]], name: Callable[[Example], str], prefer: Side | None) -> _Decided:
    olds, ours, theirs = ({name(example): example for example in rows} for rows in sets)
    counts = dict.fromkeys(("from_a", "from_b", "both", "conflicts"), 0)
    taken: dict[str, Example | None] = {}
    conflicts: list[Conflict] = []
    for key in dict.fromkeys((*ours, *theirs, *olds)):
        old, x, y = olds.get(key), ours.get(key), theirs.get(key)
        if (why := _conflict(old, x, y)) is not None:
            some = x or y or old
            conflicts.append(Conflict(id=key if some is None else some.id, why=why, base=old, a=x, b=y))
            taken[key] = x if prefer == "a" else y if prefer == "b" else None
        else:
            taken[key] = _taken(old, x, y)
        _count(counts, old, x, y, why)
    return _Decided(taken=taken, conflicts=tuple(conflicts), counts=counts)


def _names(sets: Sequence[Sequence[Example]], told: Set[str] = frozenset()) -> Callable[[Example], str]:
    """What makes a row the same one in another version: its name, or the question of a row named by its content.

    Where several content-named rows of one version ask the same, their names tell them apart. `told`: questions that a row
    asks which all versions share, and which is not among `sets`.
    """
    questions = [Counter(question_key(e) for e in rows if e.id.startswith("ex_")) for rows in sets]
    many = {key for counted in questions for key, n in counted.items() if n > 1 or key in told}

    def name(example: Example) -> str:
        if not example.id.startswith("ex_"):
            return example.id
        asked = question_key(example)
        return example.id if asked in many else f"\x00{asked}"

    return name


class _Merge:
    """The merge of two versions of many rows."""

    def __init__(self, readers: Sequence[Reader | None], prefer: Side | None) -> None:
        """`readers`: of the version that both grew from (None: there is none), of A and of B."""
        self._a = readers[1]
        self._shared = {side: _in_all(readers, side) for side in SIDES}
        sets = [list(self._differing(reader)) for reader in readers]
        name = _names(sets, self._asked(row for rows in sets for row in rows))
        self.found = _decided(sets, name, prefer)
        self._keys = [name(row) for row in sets[1]]
        self.examples = sum(map(len, self._shared.values())) + sum(row is not None for row in self.found.taken.values())

    def lines(self) -> Iterator[Line]:
        """The rows in A's order, then what B adds; from the first, each time it is called."""
        taken, keys = dict(self.found.taken), iter(self._keys)
        for line, digest, side in _rows(self._a):
            if digest in self._shared[side]:
                yield line, side
            elif (row := taken.pop(next(keys), None)) is not None:
                yield from lines.of_examples([row])
        yield from lines.of_examples(row for row in taken.values() if row is not None)

    def _differing(self, reader: Reader | None) -> Iterator[Example]:
        """The rows of a version that the others do not hold just so."""
        if reader is None:
            return
        for side in SIDES:
            numbers = reader.present(side)
            chosen = [digest not in self._shared[side] for digest in reader.digests[numbers].tolist()]
            yield from (decode(line, side) for line in reader.pick(numbers[np.array(chosen, bool)]))

    def _asked(self, rows: Iterator[Example]) -> set[str]:
        """Questions of content-named rows that a content-named row which all versions share asks as well."""
        asked = {question_key(row) for row in rows if row.id.startswith("ex_")}
        shared = ((line, side) for line, digest, side in _rows(self._a) if asked and digest in self._shared[side])
        named = (decode(line, side) for line, side in shared if b'"id":"ex_' in line)
        return {key for row in named if row.id.startswith("ex_") and (key := question_key(row)) in asked}


def _opened(ws: Workspace, version: DatasetVersion | None) -> Reader | None:
    return None if version is None or version.manifest is None else ws.rows.open(version.manifest)


def _in_all(readers: Sequence[Reader | None], side: str) -> set[bytes]:
    """Digests of the rows that stand on a side of all versions just so."""
    shared: set[bytes] | None = None
    for reader in readers:
        there: list[bytes] = [] if reader is None else reader.digests[reader.present(side)].tolist()
        shared = set(there) if shared is None else shared.intersection(there)
    return shared or set()


def _rows(reader: Reader | None) -> Iterator[tuple[bytes, bytes, Split]]:
    """Line, digest and side of each row of a version, in order."""
    if reader is None:
        return
    for side in SIDES:
        rows = (line for piece in reader.pieces(side) for line in lines_of(piece))
        digests = reader.digests[reader.present(side)].tolist()
        yield from ((line, digest, side) for line, digest in zip(rows, digests, strict=True))


def _same(one: Example | None, other: Example | None) -> bool:
    if one is None or other is None:
        return one is other
    return same_content(one, other)


def _conflict(old: Example | None, x: Example | None, y: Example | None) -> Why | None:
    if _same(x, y) or _same(x, old) or _same(y, old):
        return None
    if x is None:
        return "removed in a, edited in b"
    if y is None:
        return "edited in a, removed in b"
    return "added differently" if old is None else "edited differently"


def _taken(old: Example | None, x: Example | None, y: Example | None) -> Example | None:
    """The row where there is no conflict: the side that changed it; its place in the split by the side that moved it."""
    chosen = y if _same(x, old) and (not _same(y, old) or x == old) else x
    if chosen is None or x is None or y is None:
        return chosen
    if x.split == y.split:
        return chosen
    # Held out wins where nothing says which side was first: learning from a row that one version examines on would leak.
    moved = "eval" if old is None else x.split if x.split != old.split else y.split
    return replace(chosen, split=moved)


def _count(counts: dict[str, int], old: Example | None, x: Example | None, y: Example | None, why: Why | None) -> None:
    by_a, by_b = _changed(old, x), _changed(old, y)
    if why is not None:
        counts["conflicts"] += 1
    elif by_a and by_b:
        counts["both"] += 1
    elif by_a or by_b:
        counts["from_a" if by_a else "from_b"] += 1


def _changed(old: Example | None, now: Example | None) -> bool:
    return not _same(old, now) or (old is not None and now is not None and old.split != now.split)
