"""Three-way merge of two versions, example by example, against the version that both grew from.

What one side changed and the other left alone is taken; what both changed in the same way is taken once; what they changed
differently is a conflict, shown side by side, and then nothing is written at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.data import drafts, lines, versions
from tunekeeper.data.differences import same_content
from tunekeeper.data.examples import question_key
from tunekeeper.data.revert import Replaced, replace_draft
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
    sets = [list(versions.read_examples(ws, each)) if each is not None else [] for each in (base, first, second)]
    merged = merge_rows(*sets, prefer=prefer)
    done = MergeDone(
        a=first.id,
        b=second.id,
        base=None if base is None else base.id,
        counts=merged.counts,
        conflicts=merged.conflicts,
        examples=len(merged.rows),
        draft=None,
    )
    if dry_run or (merged.conflicts and prefer is None):
        return done
    if not merged.rows:
        raise UserError(f"{first.id} and {second.id} merge to no rows", fix=f"tunekeeper data diff {first.id} {second.id}")
    origin = {"merged": f"{first.id} + {second.id}", "base": done.base, "preferred": prefer if merged.conflicts else None}
    with drafts.locked(ws, first.model):
        return replace(done, draft=replace_draft(ws, first, lambda: lines.of_examples(merged.rows), origin, by=by))


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
    olds, ours, theirs = _by_key(base, a, b)
    counts = dict.fromkeys(("from_a", "from_b", "both", "conflicts"), 0)
    rows: list[Example] = []
    conflicts: list[Conflict] = []
    for key in dict.fromkeys((*ours, *theirs, *olds)):
        old, x, y = olds.get(key), ours.get(key), theirs.get(key)
        if (why := _conflict(old, x, y)) is not None:
            some = x or y or old
            conflicts.append(Conflict(id=key if some is None else some.id, why=why, base=old, a=x, b=y))
            taken = x if prefer == "a" else y if prefer == "b" else None
        else:
            taken = _taken(old, x, y)
        _count(counts, old, x, y, why)
        rows += [taken] if taken is not None else []
    return Merged(rows=tuple(rows), conflicts=tuple(conflicts), counts=counts)


def _by_key(*sets: Sequence[Example]) -> list[dict[str, Example]]:
    """Rows by what makes them the same row in another version: their name, or the question of a row named by its content.

    Where several content-named rows of one version ask the same, their names tell them apart.
    """
    questions = [Counter(question_key(e) for e in rows if e.id.startswith("ex_")) for rows in sets]
    many = {key for counted in questions for key, n in counted.items() if n > 1}

    def key(example: Example) -> str:
        if not example.id.startswith("ex_"):
            return example.id
        asked = question_key(example)
        return example.id if asked in many else f"\x00{asked}"

    return [{key(example): example for example in rows} for rows in sets]


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
