"""The compressed clock: a mapped file that tells every process of a workspace the same scaled time. Standard library only.

Time runs in pieces (boot, boottime, utc, steady, factor): within a piece, workspace time grows by `factor` per real second.
A change appends a piece and then raises the generation in the mapped head; a reader looks at the head before each answer.
Without a heartbeat time stands still, so that a demo that was killed loses no simulated hours; the first heartbeat after a
pause appends a piece that goes on from the last stamp anybody can have seen.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tunekeeper.core.errors import NotFound, UserError

GRACE = 2.0
"""Real seconds without a heartbeat after which time stands still."""
_HEAD = 4096
_GENERATION = slice(0, 8)
_BEAT = slice(8, 16)
_PIECE = struct.Struct("=36s4x4d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A stretch of time with one factor."""

    boot: str
    """Kernel's id of the boot it began in."""
    boottime: float
    """CLOCK_BOOTTIME seconds at its start."""
    utc: float
    """Workspace UTC timestamp at its start."""
    steady: float
    """Workspace seconds at its start."""
    factor: float
    """Workspace seconds per real second; 0 stands still."""


class CompressedClock:
    """The clock of a workspace that has a `clock` file; any number of processes read it, one beats its heart."""

    def __init__(self, root: Path) -> None:
        """`root`: the data directory. Raises NotFound when it has no `clock` file; `create_clock` makes one."""
        self._path = root / "clock"
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"no compressed clock at {self._path}") from None
        self._map = mmap.mmap(self._file, _HEAD)
        self._boot = _boot_id()
        self._generation = 0
        self._piece = Piece(boot="", boottime=0.0, utc=0.0, steady=0.0, factor=0.0)
        self._latest = 0.0
        self._latest_utc = 0.0

    def utc(self) -> datetime:
        """The workspace's moment, in UTC; never runs backwards within a process."""
        self._latest_utc = max(self._latest_utc, self._now()[0])
        return datetime.fromtimestamp(self._latest_utc, UTC)

    def steady(self) -> float:
        """Workspace seconds; never runs backwards within a process."""
        self._latest = max(self._latest, self._now()[1])
        return self._latest

    def real(self) -> float:
        """Monotonic real seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait `seconds` of real time."""
        time.sleep(seconds)

    def factor(self) -> float:
        """Workspace seconds per real second now; 0 when frozen on purpose."""
        self._load()
        return self._piece.factor

    def set_factor(self, factor: float) -> None:
        """From now on let workspace time grow by `factor` (at least 0) per real second, in every process."""
        if not 0 <= factor < float("inf"):
            raise UserError(f"a clock cannot run {factor} times as fast as the world", fix="give a number of at least 0")
        with self._locked():
            utc, steady = self._now()
            self._append(Piece(boot=self._boot, boottime=_boottime(), utc=utc, steady=steady, factor=factor))

    def freeze(self) -> None:
        """Let workspace time stand still until `set_factor`."""
        self.set_factor(0.0)

    def heartbeat(self) -> None:
        """Keep time running for the next two real seconds; after a pause it goes on from where it stood."""
        with self._locked():
            at = _boottime()
            piece = self._load()
            if piece.boot != self._boot or at > self._beat() + GRACE:
                utc, steady = self._now()
                self._append(replace(piece, boot=self._boot, boottime=at, utc=utc, steady=steady))
            self._map[_BEAT] = struct.pack("=d", at)

    def unattended(self) -> float:
        """Real seconds since anybody's last heartbeat."""
        return max(_boottime() - self._beat(), 0.0)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Heartbeats from a thread of this process, twice a second, while the block runs."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(0.5):
                self.heartbeat()

        self.heartbeat()
        thread = threading.Thread(target=beat, name="clock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def close(self) -> None:
        """Let go of the file; the clock is not to be asked again."""
        self._map.close()
        os.close(self._file)

    def _now(self) -> tuple[float, float]:
        # The beat is read before the piece: a beat that follows a pause is written after its piece, so it is never seen alone.
        beat = self._beat()
        piece = self._load()
        end = beat if piece.boot != self._boot else min(_boottime(), beat + GRACE)
        elapsed = max(0.0, end - piece.boottime) * piece.factor
        return piece.utc + elapsed, piece.steady + elapsed

    def _beat(self) -> float:
        return float(struct.unpack("=d", self._map[_BEAT])[0])

    def _load(self) -> Piece:
        generation = int.from_bytes(self._map[_GENERATION], "little")
        if generation == self._generation:
            return self._piece
        raw = os.pread(self._file, _PIECE.size, _HEAD + (generation - 1) * _PIECE.size)
        boot, boottime, utc, steady, factor = _PIECE.unpack(raw)
        self._piece = Piece(boot=boot.decode(), boottime=boottime, utc=utc, steady=steady, factor=factor)
        self._generation = generation
        return self._piece

    def _append(self, piece: Piece) -> None:
        """Write the piece where the next generation will look for it, then raise the generation; under the lock."""
        generation = int.from_bytes(self._map[_GENERATION], "little") + 1
        os.pwrite(self._file, _pack(piece), _HEAD + (generation - 1) * _PIECE.size)
        os.fsync(self._file)
        self._map[_GENERATION] = generation.to_bytes(8, "little")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._path.with_name("clock.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def create_clock(root: Path, *, start: datetime, factor: float) -> CompressedClock:
    """Give a data directory a compressed clock that reads `start` (UTC) now and runs `factor` times as fast as the world; one
    that is there already is opened as it is."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "clock"
    if not path.exists():
        at = _boottime()
        piece = Piece(boot=_boot_id(), boottime=at, utc=start.timestamp(), steady=0.0, factor=factor)
        head = (1).to_bytes(8, "little") + struct.pack("=d", at)
        part = path.with_name(f".clock.{os.getpid()}")
        part.write_bytes(head.ljust(_HEAD, b"\0") + _pack(piece))
        os.replace(part, path)
    return CompressedClock(root)


def _pack(piece: Piece) -> bytes:
    return _PIECE.pack(piece.boot.encode(), piece.boottime, piece.utc, piece.steady, piece.factor)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
