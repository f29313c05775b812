"""Erasing a person's examples from every copy that stage 1 keeps: frozen versions, drafts, reports of imports, reviews.

A frozen version keeps its name, its digest and its counts; the example becomes a tombstone beside the pack that held it, and
whatever reads the version reads the rest (docs/decisions/13-tombstones.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.data import drafts
from tunekeeper.data.opinions import blanked
from tunekeeper.data.redacting import alias_of
from tunekeeper.store.blobs import Tombstone
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.reviews import find_reviews, save_review
from tunekeeper.workspace import Workspace

USER_KEYS = ("user_id", "user")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedData:
    """What was erased of stage 1, and under which names other stages may hold it."""

    counts: dict[str, int]
    """`examples` of frozen versions (each once, however many hold it), `drafts` and `reports` (rows), `reviews`."""
    names: frozenset[str] = frozenset()
    """Case ids under which exams know the erased examples: `<dataset>:<row id>`."""
    rows: dict[str, frozenset[str]] = field(default_factory=dict)
    """Dataset version → ids of its erased rows, those of earlier erasures too."""


def erase_data(ws: Workspace, requests: Set[str], user: str, *, dry_run: bool = False) -> ErasedData:
    """Erase every example made from one of `requests`, or whose metadata names `user`. `dry_run`: only count. Repeating it after
    a kill finishes it. Raises Busy (a draft is being changed), DiskFull."""
    theirs = _theirs(requests, frozenset((user, alias_of(ws, user))))
    counts = {"examples": 0, "drafts": 0, "reports": 0}
    # Drafts go first: what is frozen from then on holds none of it, and what was frozen until then is in the list below.
    for model in _models(ws):
        with drafts.locked(ws, model) as folder:
            counts["drafts"] += _sift(folder / "draft.jsonl", theirs, dry_run=dry_run)
            reports = [folder / "findings.jsonl", *sorted((folder / "reports").glob("*.jsonl"))]
            counts["reports"] += sum(_sift(path, theirs, dry_run=dry_run) for path in reports)
    with ws.state.read() as tx:
        versions = [version for version in find_datasets(tx) if version.manifest is not None]
    gone = ws.rows.erase([str(version.manifest) for version in versions], theirs, dry_run=dry_run)
    counts["examples"] = sum(map(len, gone.values()))
    rows = {version.id: frozenset(stone.id for stone in _stones(ws, version, gone if dry_run else {})) for version in versions}
    counts["reviews"] = _reviews(ws, requests, dry_run=dry_run)
    names = frozenset(f"{version}:{id}" for version, ids in rows.items() for id in ids)
    return ErasedData(counts=counts, names=names, rows=rows)


def erased_examples(ws: Workspace, version: DatasetVersion) -> int:
    """How many examples of a frozen version were erased after it was frozen."""
    return len(_stones(ws, version, {}))


def _stones(ws: Workspace, version: DatasetVersion, more: Mapping[str, tuple[Tombstone, ...]]) -> tuple[Tombstone, ...]:
    return () if version.manifest is None else ws.rows.erased(version.manifest, more)


def _theirs(requests: Set[str], users: Set[str]) -> Callable[[bytes], tuple[str, None] | None]:
    """Decides on one line of JSONL: the id of the row that has to go, or None."""

    def decide(line: bytes) -> tuple[str, None] | None:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        return (str(row.get("id")), None) if isinstance(row, dict) and _belongs(row, requests, users) else None

    return decide


def _belongs(row: Mapping[str, Any], requests: Set[str], users: Set[str]) -> bool:
    """Whether an example, or a report's line about one (its row under `row`), is of one of the requests or of the user."""
    inner = row.get("row")
    if isinstance(inner, Mapping) and _belongs(inner, requests, users):
        return True
    metadata = row.get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    known = {
        row.get("id"),
        row.get("of"),
        named.get("id"),
        named.get("request_id"),
        str(row.get("source", "")).rpartition(":")[2],
    }
    # Rows of one import that share an id are called `<id>#2`, `#3` …
    if any(isinstance(each, str) and each.partition("#")[0] in requests for each in known):
        return True
    return any(isinstance(named.get(key), str) and named[key] in users for key in USER_KEYS)


def _models(ws: Workspace) -> list[str]:
    """Models that have a draft."""
    root = ws.path("data")
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _sift(path: Path, theirs: Callable[[bytes], tuple[str, None] | None], *, dry_run: bool) -> int:
    """Rewrite a JSONL file without the lines that have to go; returns how many those are."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        found = sum(theirs(line) is not None for line in file)
    if found and not dry_run:
        with path.open("rb") as file:
            drafts.write_whole(path, (line for line in file if theirs(line) is None))
    return found


def _reviews(ws: Workspace, requests: Set[str], *, dry_run: bool) -> int:
    """Take the answers out of what was said about these requests, and those that wait out of the queue."""
    with ws.state.read() as tx:
        found = [item for item in find_reviews(tx) if item.request_id in requests]
    due = [blank for item in found if (blank := blanked(item)) is not item]
    if due and not dry_run:
        with ws.state.write(by="erasure") as write:
            for blank in due:
                save_review(write, blank)
    return len(due)
