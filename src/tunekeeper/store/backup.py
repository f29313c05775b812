"""`create`: everything of a data directory in one file, while the gateway and the worker run.

The databases come first, `state` before `control`: what `state` asks of `control` is asked again by the next tick, never the
other way round. Blobs come after them, so every blob a row names is there. The log is copied while nobody compacts or erases; of
a request that is still open no line is copied: it is whole in the backup, or absent. Left out: `run/`, `work/`, `routes/` (made
again at start), lock files, hidden files, links.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tunekeeper.core.clock import Clock
from tunekeeper.core.errors import Busy, NotFound, UserError
from tunekeeper.store import archive, lock, madebackups, sqlite
from tunekeeper.store.archive import SUFFIX, Contents, Header, Writer
from tunekeeper.store.database import Database, as_ours
from tunekeeper.store.flocks import held
from tunekeeper.store.log import segments
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.segments import Segment
from tunekeeper.store.log.tail import Opened, read_lines
from tunekeeper.store.transactions import Name

_ORDER: tuple[Name, ...] = ("state", "control")
_ELSEWHERE = ("run", "work", "routes", "reserve")
"""Made again at start; `reserve` is room on the disk that was laid by."""
_LOG = ("log", "ids")


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """A backup that was made."""

    file: Path
    """Where it lies; readable by its owner only, for it holds the secrets."""
    size: int
    """Bytes of the file."""
    contents: Contents
    """What is in it."""


def place(root: Path, out: Path | None, at: datetime) -> Path:
    """The file that a backup of `root` made at `at` goes to: `out`, or a dated name in the folder `out` (None: the current one).
    Raises UserError for a name of another kind, one that exists, or one inside the data directory."""
    out = (Path.cwd() if out is None else out).absolute()
    if out.is_dir():
        owner = root.parent.name if root.name.startswith(".") else root.name
        out = out / f"{owner or 'tunekeeper'}-{at:%Y%m%dT%H%M%SZ}{SUFFIX}"
    if not out.name.endswith(SUFFIX) or out.name.startswith("."):
        raise UserError(f"{out.name!r} is no name of a backup", fix=f"--out FOLDER, one that is there, or --out NAME{SUFFIX}")
    if not out.parent.is_dir():
        raise NotFound(f"no folder at {out.parent}", fix=f"mkdir -p {out.parent}")
    if out.exists():
        raise UserError(f"{out} exists already", fix="name another file with --out")
    if out.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{out} lies inside the data directory it would be a copy of", fix="name another folder with --out")
    return out


def create(root: Path, out: Path, clock: Clock, *, product: str, databases: bool = True) -> Backup:
    """Copy the data directory `root` into the file `out` (of `place`), which appears whole, synced, or not at all. `databases`:
    False where they live in PostgreSQL. `product`: release that writes it. Raises Busy, DiskFull or another OSError."""
    with _alone(root), _staged(root, clock, databases) as (stage, schemas):
        header = Header(format=archive.FORMAT, product=product, created=clock.utc().isoformat(), schemas=schemas)
        part = out.with_name(f".{out.name}.part")
        _sweep(out)
        handle = segments.create_locked(part)
        try:
            with os.fdopen(handle, "wb") as file, Writer(file, header) as writer:
                _write(root, stage, writer)
                contents = writer.close()
                file.flush()
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
                madebackups.note(root, out, clock.utc())
                os.rename(part, out)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sqlite.sync_folder(out.parent)
    return Backup(file=out, size=size, contents=contents)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    (root / "run").mkdir(parents=True, exist_ok=True)
    try:
        handle = segments.hold(root / "run" / "backup.lock")
    except BlockingIOError:
        raise Busy(f"a backup of {root} is being made already", fix="wait for it to end") from None
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def _staged(root: Path, clock: Clock, databases: bool) -> Iterator[tuple[Path, dict[str, str | None]]]:
    """Copies of the databases in a folder of their own, and the numbers of their schemas. A killed backup's copies go first."""
    stage = root / "work" / "backup"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o700, parents=True)
    schemas: dict[str, str | None] = dict.fromkeys(_ORDER)
    try:
        for name in _ORDER if databases else ():
            path = root / f"{name}.db"
            if not path.exists():
                raise NotFound(f"{path.name} does not exist", fix="tunekeeper store upgrade")
            _copy_database(path, stage / path.name)
            schemas[name] = Database(stage / path.name, name, clock).version()
        yield stage, schemas
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _copy_database(path: Path, target: Path) -> None:
    with lock.exclusive(path.with_name(f"{path.name}.lock")):
        try:
            sqlite.backup(path, target)
        except sqlite3.Error as error:
            raise as_ours(error, path.name) from None


