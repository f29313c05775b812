"""One advisory lock per database file, across processes and threads.

The SQLite found on many machines can corrupt its log when two connections checkpoint at the same moment. So everything a
read-write connection does, from connecting to closing, happens while holding `<file>.lock`. The kernel frees a flock when
its holder dies; the file's text names who holds it, so that a holder that is stopped can be found.

Those who wait stand in line: without it who has just written comes first again, and the last of eight waits seconds. A place in
the line is a byte beyond the file's end that is locked, so it too is free when its owner dies. The line is a courtesy: the flock
alone decides who is in, and one who has waited for a second, behind somebody who is stopped perhaps, tries without it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunekeeper.core.errors import Busy

_RECORD = 64
_NEXT = struct.Struct("<Q")
"""Behind the record: the place at which a newcomer begins to look for a free one."""
_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock` of 64-bit Linux: type, whence, start, length, pid."""
_LINE = 1 << 20
"""Offset of the line's first place. Nothing is ever written there."""
_COURTEOUS, _PATIENT = 1.0, 5.0
"""Seconds in line, and seconds after which a lock is looked at less often."""
_SHORT_NAP, _LONG_NAP = 0.0005, 0.004
_OLD = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who holds a lock."""

    pid: int
    """Process id."""
    started: int
    """Clock ticks after boot at which that process started: tells it from a later one with the same pid."""
    since: float
    """CLOCK_BOOTTIME seconds at which it took the lock."""


@contextmanager
def exclusive(path: Path, *, wait: float = 30.0, break_after: float | None = None) -> Iterator[list[Holder]]:
    """Hold the lock of `path` (a file ending in `.lock`, created when missing).

    `wait`: real seconds to try before Busy is raised, naming the holder. `break_after`: real seconds after which a holder
    that is our user's and either stopped or older than one second is killed; None never kills. Yields the holders that were
    killed on the way, so that the caller can put them on record.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        broken = _take(descriptor, path, wait, break_after)
        _sign(descriptor)
        yield broken
    finally:
        os.close(descriptor)


def holder(path: Path) -> Holder | None:
    """Who signed the lock file last; None when nobody did. Whether it is still held only the flock itself tells."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, wait: float, break_after: float | None) -> list[Holder]:
    start = time.monotonic()
    # Who may break the lock is in a hurry, and waits behind nobody.
    place = _stand_in_line(descriptor) if break_after is None else None
    broken: list[Holder] = []
    while True:
        waited = time.monotonic() - start
        behind = place is not None and waited < _COURTEOUS and _taken(descriptor, place - 1)
        if not behind and _try(descriptor):
            return broken
        current = _read(descriptor)
        if break_after is not None and waited >= break_after and current is not None and current not in broken:
            broken += _break(current)
        if waited >= wait:
            who = "another process" if current is None else f"process {current.pid}"
            raise Busy(f"{path.name} is held by {who} since {waited:.1f} s", fix="end that process and try again")
        time.sleep(_SHORT_NAP if waited < _PATIENT else _LONG_NAP)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stand_in_line(descriptor: int) -> int | None:
    """Take the next free place, and keep it until the descriptor is closed. Two who come at once find different ones. None on a
    system without such places."""
    told = os.pread(descriptor, _NEXT.size, _RECORD)
    place: int = _NEXT.unpack(told)[0] if len(told) == _NEXT.size else 0
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LINE + place, 1, 0))
            break
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return None
            place += 1
    os.pwrite(descriptor, _NEXT.pack(place + 1), _RECORD)
    return place


def _taken(descriptor: int, place: int) -> bool:
    """Whether somebody else stands at a place, waiting or inside."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LINE + place, 1, 0)
    found: int = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
    return found != fcntl.F_UNLCK


def _sign(descriptor: int) -> None:
    text = f"{os.getpid()} {_stat(os.getpid())[1]} {time.clock_gettime(time.CLOCK_BOOTTIME):.6f}"
    os.pwrite(descriptor, text.encode().ljust(_RECORD - 1) + b"\n", 0)


def _read(descriptor: int) -> Holder | None:
    parts = os.pread(descriptor, _RECORD, 0).split()
    if len(parts) != 3:
        return None
    return Holder(pid=int(parts[0]), started=int(parts[1]), since=float(parts[2]))


def _break(current: Holder) -> list[Holder]:
    """Kill `current` when it may be killed: ours, the very process that signed, not ourselves, stopped or holding too long."""
    state, started, uid = _stat(current.pid)
    if started != current.started or uid != os.getuid() or current.pid == os.getpid():
        return []
    if state not in "Tt" and time.clock_gettime(time.CLOCK_BOOTTIME) - current.since < _OLD:
        return []
    try:
        os.kill(current.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return []
    return [current]


def _stat(pid: int) -> tuple[str, int, int]:
    """(state letter, start time in ticks, user id) of a process; ("", -1, -1) when there is none."""
    try:
        path = Path(f"/proc/{pid}/stat")
        fields = path.read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19]), path.stat().st_uid
    except (FileNotFoundError, ProcessLookupError):
        return "", -1, -1
