"""Names and locks of spool segments: who wrote one, in what order, and whether its writer still lives.

A segment is `<utc ms>.<writer>.<incarnation>.<number>.jsonl`; an incarnation is one life of one writer. A writer holds the flock
of `<writer>.<incarnation>.lock` for life and that of the segment it appends to: a lock that is free says dead, or sealed.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunekeeper.store.flocks import held as is_held
from tunekeeper.store.flocks import seize

__all__ = [
    "Disk", "Segment", "by_writer", "create_locked", "erased", "hold", "is_alive", "is_held", "last_erasure", "list_segments",
    "maintenance", "open_chain", "parse", "segment_name",
]  # fmt: skip

_NAME = re.compile(r"(\d{15})\.([a-z0-9-]{1,64})\.([0-9a-f]{12})\.(\d{6})\.(jsonl|open)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One file of the spool, known by its name."""

    path: Path
    """Where it is."""
    writer: str
    """Name of the writer and its incarnation, `gateway-0.3f9a…`."""
    number: int
    """Place among the segments of this incarnation, from 0."""
    carried: bool
    """Whether it holds only the still-open requests of a segment that was compacted (`.open`)."""

    @property
    def stem(self) -> str:
        """The name without its ending: what files made from it are called."""
        return self.path.name.rsplit(".", 1)[0]


def segment_name(at_ms: int, writer: str, number: int) -> str:
    """The file name of a new segment of `writer` (with incarnation) at `at_ms` milliseconds UTC."""
    return f"{at_ms:015d}.{writer}.{number:06d}.jsonl"


def parse(path: Path) -> Segment | None:
    """The segment that a file name speaks of; None for any other file."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    return Segment(path=path, writer=f"{match[2]}.{match[3]}", number=int(match[4]), carried=match[5] == "open")


def list_segments(root: Path) -> list[Segment]:
    """All segments under `root`/spool: per incarnation in the order they were written, a carried one before its successor."""
    try:
        names = os.listdir(root / "spool")
    except FileNotFoundError:
        return []
    found = [s for s in (parse(root / "spool" / name) for name in names) if s is not None]
    return sorted(found, key=lambda s: (s.writer, s.number, not s.carried, s.path.name))


def by_writer(segments: list[Segment]) -> dict[str, list[Segment]]:
    """Segments grouped by incarnation, keeping their order."""
    groups: dict[str, list[Segment]] = {}
    for segment in segments:
        groups.setdefault(segment.writer, []).append(segment)
    return groups


def open_chain(group: list[Segment]) -> list[Segment]:
    """The segments of one incarnation that say what is still open: the newest carried one and what was written after it. An older
    carried file, or a segment that its carried file already sums up, is what a killed compaction left."""
    carried = [segment for segment in group if segment.carried]
    if not carried:
        return group
    return [carried[-1], *(segment for segment in group if not segment.carried and segment.number > carried[-1].number)]


def is_alive(root: Path, writer: str) -> bool:
    """Whether the incarnation `writer` still holds its lock."""
    return is_held(root / "spool" / f"{writer}.lock")


def create_locked(path: Path, flags: int = 0) -> int:
    """Create `path` with its flock already held, so that nobody ever sees it free; returns the descriptor. Raises OSError."""
    hidden = path.with_name(f".{path.name}.new")
    fd = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(hidden, path)
    except OSError:
        hidden.unlink(missing_ok=True)
        os.close(fd)
        raise
    return fd


class Disk:
    """What a spool asks of the disk, in one place: a test takes it to cut the power or to fail a sync. All raise OSError."""

    def create(self, path: Path) -> int:
        """A new segment, locked and opened for appending; returns its descriptor."""
        return create_locked(path, os.O_APPEND)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Append; returns how many bytes were taken."""
        return os.write(fd, data)

    def cut(self, fd: int, size: int) -> None:
        """Drop everything after the first `size` bytes."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Make what was written survive the loss of power."""
        os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Make the names of new segments survive the loss of power."""
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        """Give a segment and its lock back."""
        os.close(fd)


def hold(path: Path) -> int:
    """Take the flock of a lock file, made where it is missing; returns the descriptor that holds it until it is closed. Raises
    BlockingIOError when another process holds it."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if not seize(fd):
        os.close(fd)
        raise BlockingIOError(f"{path} is held")
    return fd


def erased(root: Path) -> Path:
    """The file that is written anew by each erasure, which overwrites lines of segments in place."""
    return root / "log" / "erased"


def last_erasure(root: Path) -> tuple[int, int] | None:
    """What another erasure changes; None before the first one."""
    try:
        found = erased(root).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextmanager
def maintenance(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold `root`/run/log.lock: only one process at a time rewrites segments and Parquet files. Yields whether it was got;
    always True with `wait`."""
    folder = root / "run"
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "log.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)
