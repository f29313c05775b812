"""Three-way merge of two versions, example by example, against the version that both grew from.

What one side changed and the other left alone is taken; what both changed in the same way is taken once; what they changed
differently is a conflict, shown side by side, and then nothing is written at all (data/rowmerge.py decides row by row).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.data import drafts, versions
from tunekeeper.data.revert import Replaced, replace_draft
from tunekeeper.data.rowmerge import Conflict, RowMerge, Side
from tunekeeper.store.rowreader import Reader
from tunekeeper.workspace import Workspace

MOST_SHOWN = 1_000
"""Conflicts that are shown."""


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
    """from_a, from_b (changes that one side alone made), both (changes made alike), conflicts."""
    conflicts: tuple[Conflict, ...]
    """What has to be decided, or was decided by `prefer`; the first `MOST_SHOWN` of it."""
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
    before = None if base is None or base.manifest is None else ws.rows.open(base.manifest)
    merge = RowMerge(before, _opened(ws, first), _opened(ws, second), prefer)
    done = MergeDone(
        a=first.id,
        b=second.id,
        base=None if base is None else base.id,
        counts=merge.counts,
        conflicts=tuple(merge.conflicts(MOST_SHOWN)),
        examples=merge.examples,
        draft=None,
    )
    if dry_run or (done.conflicts and prefer is None):
        return done
    if not done.examples:
        raise UserError(f"{first.id} and {second.id} merge to no rows", fix=f"tunekeeper data diff {first.id} {second.id}")
    origin = {"merged": f"{first.id} + {second.id}", "base": done.base, "preferred": prefer if done.conflicts else None}
    with drafts.locked(ws, first.model):
        return replace(done, draft=replace_draft(ws, first, merge.lines(), origin, by=by))


def common_parent(a: DatasetVersion, b: DatasetVersion, known: Mapping[str, DatasetVersion]) -> DatasetVersion | None:
    """The newest version that both grew from, one of them itself included; None when they share none."""
    shared = _ancestors(a, known).keys() & _ancestors(b, known).keys()
    return max((known[id] for id in shared), key=lambda each: each.number, default=None)


def ancestry(ws: Workspace, tip: DatasetVersion | None) -> list[DatasetVersion]:
    """The versions that the rows of `tip` come from, itself included, oldest first; empty for None. What was reverted is not
    among them."""
    known = {each.id: each for each in versions.log(ws, tip.model)} if tip is not None else {}
    return sorted(_ancestors(tip, known).values(), key=lambda each: each.number) if tip is not None else []


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
            open_ += [known[id] for id in grew_from(each) if id in known]
    return found


def grew_from(version: DatasetVersion) -> list[str]:
    """The versions that the rows of a version come from: of a merge both sides."""
    origin = version.report.get("origin") or {}
    named = [origin["reverted_to"]] if "reverted_to" in origin else str(origin.get("merged", "")).split(" + ")
    return [id for id in named if id] or ([version.parent] if version.parent else [])


def _opened(ws: Workspace, version: DatasetVersion) -> Reader:
    if version.manifest is None:
        raise NotFound(f"{version.id} holds no rows")
    return ws.rows.open(version.manifest)
