"""The draft: the editable set of a model, from which versions are frozen.

Files under `data/<model>/`: `draft.jsonl` (the rows with their sides), `findings.jsonl` (what imports dropped and flagged, with
the dropped row itself, so that nothing is lost). Each is written whole or not at all, under one lock per model.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tunekeeper.core.errors import Busy, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import damaged, encode, read_file
from tunekeeper.data.findings import Finding, as_row
from tunekeeper.store.place import clear, half, whole, writing
from tunekeeper.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LOCK_SECONDS = 10.0
HELD = 16 << 20
"""Bytes of a draft above which it is not held, however few its rows are: held ones take some three times as many."""
_ORIGIN = "origin.jsonl"
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
        _settle_origin(place)
        yield place
    finally:
        os.close(descriptor)


def _clear_halves(place: Path) -> None:
    """Remove what a writer that was killed left half written, of reports too: no erasure looks there."""
    clear(place)
    clear(place / "reports")


def _settle_origin(place: Path) -> None:
    """Take back a note on where the rows of a draft come from, where that draft never came: its writer was killed."""
    noted = read_mappings(place / _ORIGIN)
    if noted and (was := noted[0].get("instead_of")) is not None and was == _identity(place):
        write_rows(place / _ORIGIN, noted[1:])


def _identity(place: Path) -> list[int] | None:
    """What tells the file of a draft from the one that takes its place; None where there is none."""
    try:
        found = (place / "draft.jsonl").stat()
    except FileNotFoundError:
        return None
    return [found.st_ino, found.st_mtime_ns, found.st_size]


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


def save_origin(ws: Workspace, model: str, noted: Mapping[str, Any]) -> None:
    """Note where the rows come from that the draft is about to hold, before it is replaced; the caller holds the lock. The note
    before it stays until the draft is another file."""
    place = folder(ws, model)
    write_rows(place / _ORIGIN, [{**noted, "instead_of": _identity(place)}, *read_mappings(place / _ORIGIN)[:1]])


def load_origin(ws: Workspace, model: str) -> dict[str, Any] | None:
    """What `save_origin` noted last of a draft that came to be; None for nothing. The caller holds the lock."""
    return next(iter(read_mappings(folder(ws, model) / _ORIGIN)), None)


def load_findings(ws: Workspace, model: str) -> list[dict[str, Any]]:
    """What imports dropped and flagged: findings as mappings, the dropped row under `row`."""
    return list(read_findings(ws, model))


def read_findings(ws: Workspace, model: str) -> Iterator[dict[str, Any]]:
    """`load_findings` as a stream: dropped rows may be many and long."""
    yield from _mappings(folder(ws, model) / "findings.jsonl")


def read_mappings(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file that `write_rows` wrote; empty when it is missing. Raises DataError for a damaged one."""
    return list(_mappings(path))


def _mappings(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield mapping_of(path, number, line)


def mapping_of(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The mapping of one line of a JSONL file of ours. Raises DataError for a damaged one."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise damaged(path, number)
    return row


def save_findings(ws: Workspace, model: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace what imports reported; the caller holds the lock."""
    write_rows(folder(ws, model) / "findings.jsonl", rows)


def add_findings(ws: Workspace, model: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to what imports reported; one that reports the same gives way. The caller holds the lock."""
    fresh = {identity(row): row for row in rows}
    stay = (row for row in read_findings(ws, model) if identity(row) not in fresh)
    save_findings(ws, model, chain(stay, fresh.values()))


def add_dropped(ws: Workspace, model: str, rows: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
    """`add_findings` of rows that are dropped and may be many: `rows` gives their lines, twice, and none is held."""
    gone = {identity(row) for row in rows()}
    stay = (row for row in read_findings(ws, model) if identity(row) not in gone)
    save_findings(ws, model, chain(stay, rows()))


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
    with whole(path) as part, part.open("wb", buffering=1 << 20) as file:
        _write(file, pieces)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def beside(path: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """A file of these pieces beside `path`, gone afterwards; where this process is killed it goes with the halves of a draft.
    Raises DiskFull."""
    with contextlib.ExitStack() as stack:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = stack.enter_context(half(path))
            with part.open("wb", buffering=1 << 20) as file:
                file.writelines(pieces)
        yield part


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
