"""Dataset versions: frozen from the draft, content-addressed, never changed; found, listed, read and checked out again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ConfigError, DataError, NotFound, UserError
from tunekeeper.core.ids import digest_bytes, digest_json
from tunekeeper.core.nouns.data import DatasetVersion, Example, Split
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import balance, drafts, tags
from tunekeeper.data.config import Config
from tunekeeper.data.examples import read_file, to_jsonl
from tunekeeper.data.split import assign
from tunekeeper.store.ledgers.datasets import find_datasets, load_dataset, save_dataset
from tunekeeper.store.transactions import Read, find_audit
from tunekeeper.text.fingerprints import fingerprint
from tunekeeper.workspace import Workspace

SIDES: tuple[Split, ...] = ("train", "eval")
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Content:
    """The bytes of a version before it has a number."""

    sides: dict[Split, bytes] = field(default_factory=dict)
    counts: dict[Split, int] = field(default_factory=dict)
    digest: str = ""


def freeze(
    ws: Workspace,
    task: Model,
    section: Config,
    *,
    note: str = "",
    by: str = "data",
    report: dict[str, Any] | None = None,
    force: bool = False,
) -> DatasetVersion:
    """Freeze the draft of `task` as its next version; an unchanged draft gives the newest version back.

    `report`: more to keep with the version. Raises DataError when the draft is empty or one side of it is, and, unless `force`,
    when no row of it is real.
    """
    with drafts.locked(ws, task.name):
        examples = drafts.load_draft(ws, task.name)
        if not examples:
            raise DataError(f"{task.name} has no draft", fix=f"tunekeeper data import FILE --model {task.name}")
        if not force:
            balance.refuse_synthetic_only(task.name, examples)
        return freeze_locked(ws, task.name, examples, section, note=note, by=by, report=report)


def freeze_examples(
    ws: Workspace, model: str, examples: Sequence[Example], *, parent: str | None = None, note: str = "", by: str = "data"
) -> DatasetVersion:
    """Freeze rows that are not the draft, e.g. for an experiment. Such a version is *detached*: it is trained on by its id,
    but it is never `latest` and nothing grows from it. Raises DataError when one side is empty."""
    rows = [replace(e, fingerprint=fingerprint(e.messages, e.tools)) for e in examples]
    return _save(ws, model, rows, {"topics": balance.topics(rows), "detached": True}, note=note, by=by, parent=parent)


def keep_rows(
    ws: Workspace, model: str, examples: Sequence[Example], *, note: str = "what the draft held", by: str
) -> DatasetVersion:
    """Freeze the rows of a draft that is about to hold others: a detached version, of which one side may be empty."""
    newest = latest(ws, model)
    report = {"topics": balance.topics(examples), "detached": True, "kept": True}
    return _save(ws, model, examples, report, note=note, by=by, parent=None if newest is None else newest.id)


def freeze_locked(
    ws: Workspace,
    model: str,
    examples: Sequence[Example],
    section: Config,
    *,
    note: str,
    by: str,
    report: dict[str, Any] | None = None,
) -> DatasetVersion:
    """`freeze` for a caller that holds the draft's lock and has its rows."""
    full = {**_report(examples, section), "imports": import_counts(ws, model), **load_origin(ws, model), **(report or {})}
    return _save(ws, model, examples, full, note=note, by=by)


def _save(
    ws: Workspace,
    model: str,
    examples: Sequence[Example],
    report: dict[str, Any],
    *,
    note: str,
    by: str,
    parent: str | None = None,
) -> DatasetVersion:
    content = _content(examples)
    for side in ("train", "eval"):
        if not content.counts[side] and not report.get("kept"):
            raise DataError(f"{model}: {len(examples)} rows and none of them on the {side} side", fix="import more rows")
    blobs: dict[str, str] = {side: ws.blobs.put_bytes(data) for side, data in content.sides.items()}
    with ws.state.write(by=by) as tx:
        newest = next(iter(find_datasets(tx, model=model, limit=1, newest_first=True)), None)
        grown = _attached(tx, model)
        detached = bool(report.get("detached"))
        if not detached and grown is not None and grown.digest == content.digest:
            return grown
        number = 1 if newest is None else newest.number + 1
        version = DatasetVersion(
            id=f"{model}/d{number}",
            model=model,
            number=number,
            digest=content.digest,
            examples=len(examples),
            train=content.counts["train"],
            eval=content.counts["eval"],
            blobs=blobs,
            parent=parent if detached else grown.id if grown is not None else None,
            report=report,
            note=note,
        )
        return save_dataset(tx, version)


def _attached(tx: Read, model: str) -> DatasetVersion | None:
    """The newest version that was frozen from the draft."""
    found = find_datasets(tx, model=model, newest_first=True)
    return next((version for version in found if not version.report.get("detached")), None)


