"""A file that appears whole or not at all in a place that somebody named: what appears there replaces what was there.

Until then it is a *half*: a hidden file beside that place, whose flock its writer holds. So the half of a writer that was killed
is known, and goes with the next one that is written there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tunekeeper.core.errors import DiskFull, UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Why nothing more can be written."""
_NO_PLACE = (
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)
"""Why no file can be written at a place that somebody named."""


_HALF = re.compile(r"\..+\.[0-9]+\.[0-9a-f]{8}", re.DOTALL)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """An empty file beside `path` to write to; on a clean exit it takes the place of `path`, else it is removed. The folder is
    made. Raises DiskFull, and UserError where no file can be written."""
    path = file_at(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear(path.parent, path.name)
        with half(path) as part:
            yield part
            with contextlib.suppress(FileNotFoundError):
                part.chmod(stat.S_IMODE(path.stat().st_mode))  # whoever may not read the old one may not read the new one
            os.replace(part, path)


@contextlib.contextmanager
def half(path: Path) -> Iterator[Path]:
    """A new, empty, hidden file beside `path` that nobody else writes to; gone afterwards, unless it was renamed. Raises
    OSError."""
    part, handle = _created(path)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
        os.close(handle)


def clear(folder: Path, name: str = "") -> None:
    """Remove the halves in a folder, those of `name` or all, whose writers were killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        begin = f".{name}." if name else "."
        for each in entries:
            if each.name.startswith(begin) and _HALF.fullmatch(each.name) and each.is_file(follow_symlinks=False):
                _remove_left(each.path)


def _created(path: Path) -> tuple[Path, int]:
    """A half and its open file, locked."""
    while True:
        part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # without locks, halves stay
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return part, handle
        os.close(handle)  # somebody took it for one that was left, just before it was locked


def _remove_left(path: str) -> None:
    """Remove a half that nobody holds."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(handle)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What keeps `path` from being written becomes one line: DiskFull, or UserError where no file can be."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFull(f"no room left for {path.name}", fix="free some space and repeat the command") from None
        at = Path(os.fsdecode(error.filename)) if error.filename else path
        if at != path and at not in path.parents and at.parent != path.parent:
            raise  # it is not this file that cannot be written
        if error.errno in _NO_PLACE or (error.errno == errno.ENOENT and at in path.parents):
            raise UserError(f"{path}: cannot be written: {error.strerror}", fix="choose another place") from None
        raise


def append(path: Path, data: bytes) -> None:
    """Add whole lines to a list that only its owner reads, synced. What a full disk or a kill left of a last line stays a line of
    its own, which its reader passes over. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        end = os.fstat(handle).st_size
        rest = memoryview(b"\n" + data if end and os.pread(handle, 1, end - 1) != b"\n" else data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def file_at(path: Path) -> Path:
    """The file to write for `path`: behind a link the one it leads to, so that the link stays. Raises UserError where `path` is a
    folder, a device, a pipe or a socket (root's /dev/null would be a file from then on), or where no file can be."""
    mode = stat.S_IFREG
    with writing(path), contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder", fix="name a file")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: a device or a pipe, not a file", fix="name a file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path
