"""Dataset versions: content-addressed, never changed; found by their names, listed, read and checked out again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example, Split
from tunekeeper.data import drafts, lines, tags, tallies
from tunekeeper.data.examples import decode, read_file
from tunekeeper.data.lines import Line
from tunekeeper.data.tallies import SIDES
from tunekeeper.store.ledgers.datasets import find_datasets, load_dataset
from tunekeeper.store.transactions import Read, find_audit
from tunekeeper.workspace import Workspace

_NUMBER = re.compile(r"d?[0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftSummary:
    """What the draft holds now."""

    model: str
    """The model."""
    examples: int
    """Rows."""
    train: int
    """Rows to learn from."""
    eval: int
    """Rows held out."""
    topics: dict[str, int]
    """Topic → rows."""
    dropped: dict[str, int]
    """Reason → rows that imports left out."""
    parent: str | None
    """The newest frozen version."""
    changed: bool
    """Whether the draft differs from that version."""


def is_detached(version: DatasetVersion) -> bool:
    """Whether nothing grows from a version, e.g. one of an experiment."""
    return bool(version.report.get("detached"))


def attached(tx: Read, model: str) -> DatasetVersion | None:
    """The newest version that was frozen from the draft."""
    found = find_datasets(tx, model=model, newest_first=True)
    return next((version for version in found if not is_detached(version)), None)


def digest_of(rows: Iterable[Line]) -> str:
    """The digest that a version of these rows has: their content, their order and their sides."""
    from tunekeeper.store.rowwriter import content_digest

    return content_digest(rows, SIDES)


def draft_path(ws: Workspace, model: str) -> Path:
    """Where the rows of a draft lie."""
    return drafts.folder(ws, model) / "draft.jsonl"


def has_draft(ws: Workspace, model: str) -> bool:
    """Whether the draft of a model holds a row."""
    path = draft_path(ws, model)
    return path.exists() and path.stat().st_size > 0


def save_origin(ws: Workspace, model: str, origin: Mapping[str, Any]) -> None:
    """Note where the rows come from that the draft is about to hold, until the next version is frozen from it; the caller holds
    its lock. Where the draft never comes to hold them, what was noted before still counts."""
    newest = latest(ws, model)
    drafts.save_origin(ws, model, {"since": None if newest is None else newest.id, "origin": origin})


def load_origin(ws: Workspace, model: str) -> dict[str, Any]:
    """`origin`: what `save_origin` noted since the newest version was frozen; empty when nothing was. The caller holds the
    draft's lock."""
    newest = latest(ws, model)
    noted = drafts.load_origin(ws, model)
    since = None if newest is None else newest.id
    return {"origin": noted["origin"]} if noted and noted["since"] == since else {}


def import_counts(ws: Workspace, model: str) -> dict[str, int]:
    """Reason → rows that the imports of this draft dropped or flagged."""
    return dict(Counter(row["kind"] for row in drafts.read_findings(ws, model)))


def author_of(ws: Workspace, version: DatasetVersion) -> str | None:
    """Who froze a version, by the audit rows; None when they do not say."""
    with ws.state.read() as tx:
        rows = find_audit(tx, ledger="datasets", id=version.id)
    return str(rows[-1]["by"]) if rows else None


def log(ws: Workspace, model: str) -> list[DatasetVersion]:
    """Every version of `model`, newest first."""
    with ws.state.read() as tx:
        return find_datasets(tx, model=model, newest_first=True)


def latest(ws: Workspace, model: str) -> DatasetVersion | None:
    """The newest version of `model` that was frozen from its draft; None when nothing was."""
    with ws.state.read() as tx:
        return attached(tx, model)


def lineage(ws: Workspace, tip: DatasetVersion | None) -> list[DatasetVersion]:
    """The versions from the first one to `tip`, by parents; empty for None."""
    known = {each.id: each for each in log(ws, tip.model)} if tip is not None else {}
    found: list[DatasetVersion] = []
    while tip is not None:
        found.append(tip)
        tip = known.get(tip.parent) if tip.parent is not None else None
    return found[::-1]


def frozen_at(ws: Workspace, version: DatasetVersion | None) -> datetime | None:
    """Since when words count that `version` does not know: when it was frozen, or the newest before it whose date is not still to
    come, as that of a clock that was ahead; None: since ever."""
    now = ws.clock.utc()
    dates = (each.created for each in reversed(lineage(ws, version)))
    return next((date for date in dates if date is not None and date <= now), None)


