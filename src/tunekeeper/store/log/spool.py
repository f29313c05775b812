"""The writing side of the inference log: what a gateway worker appends, before the last byte of the answer leaves.

Building a line costs a few microseconds; a flush is one `write()`; nothing here imports a database, DuckDB or pyarrow.
"""

from __future__ import annotations

import errno
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tunekeeper.core.clock import Clock
from tunekeeper.core.errors import DiskFull, OutsideError
from tunekeeper.store.log.lines import Body, assemble, encode, members, tombstone
from tunekeeper.store.log.segments import Disk, create_locked, segment_name

T = TypeVar("T")
Opened = tuple[bytes, int]
"""The fields of an opened request as they were written, and how many they are."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
FRESH = 2
"""How many new segments are tried, one after the other, when a sync fails."""
PROBE_BYTES = 64


def ended_line(record: Mapping[str, Any], opened: Opened | None = None) -> bytes:
    """The line of a request that ended: every Inference field that is set; `request` and `response` are raw bytes (or
    `msgspec.Raw` where msgspec has already validated them, which saves 2 to 4 microseconds) or absent. `opened`: what
    `Spool.opened` gave for the same record, as long as those first fields still say the same: they are not written out twice."""
    told, known = opened or (b"", 0)
    plain = dict(islice(record.items(), known, None))
    request, response = plain.pop("request", None), plain.pop("response", None)
    more = members(plain)
    return assemble("E", b"%s,%s" % (told, more) if told else more, request, response)


class Spool:
    """One writer's append-only, checksummed segments under `root`/spool. Calls buffer; `flush` makes them durable against the
    death of the process, `sync` against the loss of power. Not thread-safe, except that `sync` may run in a thread while this
    one only buffers."""

    def __init__(
        self,
        root: Path,
        writer: str,
        clock: Clock,
        *,
        power: bool = False,
        max_bytes: int = 8 << 20,
        max_seconds: float = 5.0,
        entropy: Callable[[int], bytes] = os.urandom,
        disk: Disk | None = None,
    ) -> None:
        """`writer`: lower-case letters, digits and `-`, e.g. `gateway-0`. `power`: segments stay open until they are synced.
        A segment is sealed after `max_bytes` or `max_seconds` of real time. `disk`: what writes and syncs, the kernel's."""
        if not re.fullmatch(r"[a-z0-9-]{1,64}", writer):
            raise ValueError(f"not a writer's name: {writer!r}")
        self.folder = root / "spool"
        self.clock = clock
        self.power = power
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds
        self.writer = f"{writer}.{entropy(6).hex()}"
        self._disk = disk or Disk()
        self._buffer: list[bytes] = []
        self._awaited: list[int] = []
        self._fd: int | None = None
        self._retired: deque[tuple[int, int]] = deque()
        self._unsynced: list[tuple[bytes, bool]] = []
        self._new_names = False
        self._number = self._size = 0
        self._floor = 0  # bytes of the segment that a failed sync leaves alone: synced ones, and those from before `power`
        self._opened_at = 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_path = self.folder / f"{self.writer}.lock"
        self._lock: int | None = self._guarded(lambda: create_locked(self._lock_path))

    @property
    def pending(self) -> int:
        """How many lines wait for the next flush."""
        return len(self._buffer)

    def opened(self, fields: Mapping[str, Any]) -> Opened:
        """A request was accepted and is about to be dialled: its Inference fields so far (ids, route, assignment). Returns them
        as they are written, for `ended`."""
        told = members(fields)
        self._buffer.append(assemble("O", told))
        return told, len(fields)

    def partial(self, request_id: str, text: str, request: Body = None, sealed: str | None = None) -> None:
        """Text of a running stream since the last call, about once a second; the first call carries the request body. `sealed`:
        a box with what was taken out of this text."""
        fields = {"request_id": request_id, "text": text}
        self._buffer.append(encode("P", fields if sealed is None else {**fields, "sealed": sealed}, request))

    def ended(
        self, record: Mapping[str, Any], *, awaited: bool = False, opened: Opened | None = None, line: bytes | None = None
    ) -> None:
        """A request ended: `record` and `opened` as in `ended_line`. `line`: what that made of them, where it was called before.
        `awaited`: somebody is answered only after the next `sync`; where that fails, this line is not in the log."""
        if awaited:
            self._awaited.append(len(self._buffer))
        self._buffer.append(line or ended_line(record, opened))

    def feedback(self, fields: Mapping[str, Any], *, awaited: bool = False) -> None:
        """Something was said about an inference: the fields of Feedback. `awaited` as in `ended`."""
        if awaited:
            self._awaited.append(len(self._buffer))
        self._buffer.append(encode("F", fields))

    def tokens(self, request_id: str, prompt: int | None, completion: int | None, cost_usd: float | None = None) -> None:
        """Token counts (and the cost they make) filled in after the end, for a record whose server gave none."""
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "cost_usd": cost_usd}
        self._buffer.append(encode("T", {"request_id": request_id, **counts}))

    def flush(self) -> int:
        """Write everything buffered in one `write()`; returns the bytes written, all of them. Raises DiskFull or OutsideError
        when they could not be: then nothing of this batch is in the log, the batch is forgotten, and the next flush starts a
        new segment."""
        if not self._buffer:
            return 0
        lines, awaited = self._buffer, self._awaited
        self._buffer, self._awaited = [], []
        data = b"".join(lines)
        self._guarded(lambda: self._write(data))
        if self.power:
            marks = set(awaited)
            self._unsynced += [(line, place in marks) for place, line in enumerate(lines)]
        else:
            self._floor = self._size
        self.tick()
        return len(data)

    def forget(self) -> None:
        """Drop what is buffered: nothing of it is in the log."""
        self._buffer, self._awaited = [], []

    def probe(self) -> None:
        """Find out whether the disk takes lines (again), by one that says nothing. Raises DiskFull or OutsideError."""
        self._buffer.append(tombstone(PROBE_BYTES))
        self.flush()

    def tick(self) -> None:
        """Seal the segment when it is large or old enough. Call it about once a second, so that an idle writer's records
        are compacted too."""
        if self._fd is not None and (self._size >= self.max_bytes or self.clock.real() - self._opened_at >= self.max_seconds):
            self.seal()

    def sync(self) -> None:
        """Make everything flushed before this call survive the loss of power (fdatasync). A segment whose sync failed is never
        synced again, for the kernel may have dropped what it held: its lines are written to a new one, and that is synced.
        Raises DiskFull or OutsideError when that fails too: then no awaited line is in the log, and nobody may be answered."""
        try:
            self._sync_segments()
            return
        except OSError as error:
            failure = error
        for _ in range(FRESH):
            try:
                self._rewrite([line for line, _ in self._unsynced])
                self._sync_segments()
                return
            except OSError as error:
                failure = error
        self._drop_awaited()
        raise self._ours(failure) from failure

    def _sync_segments(self) -> None:
        for fd, _ in self._retired:
            self._disk.sync(fd)
        if self._fd is not None and self._size > self._floor:
            self._disk.sync(self._fd)
        if self._new_names:
            self._disk.sync_folder(self.folder)
        self._new_names = False
        self._settle()

    def _drop_awaited(self) -> None:
        """Keep what nobody waits for, which the death of the process at least does not take."""
        try:
            self._rewrite([line for line, awaited in self._unsynced if not awaited])
        except OSError:
            # Not even that: all stays where it is, and no later sync may speak for it.
            if self._fd is not None:
                self._disk.close(self._fd)
            self._fd = None
        self._settle()

    def _settle(self) -> None:
        """What was written so far needs no further sync."""
        for fd, _ in self._retired:
            self._disk.close(fd)
        self._retired.clear()
        self._unsynced.clear()
        self._floor = self._size

    def _rewrite(self, lines: list[bytes]) -> None:
        """Write lines that no sync covers to a new segment, then take them out of the old ones. In this order: killed in between,
        the log holds them twice, and readers count an id once; the other way round it would hold them nowhere."""
        old = [*self._retired, *([] if self._fd is None else [(self._fd, self._floor)])]
        before = self._fd, self._size, self._floor
        self._fd = None
        try:
            if lines:
                self._write(b"".join(lines))
        except OSError:
            self._fd, self._size, self._floor = before
            raise
        self._retired.clear()
        for fd, floor in old:
            # Where the cut fails, the lines stay there as well.
            with suppress(OSError):
                self._disk.cut(fd, floor)
            self._disk.close(fd)

    def seal(self) -> None:
        """End the current segment: the keeper may compact it. The next flush opens a new one."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        self._retire(fd)

    def close(self) -> None:
        """Flush, seal and give the writer's lock back; requests still open are interrupted from now on."""
        if self._lock is None:
            return
        try:
            self.flush()
            if self.power:
                self.sync()
        finally:
            self.power = False
            self.seal()
            self._settle()
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _write(self, data: bytes) -> None:
        fd = self._open() if self._fd is None else self._fd
        done = 0
        try:
            while done < len(data):
                done += self._disk.write(fd, data if done == 0 else memoryview(data)[done:])
        except OSError:
            self._take_back(fd)
            raise
        self._size += done

    def _take_back(self, fd: int) -> None:
        """Take a half-written batch back. The segment ends here, so that no reader's position points into what was cut."""
        self._fd = None
        # Where even that fails, the rest of a line at the end of a sealed segment is recognised as torn; nobody was told that
        # it was written.
        with suppress(OSError):
            self._disk.cut(fd, self._size)
        self._retire(fd)

    def _open(self) -> int:
        at = int(self.clock.utc().timestamp() * 1000)
        self._fd = self._disk.create(self.folder / segment_name(at, self.writer, self._number))
        self._number += 1
        self._size = self._floor = 0
        self._opened_at = self.clock.real()
        self._new_names = True
        return self._fd

    def _retire(self, fd: int) -> None:
        if self.power and self._size > self._floor:
            self._retired.append((fd, self._floor))
        else:
            self._disk.close(fd)

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            raise self._ours(error) from error

    def _ours(self, error: OSError) -> OutsideError:
        if error.errno in _FULL:
            return DiskFull(f"no room left to log requests under {self.folder}", fix="free disk space")
        return OutsideError(f"cannot write the request log under {self.folder}: {error.strerror}", fix="check the disk")
