"""Revert: the draft becomes what a version held; what the draft held stays under a version's name and can be brought back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import DatasetVersion, Split
from tunekeeper.data import drafts, freezing, lines, versions
from tunekeeper.data.erase import erased_examples
from tunekeeper.data.lines import Line
from tunekeeper.store.place import whole
from tunekeeper.workspace import Workspace

_BUFFER = 1 << 20


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


def revert(ws: Workspace, name: str, *, model: str | None = None, dry_run: bool = False, by: str = "data") -> Replaced:
    """Make the draft what the version `name` holds, with its sides; the version itself and those after it stay.

    What the draft held is frozen first, unless a version holds just that. Doing it again changes nothing. `dry_run`: only say
    what would change, `kept` then being a version that is there already. Raises NotFound, Busy, DataError (every row of the
    version was erased).
    """
    version = versions.resolve(ws, name, model)
    with drafts.locked(ws, version.model):
        if next(versions.read_lines(ws, version), None) is None:
            raise DataError(f"every row of {version.id} was erased", fix=f"tunekeeper data log --model {version.model}")
        origin = {"reverted_to": version.id}
        return replace_draft(ws, version, versions.read_lines(ws, version), origin, by=by, dry_run=dry_run)


def replace_draft(
    ws: Workspace,
    version: DatasetVersion,
    rows: Iterable[Line],
    origin: dict[str, Any],
    *,
    by: str,
    dry_run: bool = False,
) -> Replaced:
    """Put `rows`, which are read once, in the place of the draft of `version`'s model, after what it holds was kept; the caller
    holds its lock.

    `origin`: where the rows come from; the next version that is frozen from the draft tells it in its report.
    """
    draft = versions.draft_path(ws, version.model)
    held = versions.digest_of(lines.of_draft(draft))
    counts, kept = Counter[Split](), None
    if dry_run:
        changed = held != versions.digest_of(_counted(rows, counts))
        kept = _known(ws, version.model, held) if changed else None
    else:
        with whole(draft) as part:
            with part.open("wb", buffering=_BUFFER) as file:
                changed = held != versions.digest_of(_counted(rows, counts, file))
                file.flush()
                os.fsync(file.fileno())
            kept = _keep(ws, version.model, draft, held, by=by) if changed else None
            # Before the draft is replaced: killed in between, it must not hold rows of which nothing says where they are from.
            versions.save_origin(ws, version.model, {**origin, "kept": kept, "by": by, "at": ws.clock.utc().isoformat()})
    return Replaced(
        model=version.model,
        version=version.id,
        examples=counts.total(),
        train=counts["train"],
        eval=counts["eval"],
        kept=kept,
        changed=changed,
    )


def _counted(rows: Iterable[Line], counts: Counter[Split], file: BinaryIO | None = None) -> Iterator[Line]:
    """The rows, which are counted by side and written to the file of a draft as they pass."""
    for line, side in rows:
        counts[side] += 1
        if file is not None:
            file.write(lines.for_draft(line, side))
        yield line, side


def _keep(ws: Workspace, model: str, draft: Path, digest: str, *, by: str) -> str | None:
    """The version that holds what the draft holds; None for an empty one."""
    if next(lines.of_draft(draft), None) is None:
        return None
    return _known(ws, model, digest) or freezing.keep_rows(ws, model, lines.of_draft(draft), by=by).id


def _known(ws: Workspace, model: str, digest: str) -> str | None:
    """The newest version with these rows, of which none was erased."""
    same = (each.id for each in versions.log(ws, model) if each.digest == digest and not erased_examples(ws, each))
    return next(same, None)
