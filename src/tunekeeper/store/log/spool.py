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
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tunekeeper.core.clock import Clock
from tunekeeper.core.errors import DiskFull, OutsideError
from tunekeeper.store.log.lines import Body, encode
from tunekeeper.store.log.segments import create_locked, segment_name

T = TypeVar("T")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """One writer's append-only, checksummed segments under `root`/spool. Calls buffer; `flush` makes them durable against the
    death of the process, `sync` against the loss of power. Not thread-safe, except that `sync` may run in a thread."""

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
    ) -> None:
        """`writer`: lower-case letters, digits and `-`, e.g. `gateway-0`. `power`: segments stay open until they are synced.
        A segment is sealed after `max_bytes` or `max_seconds` of real time."""
        if not re.fullmatch(r"[a-z0-9-]{1,64}", writer):
            raise ValueError(f"not a writer's name: {writer!r}")
        self.folder = root / "spool"
        self.clock = clock
        self.power = power
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds
        self.writer = f"{writer}.{entropy(6).hex()}"
        self._buffer: list[bytes] = []
        self._fd: int | None = None
        self._refused: int | None = None
        self._retired: deque[int] = deque()
        self._new_names = False
        self._number = self._size = 0
        self._writes = self._synced = 0
        self._opened_at = 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_path = self.folder / f"{self.writer}.lock"
        self._lock: int | None = self._guarded(lambda: create_locked(self._lock_path))

    @property
    def pending(self) -> int:
        """How many lines wait for the next flush."""
        return len(self._buffer)

    def opened(self, fields: Mapping[str, Any]) -> None:
        """A request was accepted and is about to be dialled: its Inference fields so far (ids, route, assignment)."""
        self._buffer.append(encode("O", fields))

    def partial(self, request_id: str, text: str, request: Body = None) -> None:
        """Text of a running stream since the last call, about once a second; the first call carries the request body."""
        self._buffer.append(encode("P", {"request_id": request_id, "text": text}, request))

    def ended(self, record: Mapping[str, Any]) -> None:
        """A request ended: every Inference field that is set; `request` and `response` are raw bytes (or `msgspec.Raw` where
        msgspec has already validated them, which saves 2 to 4 microseconds) or absent."""
        self._buffer.append(encode("E", record, record.get("request"), record.get("response")))

    def feedback(self, fields: Mapping[str, Any]) -> None:
        """Something was said about an inference: the fields of Feedback."""
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
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._guarded(lambda: self._write(data))
        self.tick()
        return len(data)

    def tick(self) -> None:
        """Seal the segment when it is large or old enough. Call it about once a second, so that an idle writer's records
        are compacted too."""
        if self._fd is not None and (self._size >= self.max_bytes or self.clock.real() - self._opened_at >= self.max_seconds):
            self.seal()

    def sync(self) -> None:
        """Make everything flushed before this call survive the loss of power (fdatasync). Raises OutsideError when the disk
        says no: what was not synced must not be acknowledged, and the sync is not tried again on that segment."""
        current, writes = self._fd, self._writes
        retired = [self._retired.popleft() for _ in range(len(self._retired))]
        names, self._new_names = self._new_names, False
        try:
            for fd in retired if current is None else (*retired, current):
                self._guarded(partial(os.fdatasync, fd))
            if names:
                self._guarded(self._sync_folder)
            self._synced = writes
        except OutsideError:
            # Closing it here, perhaps in a thread, could hand its number to a socket while the loop still writes to it.
            self._refused = current
            raise
        finally:
            for fd in retired:
                os.close(fd)

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
            for fd in self._retired:
                os.close(fd)
            self._retired.clear()
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _write(self, data: bytes) -> None:
        if self._fd is not None and self._fd == self._refused:
            self._refused = None
            self.seal()
        fd = self._open() if self._fd is None else self._fd
        self._writes += 1
        done = 0
        try:
            while done < len(data):
                done += os.write(fd, data if done == 0 else memoryview(data)[done:])
        except OSError:
            self._forget(fd)
            raise
        self._size += done

    def _forget(self, fd: int) -> None:
        """Take a half-written batch back. The segment ends here, so that no reader's position points into what was cut."""
        self._fd = None
        # Where even that fails, the rest of a line at the end of a sealed segment is recognised as torn; nobody was told that
        # it was written.
        with suppress(OSError):
            os.ftruncate(fd, self._size)
        self._retire(fd)

    def _open(self) -> int:
        at = int(self.clock.utc().timestamp() * 1000)
        self._fd = create_locked(self.folder / segment_name(at, self.writer, self._number), os.O_APPEND)
        self._number += 1
        self._size = 0
        self._opened_at = self.clock.real()
        self._new_names = True
        return self._fd

    def _retire(self, fd: int) -> None:
        if self.power and self._writes != self._synced:
            self._retired.append(fd)
        else:
            os.close(fd)

    def _sync_folder(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFull(f"no room left to log requests under {self.folder}", fix="free disk space") from error
            raise OutsideError(
                f"cannot write the request log under {self.folder}: {error.strerror}", fix="check the disk"
            ) from error
