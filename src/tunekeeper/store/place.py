"""A file that appears whole or not at all in a place that somebody named: what appears there replaces what was there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tunekeeper.core.errors import DiskFull, UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PLACE = (
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)
"""Why no file can be written at a place that somebody named."""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file to; on a clean exit it takes the place of `path`, else it is removed. The folder is
    made. Raises DiskFull, and UserError where no file can be written."""
    path = file_at(path)
    part = part_of(path)
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with contextlib.suppress(FileNotFoundError):
                part.chmod(stat.S_IMODE(path.stat().st_mode))  # whoever may not read the old one may not read the new one
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """A hidden path beside `path` that nobody else writes to."""
    return path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What keeps `path` from being written becomes one line: DiskFull, or UserError where no file can be."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(f"no room left for {path.name}", fix="free some space and repeat the command") from None
        folder = error.errno == errno.ENOENT and bool(error.filename) and Path(os.fsdecode(error.filename)) in path.parents
        if folder or error.errno in _NO_PLACE:
            raise UserError(f"{path}: cannot be written: {error.strerror}", fix="choose another place") from None
        raise


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
