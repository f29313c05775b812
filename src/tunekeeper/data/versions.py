"""Dataset versions: frozen from the draft, content-addressed, never changed; found, listed, read and checked out again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example, Split
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import balance, drafts, lines, looking, sides, tags, tallies
from tunekeeper.data.examples import decode, read_file
from tunekeeper.data.lines import Line
from tunekeeper.data.tallies import SIDES, Tally
from tunekeeper.store.ledgers.datasets import find_datasets, load_dataset, save_dataset
from tunekeeper.store.rowreader import Reader
from tunekeeper.store.rows import Kept
from tunekeeper.store.rowwriter import content_digest
from tunekeeper.store.transactions import Read, find_audit
from tunekeeper.text.fingerprints import fingerprint
from tunekeeper.workspace import Workspace

if TYPE_CHECKING:
    from tunekeeper.data.config import Config

_NUMBER = re.compile(r"d?[0-9]+")
LOOKED_AT = 1_500
"""Rows of a side of many by which the sides are compared when a version is frozen, some more at most, evenly spread."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Content:
    """The stored rows of a version before it has a number."""

    kept: Kept
    """Where they are."""
    tally: Tally
    """What is counted of them."""


def freeze(
    ws: Workspace,
    task: Model,
    section: Config,
    *,
    note: str = "",
    by: str = "data",
    report: dict[str, Any] | None = None,
    force: bool = False,
    looker: looking.Looker | None = None,
) -> DatasetVersion:
    """Freeze the draft of `task` as its next version; an unchanged draft gives the newest version back.

    `report`: more to keep with the version. `looker`: who looks at the draft already. Raises DataError when the draft is empty or
    one side of it is, and, unless `force`, when no row of it is real.
    """
    with drafts.locked(ws, task.name), looker or looking.Looker(draft_path(ws, task.name), ws.rows.runs_of(task.name)) as looks:
        looks.ask_quality(section, task.format)
        content = _content(ws.rows.keep_draft(looks.looked, task.name, _known(ws, task.name)))
        rows = content.tally.rows
        if not rows:
            raise DataError(f"{task.name} has no draft", fix=f"tunekeeper data import FILE --model {task.name}")
        if not force:
            balance.refuse_made_up(task.name, content.tally)
        sides.refuse_one_sided(ws, task.name, content.kept.counts, section.eval_share)
        full = _report(ws, task.name, content, section, report or {})
        if "quality" not in full:
            full["quality"] = _quality(ws, task, section, rows, looks)
        return _save(ws, task.name, content, full, note=note, by=by)


def _quality(ws: Workspace, task: Model, section: Config, rows: int, looks: looking.Looker) -> dict[str, Any] | None:
    """How good the `rows` rows of a draft are, by who looked at it already where it said so."""
    said = looks.quality()
    if said is not None:
        return {**said, "of": rows}
    from tunekeeper.data import judged  # here: half of what a freeze would import

    return judged.of_draft(draft_path(ws, task.name), rows, section, task.format)


def freeze_examples(
    ws: Workspace, model: str, examples: Sequence[Example], *, parent: str | None = None, note: str = "", by: str = "data"
) -> DatasetVersion:
    """Freeze rows that are not the draft, e.g. for an experiment. Such a version is *detached*: it is trained on by its id,
    but it is never `latest` and nothing grows from it. Raises DataError when one side is empty."""
    rows = (replace(e, fingerprint=fingerprint(e.messages, e.tools)) for e in examples)
    content = _store(ws, model, lines.of_examples(rows))
    return _save(ws, model, content, {"topics": content.tally.topics, "detached": True}, note=note, by=by, parent=parent)


def keep_rows(ws: Workspace, model: str, rows: Iterable[Line], *, note: str = "what the draft held", by: str) -> DatasetVersion:
    """Freeze the rows of a draft that is about to hold others: a detached version, of which one side may be empty."""
    newest, content = latest(ws, model), _store(ws, model, rows)
    report = {"topics": content.tally.topics, "detached": True, "kept": True, **load_origin(ws, model)}
    return _save(ws, model, content, report, note=note, by=by, parent=None if newest is None else newest.id)


def freeze_locked(
    ws: Workspace, model: str, section: Config, *, note: str, by: str, report: dict[str, Any] | None = None
) -> DatasetVersion:
    """`freeze` for a caller that holds the draft's lock and wrote the draft."""
    from tunekeeper.data import judged

    path = draft_path(ws, model)
    content = _store(ws, model, lines.of_draft(path))
    quality = judged.of_draft(path, content.tally.rows, section)
    full = _report(ws, model, content, section, {"quality": quality, **(report or {})})
    return _save(ws, model, content, full, note=note, by=by)


