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

from tunekeeper.core.nouns.data import DatasetVersion, ReviewItem
from tunekeeper.data import drafts
from tunekeeper.data.examples import USER_KEYS
from tunekeeper.data.opinions import blanked
from tunekeeper.data.redacting import alias_of
from tunekeeper.data.sources import group_of
from tunekeeper.store.blobs import Tombstone
from tunekeeper.store.erasures import unit_of
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.reviews import find_reviews, save_review
from tunekeeper.workspace import Workspace

_Theirs = Callable[[bytes], tuple[str, None] | None]
_ERASED = "the other row was erased"


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedData:
    """What was erased of stage 1, and under which names other stages may hold it."""

    counts: dict[str, int]
    """`examples` of frozen versions (each once, however many hold it), `drafts` and `reports` (rows), `reviews`."""
    names: frozenset[str] = frozenset()
    """Case ids under which exams know the erased examples: `<dataset>:<row id>`."""
    rows: dict[str, frozenset[str]] = field(default_factory=dict)
    """Dataset version → ids of its erased rows, those of earlier erasures too."""
    requests: frozenset[str] = frozenset()
    """The requests that were asked for, and those that the erased rows were made from: the log may have expired since."""


def erase_data(ws: Workspace, requests: Set[str], user: str, *, dry_run: bool = False) -> ErasedData:
    """Erase every example made from one of `requests`, or whose metadata names `user`, be it by the digest that requests carry as
    their unit. `dry_run`: only count. Repeating it after a kill finishes it. Raises Busy (a draft is being changed), DiskFull."""
    made_from: set[str] = set()
    theirs = _theirs(requests, frozenset((user, alias_of(ws, user), group_of(unit_of(user)))), made_from)
    counts = {"examples": 0, "drafts": 0, "reports": 0}
    known_rows: dict[str, set[str]] = {}
    # Drafts go first: what is frozen from then on holds none of it, and what was frozen until then is in the list below. Before
    # a draft go the reports about its rows: it knows which those are.
    for model in _models(ws):
        with drafts.locked(ws, model) as folder:
            draft, reports = folder / "draft.jsonl", _reports_in(folder)
            known_rows[model] = {id for path in (draft, *reports) for id in _ids(path, theirs)}
            change = _of_report(theirs, known_rows[model])
            counts["reports"] += sum(_sift(path, change, dry_run=dry_run) for path in reports)
            counts["drafts"] += _sift(draft, lambda line: line if theirs(line) is None else None, dry_run=dry_run)
    with ws.state.read() as tx:
        versions = [version for version in find_datasets(tx) if version.manifest is not None]
    if not dry_run:
        ws.blobs.clear()
    gone = ws.rows.erase([str(version.manifest) for version in versions], theirs, dry_run=dry_run)
    counts["examples"] = sum(map(len, gone.values()))
    rows = {version.id: frozenset(stone.id for stone in _stones(ws, version, gone if dry_run else {})) for version in versions}
    for model, known in known_rows.items():
        ids = {id for version in versions if version.model == model for id in rows[version.id]} - known
        with drafts.locked(ws, model) as folder:
            change = _of_report(lambda line: None, ids, counted=known)
            counts["reports"] += sum(_sift(path, change, dry_run=dry_run) for path in _reports_in(folder))
    names = frozenset(f"{version}:{id}" for version, ids in rows.items() for id in ids)
    # What a killed erasure took out of a version is known by its tombstone, which names the request where it was one.
    stones = {id.partition("#")[0] for ids in rows.values() for id in ids if id.startswith("req_")}
    asked = frozenset(requests | made_from | stones)
    counts["reviews"] = _reviews(ws, asked, names, unit_of(user), dry_run=dry_run)
    return ErasedData(counts=counts, names=names, rows=rows, requests=asked)


def erased_examples(ws: Workspace, version: DatasetVersion) -> int:
    """How many examples of a frozen version were erased after it was frozen."""
    return len(_stones(ws, version, {}))


def _stones(ws: Workspace, version: DatasetVersion, more: Mapping[str, tuple[Tombstone, ...]]) -> tuple[Tombstone, ...]:
    return () if version.manifest is None else ws.rows.erased(version.manifest, more)


def _theirs(requests: Set[str], users: Set[str], made_from: set[str]) -> _Theirs:
    """Decides on one line of JSONL: the id of the row that has to go, or None. The request it was made from joins `made_from`."""

    def decide(line: bytes) -> tuple[str, None] | None:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(row, dict) or not _belongs(row, requests, users):
            return None
        made_from.update(_made_from(row))
        return str(row.get("id")), None

    return decide


