"""`restore`: a data directory out of a backup, whole or not at all.

The archive is read once, into a folder beside the target, and checked against its manifest; only then the folder gets its name.
Until that rename the target is as it was; with `force` its old content lies beside it afterwards, nothing is deleted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from tunekeeper.core.errors import ArtifactError, Busy, DiskFull, OutsideError, UserError
from tunekeeper.store import archive, erasures, madebackups, schema, sqlite
from tunekeeper.store.archive import Caps, Contents, Header
from tunekeeper.store.erasures import Erasure
from tunekeeper.store.flocks import held
from tunekeeper.store.log import segments

_MADE_AT_START = ("run", "work", "routes")
_RESERVE = 16 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What a restore did, or with `dry_run` would do."""

    target: Path
    """The data directory."""
    contents: Contents
    """What the backup holds."""
    aside: Path | None
    """Where the old content of the target lies now; None: there was none."""
    undone: tuple[Erasure, ...]
    """Users whose erasure this restore undoes."""
    older: tuple[str, ...]
    """Databases whose schema is older than this release's: `tunekeeper store upgrade` follows."""


def restore(
    file: Path, target: Path, at: datetime, *, force: bool = False, dry_run: bool = False, caps: Caps | None = None
) -> Restored:
    """Make the data directory `target` out of the backup `file`, at the moment `at`. `force`: a target that is not empty is moved
    aside. `dry_run`: read and check everything, write nothing. Raises UserError (a newer schema, a target in use), ArtifactError
    (not sound), Busy (something runs on the target), DiskFull."""
    target = target.absolute()
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"{target} is no folder", fix="name a folder")
    filled = target.is_dir() and any(target.iterdir())
    if filled and not force:
        raise UserError(f"{target} is not empty", fix="name another folder, or add --force: the old content is moved aside")
    if dry_run:
        _refuse_living(target)
        return _looked_at(file, target, at, caps)
    with _standing_still(target), _fresh(target) as fresh:
        contents = archive.read(file, begin=_accept, sink=_Folder(fresh), caps=caps)
        undone = erasures.undone_by(erasures.load(target), erasures.load(fresh), at)
        erasures.append(fresh, undone)
        madebackups.carry_over(target, fresh)
        madebackups.note_restored(fresh, file, _moment_of(contents.header, at))  # its own list cannot hold it
        aside = _aside_of(target, at) if filled else None
        if aside is not None:
            madebackups.note(fresh, aside, at)  # a copy of what was there, which an erasure must name
        _finish(fresh)
        if aside is not None:
            os.rename(target, aside)
        try:
            os.rename(fresh, target)
        except OSError as error:
            left = "" if aside is None else f"; its old content lies in {aside}"
            raise OutsideError(f"{target} could not be given its content: {error.strerror}{left}", fix="restore again") from None
        sqlite.sync_folder(target.parent)
    return _restored(target, contents, aside, undone)


def _looked_at(file: Path, target: Path, at: datetime, caps: Caps | None) -> Restored:
    with tempfile.TemporaryDirectory() as folder:

        def sink(name: str, size: int, mode: int) -> BinaryIO:
            return open(Path(folder) / name if name == erasures.FILE else os.devnull, "wb")

        contents = archive.read(file, begin=_accept, sink=sink, caps=caps, durable=False)
        undone = erasures.undone_by(erasures.load(target), erasures.load(Path(folder)), at)
    return _restored(target, contents, None, undone)


def _restored(target: Path, contents: Contents, aside: Path | None, undone: list[Erasure]) -> Restored:
    older = tuple(
        name for name, number in sorted(contents.header.schemas.items()) if number is not None and number < schema.HEAD[name]
    )
    return Restored(target=target, contents=contents, aside=aside, undone=tuple(undone), older=older)


def _moment_of(header: Header, at: datetime) -> datetime:
    """When the backup was made; where it does not say, before it was restored at `at`."""
    try:
        return datetime.fromisoformat(header.created).astimezone(UTC)
    except (ValueError, OverflowError):
        return at


def _accept(header: Header) -> None:
    """Raise UserError for a backup that this release cannot take."""
    for name, number in header.schemas.items():
        if name not in schema.HEAD or (number is not None and number > schema.HEAD[name]):
            known = schema.HEAD.get(name, "none")
            raise UserError(
                f"the backup's {name} database has schema {number}, newer than {known} of this release",
                fix=f"install release {header.product} or newer, then restore",
            )


class _Folder:
    """Where the files of a backup are written: a new folder that nobody else looks into."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, name: str, size: int, mode: int) -> BinaryIO:
        if name.partition("/")[0] in _MADE_AT_START:
            raise ArtifactError(f"the backup holds {name[:80]!r}, which no backup of ours does", fix="take another backup")
        if size + _RESERVE > shutil.disk_usage(self._root).free:
            raise DiskFull(f"no room for {name} ({size:,} bytes) in {self._root.parent}", fix="free some space and restore again")
        try:
            return self._open(self._root / name, 0o700 if name.startswith("secrets/") else 0o755, _mode(name, mode))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OutsideError(f"{name[:80]} of the backup cannot be written: {error.strerror}", fix="check the disk") from None

    def _open(self, path: Path, folder_mode: int, mode: int) -> BinaryIO:
        path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(handle, mode)
        return os.fdopen(handle, "wb")


def _mode(name: str, mode: int) -> int:
    """Who may read and write a restored file: secrets the owner alone, blobs nobody writes."""
    if name.startswith("secrets/"):
        return 0o600
    return 0o444 if name.startswith("blobs/") else mode | 0o600


def _refuse_living(target: Path) -> None:
    """Raise Busy while any process holds a lock of the data directory."""
    for path in sorted((target / "run").glob("*.lock")):
        if held(path):
            raise Busy(f"{path.stem} still runs on {target}", fix="tunekeeper down, then restore")


@contextmanager
def _standing_still(target: Path) -> Iterator[None]:
    """Nothing runs on the target, and no supervisor can start on it meanwhile."""
    _refuse_living(target)
    if not (target / "run").is_dir():
        yield
        return
    try:
        handle = segments.hold(target / "run" / "supervisor.lock")
    except BlockingIOError:
        raise Busy(f"a supervisor just started on {target}", fix="tunekeeper down, then restore") from None
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def _fresh(target: Path) -> Iterator[Path]:
    """A new empty folder beside the target; gone at the end unless it was renamed. What killed restores left goes first: a
    living one holds the flock of its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in target.parent.glob(f".{target.name}.restoring-*"):
        if path.is_dir() and not path.is_symlink() and not held(path):
            shutil.rmtree(path, ignore_errors=True)
    fresh = target.with_name(f".{target.name}.restoring-{os.getpid()}")
    fresh.mkdir(mode=0o755)
    handle = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        os.close(handle)


def _finish(fresh: Path) -> None:
    """The folders that every data directory has, and names that survive the loss of power."""
    for name in _MADE_AT_START:
        (fresh / name).mkdir(exist_ok=True)
    for folder, _, _ in os.walk(fresh):
        sqlite.sync_folder(Path(folder))


def _aside_of(target: Path, at: datetime) -> Path:
    """Where the old content of `target` goes to: a name that is free."""
    number = 1
    while (aside := target.with_name(f"{target.name}.before-restore-{at:%Y%m%dT%H%M%SZ}-{number}")).exists():
        number += 1
    return aside
