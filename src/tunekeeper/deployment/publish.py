"""A file or folder appears whole or not at all, whenever the process is killed and however full the disk is."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tunekeeper.core.errors import DiskFull
from tunekeeper.store.place import file_at, writing


@contextlib.contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on a clean exit it is synced and renamed over `path`, else removed.

    Behind a link it is the file that the link leads to. Raises DiskFull naming the file, UserError where no file can be. The
    folder is synced as well, so that the name survives a power cut.
    """
    path = file_at(path)
    with scratch_file(path) as part:
        try:
            yield part
            sync(part)
            part.replace(path)
            sync(path.parent)
        except OSError as error:
            _refuse_full(path, error)
            raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` to fill; on a clean exit its files are synced and it is renamed to `path`, else removed.

    `path` must not be there. Raises DiskFull naming the folder.
    """
    with scratch_folder(path) as part:
        try:
            yield part
            for file in part.rglob("*"):
                sync(file)
            sync(part)
            part.chmod(0o755)
            part.replace(path)
            sync(path.parent)
        except OSError as error:
            _refuse_full(path, error)
            raise


@contextlib.contextmanager
def scratch_file(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, to be written in place, removed at the end. What earlier ones for `path` left goes first."""

    def made() -> Path:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.fchmod(handle, 0o644)
        os.close(handle)
        return Path(name)

    with _held(path, made) as part:
        yield part


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, removed at the end with all that is in it. What earlier ones for `path` left goes first."""
    with _held(path, lambda: Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))) as part:
        yield part


@contextlib.contextmanager
def _held(path: Path, make: Callable[[], Path]) -> Iterator[Path]:
    """What `make` makes, under a lock that says that its writer lives: the kernel lets go of it when the writer is killed."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in os.listdir(path.parent):
            if left.startswith(f".{path.name}.") and left.endswith(".part"):
                _remove_if_dead(path.with_name(left))
        handle, part = _locked(make)
    try:
        yield part
    finally:
        _remove(part)
        os.close(handle)


def _locked(make: Callable[[], Path]) -> tuple[int, Path]:
    while True:
        part = make()
        try:
            handle = os.open(part, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, part
        os.close(handle)  # another writer took it for one that was left behind, before it was locked


def _remove_if_dead(part: Path) -> None:
    """Remove what nobody holds; a file that is another name of a stored blob costs nothing and stays."""
    try:
        handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.is_dir() or os.fstat(handle).st_nlink == 1:
            _remove(part)
    except BlockingIOError:
        return
    finally:
        os.close(handle)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def _refuse_full(path: Path, error: OSError) -> None:
    """Raise DiskFull naming `path` where a write failed for want of room."""
    if _no_room(error):
        why = f"{path}: no room left on the disk; nothing was written"
        raise DiskFull(why, fix="free some space, then run it again") from error


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
        linked = part.with_suffix(".link")
        try:
            linked.hardlink_to(source)
            linked.replace(part)
        except OSError:
            shutil.copyfile(source, part)
    return target
