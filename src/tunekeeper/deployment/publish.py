"""A file or folder appears whole or not at all, whenever the process is killed and however full the disk is."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tunekeeper.core.errors import DiskFull


@contextlib.contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on a clean exit it is synced and renamed over `path`, else removed.

    Raises DiskFull naming the file. The folder is synced as well, so that the name survives a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    part.chmod(0o644)
    try:
        yield part
        sync(part)
        part.replace(path)
        sync(path.parent)
    except OSError as error:
        if _no_room(error):
            raise DiskFull(
                f"{path}: no room left on the disk; nothing was written", fix="free some space, then run it again"
            ) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _no_room(error: OSError) -> bool:
    """Whether a write failed for want of room; numpy's `tofile` tells it in words alone, without a number."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return error.errno in full or (error.errno is None and "requested and" in str(error))


def sync(path: Path) -> None:
    """Force a file's or folder's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_or_copy(source: Path, target: Path) -> Path:
    """Make `target` another name of `source` (a hard link where the file system allows it, else a copy), whole or absent."""
    if target.exists() and target.stat().st_size == source.stat().st_size and target.stat().st_ino == source.stat().st_ino:
        return target
    with whole_or_absent(target) as part:
        part.unlink()
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, part)
    return target