def _belongs(row: Mapping[str, Any], requests: Set[str], users: Set[str]) -> bool:
    """Whether an example, or a report's line about one (its row under `row`), is of one of the requests or of the user."""
    inner = row.get("row")
    if isinstance(inner, Mapping) and _belongs(inner, requests, users):
        return True
    if _names(row) & requests:
        return True
    metadata = row.get("metadata")
    return isinstance(metadata, Mapping) and names_one(metadata, users)


def names_one(metadata: Mapping[str, Any], users: Set[str]) -> bool:
    """Whether metadata names one of these users, be it by a number."""
    return any(isinstance(name := metadata.get(key), str | int) and str(name) in users for key in USER_KEYS)


def _names(row: Mapping[str, Any]) -> set[str]:
    """Every name that may be that of the request a row was made from. Rows of one import that share an id are called `<id>#2`,
    `#3` …"""
    metadata = row.get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    source = str(row.get("source", "")).rpartition(":")[2]
    known = (row.get("id"), row.get("of"), named.get("id"), named.get("request_id"), source)
    return {each.partition("#")[0] for each in known if isinstance(each, str)}


def _made_from(row: Mapping[str, Any]) -> set[str]:
    """The request a row was made from, where it says so."""
    source, metadata = str(row.get("source", "")), row.get("metadata")
    named = metadata.get("request_id") if isinstance(metadata, Mapping) else None
    found = {source.removeprefix("inference:")} if source.startswith("inference:") else set[str]()
    return found | ({named} if isinstance(named, str) and named else set())


def _asked(item: ReviewItem) -> set[str]:
    """Under which names an erasure knows the case of an exam's answer."""
    case, source = str(item.shown.get("case", "")), str(item.shown.get("source", ""))
    return {name for name in (case, source.rpartition(":")[2]) if name}


def _models(ws: Workspace) -> list[str]:
    """Models that have a draft."""
    root = ws.path("data")
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _reports_in(folder: Path) -> list[Path]:
    """What imports and collecting reported."""
    return [folder / "findings.jsonl", *sorted((folder / "reports").glob("*.jsonl"))]


def _ids(path: Path, theirs: _Theirs) -> set[str]:
    """Ids of the rows that have to go from a JSONL file."""
    if not path.exists():
        return set()
    with path.open("rb") as file:
        return {found[0] for line in file if (found := theirs(line)) is not None} - {str(None)}


def _of_report(theirs: _Theirs, ids: Set[str], counted: Set[str] = frozenset()) -> Callable[[bytes], bytes | None]:
    """Decides on one line of a report: what stands in its place, None for nothing. Lines of their rows go, and those about one of
    `ids`; where such a row is the other one, its words go. `counted`: ids of which all lines went before."""

    def change(line: bytes) -> bytes | None:
        if theirs(line) is not None:
            return None
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return line
        if not isinstance(row, dict) or {row.get("id"), row.get("of")} & counted:
            return line
        if row.get("id") in ids and row.get("row") is None:
            return None
        if row.get("of") not in ids or row.get("detail") == _ERASED:
            return line
        return orjson.dumps({**row, "detail": _ERASED}, option=orjson.OPT_APPEND_NEWLINE)

    return change


def _sift(path: Path, change: Callable[[bytes], bytes | None], *, dry_run: bool) -> int:
    """Rewrite a JSONL file with what `change` makes of each line; returns how many of them it changes."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        found = sum(change(line) != line for line in file)
    if found and not dry_run:
        with path.open("rb") as file:
            drafts.write_whole(path, (new for line in file if (new := change(line)) is not None))
    return found


def _reviews(ws: Workspace, requests: Set[str], names: Set[str], unit: str, *, dry_run: bool) -> int:
    """Take the answers out of what was said about these requests and others of this `unit`, and about cases of exams that are
    theirs or have one of these names; what waits leaves the queue."""
    with ws.state.read() as tx:
        items = find_reviews(tx)
    known = requests | names
    found = [item for item in items if item.request_id in requests or item.unit == unit or _asked(item) & known]
    due = [blank for item in found if (blank := blanked(item)) is not item]
    if due and not dry_run:
        with ws.state.write(by="erasure") as write:
            for blank in due:
                save_review(write, blank)
    return len(due)