def ls(ws: Workspace, model: str) -> DraftSummary:
    """What the draft of `model` holds."""
    path, newest = draft_path(ws, model), latest(ws, model)
    tally = tallies.of_examples(read_file(path))
    dropped = Counter(row["kind"] for row in drafts.read_findings(ws, model) if row.get("action") == "dropped")
    return DraftSummary(
        model=model,
        examples=tally.rows,
        train=tally.count("train"),
        eval=tally.count("eval"),
        topics=tally.topics,
        dropped=dict(dropped),
        parent=None if newest is None else newest.id,
        changed=bool(tally.rows) and (newest is None or newest.digest != digest_of(lines.of_draft(path))),
    )


def resolve(ws: Workspace, name: str, model: str | None = None) -> DatasetVersion:
    """The version that `name` means: its id `<model>/d3`, `<model>/<tag>`, `<model>/latest`, or with `model` also `d3`, `3`, a
    tag and `latest`.

    Raises NotFound, UserError.
    """
    owner, slash, short = name.rpartition("/")
    if not short or (slash and not owner):
        raise UserError(f"{name!r} names no dataset version", fix="write MODEL/d1, or d1 and --model MODEL")
    if not slash and model is None:
        raise UserError(f"which model's {name!r}?", fix=f"write MODEL/{name} or add --model MODEL")
    owner = owner or str(model)
    if short == "draft":
        raise UserError(f"the draft of {owner} is not a version yet", fix=f"tunekeeper data freeze --model {owner}")
    if short == "latest":
        found = latest(ws, owner)
        if found is None:
            raise NotFound(f"{owner} has no dataset version", fix=f"tunekeeper data freeze --model {owner}")
        return found
    if _NUMBER.fullmatch(short):
        short = f"d{short.removeprefix('d')}"
    elif "/" not in owner:
        short = tags.current(ws, owner).get(short, f"{owner}/{short}").rpartition("/")[2]
    try:
        with ws.state.read() as tx:
            return load_dataset(tx, f"{owner}/{short}")
    except NotFound:
        newest = latest(ws, owner)
        there = f"the newest is {newest.id}" if newest is not None else f"{owner} has none"
        raise NotFound(
            f"no dataset version is called {owner}/{short}; {there}", fix=f"tunekeeper data log --model {owner}"
        ) from None


def read_examples(ws: Workspace, dataset: DatasetVersion | str, split: Split | None = None) -> Iterator[Example]:
    """The rows of a version, one side or (None) both, train first, as a stream; erased ones are left out.

    Raises NotFound for an unknown version or missing rows, ArtifactError for damaged ones.
    """
    return (decode(line, side) for line, side in read_lines(ws, dataset, split))


def read_lines(ws: Workspace, dataset: DatasetVersion | str, split: Split | None = None) -> Iterator[Line]:
    """As `read_examples`, each row as the line it is stored as, with its side."""
    version = resolve(ws, dataset) if isinstance(dataset, str) else dataset
    for side in (split,) if split is not None else SIDES:
        if version.manifest is not None:
            yield from ((line, side) for line in ws.rows.lines(version.manifest, side))


def checkout(ws: Workspace, name: str, out: Path, *, model: str | None = None) -> tuple[DatasetVersion, tuple[Path, Path]]:
    """Write `train.jsonl` and `eval.jsonl` of a version to the folder `out`: the rows as they were frozen, less those that were
    erased. The same version gives the same bytes every time.

    Raises UserError when one of them exists with other bytes, NotFound and ArtifactError when rows are missing or damaged.
    """
    version = resolve(ws, name, model)
    paths = (out / "train.jsonl", out / "eval.jsonl")
    reader = None if version.manifest is None else ws.rows.open(version.manifest).verified()
    for path, side in zip(paths, SIDES, strict=True):
        if path.exists() and not _holds(path, iter(()) if reader is None else reader.pieces(side)):
            raise UserError(f"{path} exists and is something else", fix="choose an empty folder with --out")
    for path, side in zip(paths, SIDES, strict=True):
        if not path.exists():
            drafts.write_whole(path, () if reader is None else reader.pieces(side))
    return version, paths


def _holds(path: Path, pieces: Iterator[bytes]) -> bool:
    """Whether a file consists of just these pieces."""
    with path.open("rb") as file:
        return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
