"""The draft: the editable set of a model, from which versions are frozen.

Files under `data/<model>/`: `draft.jsonl` (the rows with their sides), `findings.jsonl` (what imports dropped and flagged, with
the dropped row itself, so that nothing is lost). Each is written whole or not at all, under one lock per model.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tunekeeper.core.errors import Busy, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import encode, read_file
from tunekeeper.data.findings import Finding, as_row
from tunekeeper.store.place import part_of, whole, writing
from tunekeeper.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LOCK_SECONDS = 10.0
SYNC_BYTES = 32 << 20
"""Bytes of a file after which the disk begins with them."""


def folder(ws: Workspace, model: str) -> Path:
    """Where the draft of `model` lies. Raises UserError for a name that is no file name."""
    if not _NAME.fullmatch(model):
        raise UserError(f"not a model name: {model!r}", fix="use letters, digits, dots and dashes")
    return ws.path("data", model)


@contextlib.contextmanager
def locked(ws: Workspace, model: str, seconds: float = LOCK_SECONDS) -> Iterator[Path]:
    """Hold the draft's lock; gives its folder. Raises Busy after `seconds` (real ones)."""
    place = folder(ws, model)
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = ws.clock.real() + seconds
        while not _try_lock(descriptor):
            if ws.clock.real() >= deadline:
                raise Busy(f"the draft of {model} is being changed by another process", fix="wait for it and repeat the command")
            ws.clock.sleep(0.05)
        _clear_halves(place)
        yield place
    finally:
        os.close(descriptor)


def _clear_halves(place: Path) -> None:
    """Remove what a writer that was killed left half written, of reports too: no erasure looks there. Whoever holds the lock is
    the only writer there is."""
    for half in (*place.glob(".*.jsonl.*"), *place.glob("reports/.*.jsonl.*")):
        half.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def load_draft(ws: Workspace, model: str) -> list[Example]:
    """The rows of the draft, in order, each with its side; empty when nothing was imported."""
    return list(read_file(folder(ws, model) / "draft.jsonl"))


def save_draft(ws: Workspace, model: str, examples: Iterable[Example]) -> None:
    """Replace the draft; the caller holds the lock. Raises DiskFull."""
    save_lines(ws, model, (encode(example, with_split=True) for example in examples))


def save_lines(ws: Workspace, model: str, lines: Iterable[bytes]) -> None:
    """Replace the draft by rows as `encode` writes them, with their sides; the caller holds the lock. Raises DiskFull."""
    write_whole(folder(ws, model) / "draft.jsonl", lines)


def load_findings(ws: Workspace, model: str) -> list[dict[str, Any]]:
    """What imports dropped and flagged: findings as mappings, the dropped row under `row`."""
    return list(read_findings(ws, model))


def read_findings(ws: Workspace, model: str) -> Iterator[dict[str, Any]]:
    """`load_findings` as a stream: dropped rows may be many and long."""
    yield from _mappings(folder(ws, model) / "findings.jsonl")


def read_mappings(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file that `write_rows` wrote; empty when it is missing."""
    return list(_mappings(path))


def _mappings(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open("rb") as file:
            yield from map(orjson.loads, file)


def save_findings(ws: Workspace, model: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace what imports reported; the caller holds the lock."""
    write_rows(folder(ws, model) / "findings.jsonl", rows)


def add_findings(ws: Workspace, model: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to what imports reported; one that reports the same gives way. The caller holds the lock."""
    fresh = {identity(row): row for row in rows}
    stay = (row for row in read_findings(ws, model) if identity(row) not in fresh)
    save_findings(ws, model, chain(stay, fresh.values()))


def to_finding(row: Mapping[str, Any]) -> Finding:
    """The finding of a stored mapping."""
    return Finding(**{key: row[key] for key in ("kind", "id", "file", "line", "of", "topic", "detail")})


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two reports of a finding the same one: of rows that have no place in a file also when they were said."""
    held = row.get("row") if row["file"] is None else None
    said = held.get("metadata", {}).get("said_at") if isinstance(held, Mapping) else None
    return (row["kind"], row["id"], row["file"], row["line"], row["topic"], said)


def rows_of(findings: Iterable[Finding], action: str = "flagged") -> list[dict[str, Any]]:
    """Findings as lines of a report."""
    return [as_row(found, action=action) for found in findings]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write mappings as JSONL, whole or not at all. Raises DiskFull."""
    write_whole(path, (orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str) for row in rows))


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that appears whole or not at all. Raises DiskFull, and UserError where no file can be written."""
    with whole(path) as part, part.open("xb", buffering=1 << 20) as file:
        _write(file, pieces)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def beside(path: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """A file of these pieces beside `path`, gone afterwards; where this process is killed it goes with the halves of a draft.
    Raises DiskFull."""
    part = part_of(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb", buffering=1 << 20) as file:
                file.writelines(pieces)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _write(file: BinaryIO, pieces: Iterable[bytes]) -> None:
    """Write pieces; what is written of a large file goes to the disk while the next pieces are made."""
    from concurrent.futures import ThreadPoolExecutor  # here: who only reads does without

    waiting, syncing = 0, None
    with ThreadPoolExecutor(max_workers=1) as hands:
        for piece in pieces:
            waiting += file.write(piece)
            if waiting >= SYNC_BYTES and (syncing is None or syncing.done()):
                if syncing is not None:
                    syncing.result()
                waiting, syncing = 0, hands.submit(os.fdatasync, file.fileno())
    if syncing is not None:
        syncing.result()