def _store(ws: Workspace, model: str, rows: Iterable[Line]) -> _Content:
    """Put rows where versions have theirs; those that a version of the model holds already are shared."""
    return _content(ws.rows.keep(rows, lines.look, _known(ws, model)))


def _known(ws: Workspace, model: str) -> list[str]:
    """Manifests of the model's versions, newest first, the detached ones last."""
    return [each.manifest for each in sorted(log(ws, model), key=_is_detached) if each.manifest is not None]


def _content(kept: Kept) -> _Content:
    return _Content(kept=kept, tally=tallies.of_reader(kept.reader))


def _save(
    ws: Workspace, model: str, content: _Content, report: dict[str, Any], *, note: str, by: str, parent: str | None = None
) -> DatasetVersion:
    kept, detached = content.kept, bool(report.get("detached"))
    rows = sum(kept.counts.values())
    if not report.get("kept"):
        sides.refuse_one_sided(ws, model, kept.counts)
    with ws.state.write(by=by) as tx:
        newest = next(iter(find_datasets(tx, model=model, limit=1, newest_first=True)), None)
        grown = _attached(tx, model)
        if not detached and grown is not None and grown.digest == kept.digest and not ws.rows.erased(grown.manifest or ""):
            return grown
        number = 1 if newest is None else newest.number + 1
        version = DatasetVersion(
            id=f"{model}/d{number}",
            model=model,
            number=number,
            digest=kept.digest,
            examples=rows,
            train=kept.counts["train"],
            eval=kept.counts["eval"],
            manifest=kept.manifest,
            parent=parent if detached else grown.id if grown is not None else None,
            report=report,
            note=_said(note),
        )
        return save_dataset(tx, version)


def _said(note: str) -> str:
    """A note as it may be kept."""
    if not note:
        return note
    from tunekeeper.text.redaction import said  # most versions have no note, and its patterns take their time

    return said(note)


def _is_detached(version: DatasetVersion) -> bool:
    return bool(version.report.get("detached"))


def _attached(tx: Read, model: str) -> DatasetVersion | None:
    """The newest version that was frozen from the draft."""
    found = find_datasets(tx, model=model, newest_first=True)
    return next((version for version in found if not _is_detached(version)), None)


def digest_of(rows: Iterable[Line]) -> str:
    """The digest that a version of these rows has: their content, their order and their sides."""
    return content_digest(rows, SIDES)


def draft_path(ws: Workspace, model: str) -> Path:
    """Where the rows of a draft lie."""
    return drafts.folder(ws, model) / "draft.jsonl"


def has_draft(ws: Workspace, model: str) -> bool:
    """Whether the draft of a model holds a row."""
    path = draft_path(ws, model)
    return path.exists() and path.stat().st_size > 0


def save_origin(ws: Workspace, model: str, origin: Mapping[str, Any]) -> None:
    """Remember why the draft holds what it holds, until the next version is frozen from it; the caller holds its lock."""
    newest = latest(ws, model)
    drafts.write_rows(
        drafts.folder(ws, model) / "origin.jsonl", [{"since": None if newest is None else newest.id, "origin": origin}]
    )


def load_origin(ws: Workspace, model: str) -> dict[str, Any]:
    """`origin`: what `save_origin` noted since the newest version was frozen; empty when nothing was."""
    newest = latest(ws, model)
    noted = drafts.read_mappings(drafts.folder(ws, model) / "origin.jsonl")
    since = None if newest is None else newest.id
    return {"origin": noted[0]["origin"]} if noted and noted[0]["since"] == since else {}


def _report(ws: Workspace, model: str, content: _Content, section: Config, more: Mapping[str, Any]) -> dict[str, Any]:
    warnings = tallies.warnings(content.tally, section, sides.side_bias(_some(content.kept.reader)))
    counted = {"topics": content.tally.topics, "warnings": warnings}
    return {**counted, "imports": import_counts(ws, model), **load_origin(ws, model), **more}


def _some(reader: Reader) -> Iterator[sides.Traits]:
    """Rows by which the sides of a version are compared: all of a small one, else evenly spread ones."""
    for side in SIDES:
        numbers = reader.present(side)
        chosen = numbers[:: len(numbers) // LOOKED_AT + 1]
        yield from (sides.traits_of(decode(line, side)) for line in reader.pick(chosen))


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
        return _attached(tx, model)


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
    if "/" not in name and model is None:
        raise UserError(f"which model's {name!r}?", fix=f"write MODEL/{name} or add --model MODEL")
    owner, _, short = name.rpartition("/")
    owner = owner or str(model)
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