def _sweep(out: Path) -> None:
    """Remove what killed backups left in the folder: files that are half written and that nobody writes any more."""
    out.with_name(f"..{out.name}.part.new").unlink(missing_ok=True)
    for path in out.parent.glob(f".*{SUFFIX}.part"):
        if not held(path):
            path.unlink(missing_ok=True)


def _write(root: Path, stage: Path, writer: Writer) -> None:
    for name in _ORDER:
        if (stage / f"{name}.db").exists():
            _add(writer, stage / f"{name}.db", f"{name}.db", 0o644)
    with segments.maintenance(root):
        for folder in _LOG:
            _add_folder(writer, root, root / folder)
        _add_spool(writer, root)
    _add_folder(writer, root, root)


def _add_folder(writer: Writer, root: Path, folder: Path) -> None:
    """Every plain file below, in order of name; of `root` itself, what has not its own rule."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.startswith(".") or (folder == root and _has_own_rule(entry.name)):
            continue
        path = Path(entry.path)
        name = _utf8(path.relative_to(root).as_posix())
        if entry.is_dir(follow_symlinks=False):
            _add_folder(writer, root, path)
        elif folder == root and name.endswith(".jsonl"):
            data = path.read_bytes()  # appended to by whoever runs: up to its last whole line
            writer.add_bytes(name, data[: data.rfind(b"\n") + 1], entry.stat().st_mode)
        elif entry.is_file(follow_symlinks=False):
            _add(writer, path, name, 0o600 if name.startswith("secrets/") else None)


def _utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"the name {name!r} in the data directory is not UTF-8", fix="rename the file") from None
    return name


def _has_own_rule(name: str) -> bool:
    """What is left out or copied before, databases with all that belongs to them, locks."""
    return name in (*_ELSEWHERE, *_LOG, "spool") or name.startswith(("control.db", "state.db")) or name.endswith(".lock")


def _add(writer: Writer, path: Path, name: str, mode: int | None) -> None:
    """Copy a file as long as it is now; one that has gone meanwhile is absent."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISREG(found.st_mode):
            writer.add(name, file, found.st_size, found.st_mode if mode is None else mode)


def _add_spool(writer: Writer, root: Path) -> None:
    for group in segments.by_writer(segments.list_segments(root)).values():
        lengths, still_open = _followed(root, group)
        for segment in group:
            if segment.path in lengths:
                data = segment.path.read_bytes()[: lengths[segment.path]]
                writer.add_bytes(f"spool/{segment.path.name}", _without(data, still_open), 0o600)
    _add_folder(writer, root, root / "spool" / "damaged")


def _followed(root: Path, group: list[Segment]) -> tuple[dict[Path, int], set[str]]:
    """Segment → how much of it is copied, whole lines of one that grows, and the requests that are open at the end of that.
    Those of a dead writer are not open but interrupted: what is known of them is copied."""
    alive = segments.is_alive(root, group[0].writer)
    chain = {segment.path for segment in segments.open_chain(group)}
    lengths: dict[Path, int] = {}
    opened = Opened()
    for segment in group:
        growing = segments.is_held(segment.path)
        data = segment.path.read_bytes()
        lengths[segment.path] = data.rfind(b"\n") + 1 if growing else len(data)
        if alive and segment.path in chain:
            for line, record in read_lines(scan(data[: lengths[segment.path]]).lines).open:
                opened.take(line.kind, record)
    return lengths, set(opened.records) | set(opened.partials)


def _without(data: bytes, requests: set[str]) -> bytes:
    """The bytes of a segment less the lines of these requests; damage stays as it is."""
    if not requests:
        return data
    kept, at = [], 0
    for line, record in read_lines(scan(data).lines).open:
        if record.request_id in requests:
            kept.append(data[at : line.start])
            at = line.end
    return b"".join([*kept, data[at:]])