def _content(examples: Sequence[Example]) -> _Content:
    parts: dict[Split, list[Example]] = {"train": [], "eval": []}
    for example in examples:
        parts[example.split].append(example)
    sides = {side: to_jsonl(rows) for side, rows in parts.items()}
    digest = digest_json({"format": 1, "splits": {side: digest_bytes(data) for side, data in sides.items()}})
    return _Content(sides=sides, counts={side: len(rows) for side, rows in parts.items()}, digest=digest)


def digest_of(examples: Sequence[Example]) -> str:
    """The digest that a version of these rows has: their content, their order and their sides."""
    return _content(examples).digest


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


def _report(examples: Sequence[Example], section: Config) -> dict[str, Any]:
    troubles = balance.synthetic_only(examples) + balance.synthetic_share(examples, section) + balance.recency(examples, section)
    warnings = [found.detail for found in troubles]
    bias = balance.side_bias(examples)
    return {"topics": balance.topics(examples), "warnings": warnings + ([bias] if bias else [])}


def import_counts(ws: Workspace, model: str) -> dict[str, int]:
    """Reason → rows that the imports of this draft dropped or flagged."""
    totals: dict[str, int] = {}
    for row in drafts.load_findings(ws, model):
        totals[row["kind"]] = totals.get(row["kind"], 0) + 1
    return totals


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


def ls(ws: Workspace, model: str) -> DraftSummary:
    """What the draft of `model` holds."""
    examples = drafts.load_draft(ws, model)
    newest = latest(ws, model)
    content = _content(examples)
    dropped = [row["kind"] for row in drafts.load_findings(ws, model) if row.get("action") == "dropped"]
    return DraftSummary(
        model=model,
        examples=len(examples),
        train=content.counts["train"],
        eval=content.counts["eval"],
        topics=balance.topics(examples),
        dropped={kind: dropped.count(kind) for kind in dict.fromkeys(dropped)},
        parent=None if newest is None else newest.id,
        changed=bool(examples) and (newest is None or newest.digest != content.digest),
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
    with ws.state.read() as tx:
        return load_dataset(tx, f"{owner}/{short}")


def read_examples(ws: Workspace, dataset: DatasetVersion | str, split: Split | None = None) -> Iterator[Example]:
    """The rows of a version, one side or (None) both, train first. Raises NotFound for an unknown version or a missing blob."""
    version = resolve(ws, dataset) if isinstance(dataset, str) else dataset
    for side in (split,) if split is not None else SIDES:
        yield from read_file(blob_path(ws, version, side), side)


def blob_path(ws: Workspace, version: DatasetVersion, side: Split) -> Path:
    """The file of one side of a version, JSONL. Raises NotFound when this workspace lacks it."""
    digest = version.blobs[side]
    if not ws.blobs.has(digest):
        raise NotFound(f"blob {digest} of {version.id} is not in this workspace", fix="restore it from a backup")
    return ws.blobs.path(digest)


def newest_examples(ws: Workspace, model: str) -> list[Example]:
    """The rows of the newest version; empty without one."""
    newest = latest(ws, model)
    return [] if newest is None else list(read_examples(ws, newest))


def checkout(ws: Workspace, name: str, out: Path, *, model: str | None = None) -> tuple[DatasetVersion, tuple[Path, Path]]:
    """Write `train.jsonl` and `eval.jsonl` of a version to the folder `out`; the bytes are those that were frozen.

    Raises UserError when one of them exists with other bytes.
    """
    version = resolve(ws, name, model)
    paths = (out / "train.jsonl", out / "eval.jsonl")
    data = [ws.blobs.read(version.blobs[side]) for side in ("train", "eval")]
    for path, content in zip(paths, data, strict=True):
        if path.exists() and path.read_bytes() != content:
            raise UserError(f"{path} exists and is something else", fix="choose an empty folder with --out")
    for path, content in zip(paths, data, strict=True):
        drafts.write_whole(path, [content])
    return version, paths


def reassigned(
    ws: Workspace, model: str, examples: Sequence[Example], known: Sequence[Example], section: Config
) -> list[Example]:
    """`examples` with sides: those of `known` rows and of the newest version stay, new ones are dealt out."""
    if not 0 <= section.eval_share <= 0.5:
        raise ConfigError(f"models/{model}.yaml: data.eval_share is {section.eval_share:g}", fix="choose 0 to 0.5")
    placed: dict[str, Split] = {e.id: e.split for e in newest_examples(ws, model)}
    placed |= {e.id: e.split for e in known}
    return assign(examples, placed, section.eval_share, section.near_duplicate)
