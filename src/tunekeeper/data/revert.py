"""Revert: the draft becomes what a version held; what the draft held stays under a version's name and can be brought back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.data import drafts, versions
from tunekeeper.data.erase import erased_examples
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Replaced:
    """A draft that now holds other rows."""

    model: str
    """The model."""
    version: str
    """The version whose rows the draft holds now; of a merge, the first of the two."""
    examples: int
    """Rows."""
    train: int
    """Rows to learn from."""
    eval: int
    """Rows held out."""
    kept: str | None
    """The version that holds what the draft held before; None when the draft was empty."""
    changed: bool
    """Whether the draft held something else before."""


def revert(ws: Workspace, name: str, *, model: str | None = None, by: str = "data") -> Replaced:
    """Make the draft what the version `name` holds, with its sides; the version itself and those after it stay.

    What the draft held is frozen first, unless a version holds just that. Doing it again changes nothing. Raises NotFound, Busy,
    DataError (every row of the version was erased).
    """
    version = versions.resolve(ws, name, model)
    with drafts.locked(ws, version.model):
        rows = list(versions.read_examples(ws, version))
        if not rows:
            raise DataError(f"every row of {version.id} was erased", fix=f"tunekeeper data log --model {version.model}")
        return replace_draft(ws, version, rows, {"reverted_to": version.id}, by=by)


def replace_draft(
    ws: Workspace, version: DatasetVersion, rows: Sequence[Example], origin: dict[str, Any], *, by: str
) -> Replaced:
    """Put `rows` in the place of the draft of `version`'s model, after what it holds was kept; the caller holds its lock.

    `origin`: where the rows come from; the next version that is frozen from the draft tells it in its report.
    """
    held = drafts.load_draft(ws, version.model)
    digest = versions.digest_of(held)
    changed = digest != versions.digest_of(rows)
    kept = _keep(ws, version.model, held, digest, by=by) if held and changed else None
    if changed:
        drafts.save_draft(ws, version.model, rows)
    versions.save_origin(ws, version.model, {**origin, "kept": kept, "by": by, "at": ws.clock.utc().isoformat()})
    train = sum(row.split == "train" for row in rows)
    return Replaced(
        model=version.model,
        version=version.id,
        examples=len(rows),
        train=train,
        eval=len(rows) - train,
        kept=kept,
        changed=changed,
    )


def _keep(ws: Workspace, model: str, held: Sequence[Example], digest: str, *, by: str) -> str:
    same = (each for each in versions.log(ws, model) if each.digest == digest and not erased_examples(ws, each))
    known = next(same, None)
    return known.id if known is not None else versions.keep_rows(ws, model, held, by=by).id
