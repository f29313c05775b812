"""A disk whose power can be cut: it does what the kernel would, and remembers what no sync has covered yet.

`image` builds the folder that a machine could find after the power came back: synced bytes are there, of everything since a
random part, in random order, torn, with zeros where nothing arrived; names that no folder sync covered may be missing.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import OutsideError
from tunekeeper.core.ids import request_id
from tunekeeper.store.log import Spool, segments
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.segments import Disk

Record = Callable[..., dict[str, Any]]


class _File:
    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.durable = b""
        self.pending: list[tuple[str, int, bytes]] = []
        self.named = False
        self.refused = False


class PowerDisk(Disk):
    """The real operations, recorded. `failing`: numbers of the sync calls (from 1) that fail with EIO, after which the kernel
    has dropped what it held of that file and calls it clean."""

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        self.failing = failing
        self.syncs = 0
        self.files: dict[int, _File] = {}
        self.all: list[_File] = []

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self.files[fd] = _File(path.name)
        self.all.append(self.files[fd])
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        done = super().write(fd, data)
        file = self.files[fd]
        file.pending.append(("write", file.size, bytes(data[:done])))
        file.size += done
        return done

    def cut(self, fd: int, size: int) -> None:
        super().cut(fd, size)
        self.files[fd].pending.append(("cut", size, b""))
        self.files[fd].size = size

    def sync(self, fd: int) -> None:
        file = self.files[fd]
        assert not file.refused, "a sync was tried again on a file whose sync had failed"
        self._count(file)
        for kind, at, data in file.pending:
            file.durable = file.durable[:at] if kind == "cut" else file.durable[:at].ljust(at, b"\0") + data
        file.pending = []

    def sync_folder(self, folder: Path) -> None:
        self._count(None)
        for file in self.all:
            file.named = True

    def close(self, fd: int) -> None:
        super().close(fd)
        del self.files[fd]

    def _count(self, file: _File | None) -> None:
        self.syncs += 1
        if self.syncs not in self.failing:
            return
        if file is not None:
            file.refused, file.pending = True, []
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def image(self, root: Path, rng: random.Random) -> None:
        """Write one possible state of the spool after a power cut to `root`/spool."""
        folder = root / "spool"
        folder.mkdir(parents=True)
        for file in self.all:
            if file.named or rng.random() < 0.5:
                (folder / file.name).write_bytes(survived(file, rng))


class Sheet(Protocol):
    """What is known of one file's content."""

    durable: bytes | bytearray
    pending: list[tuple[str, int, bytes]]


def survived(file: Sheet, rng: random.Random) -> bytes:
    """What a cut leaves of a file: some of what no sync covered, in any order, torn (but never a write called `whole`)."""
    content = bytearray(file.durable)
    arrived = [each for each in file.pending if rng.random() < 0.6]
    rng.shuffle(arrived)
    for kind, at, data in arrived:
        torn = kind == "write" and rng.random() < 0.5
        change(content, kind, at, data[: rng.randrange(len(data) + 1)] if torn else data)
    return bytes(content)


def change(content: bytearray, kind: str, at: int, data: bytes) -> None:
    """Write `data` at a place, or with `cut` drop what is after it."""
    if kind == "cut":
        del content[at:]
        return
    content.extend(b"\0" * (at + len(data) - len(content)))
    content[at : at + len(data)] = data


class Ledger:
    """What an outside client knows: what was written, and what it was told is durable."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()


def serve(spool: Spool, clock: ManualClock, record: Record, rng: random.Random, ticks: int) -> Ledger:
    """Some ticks of a gateway: records are flushed, mostly synced, and acknowledged only after that."""
    ledger = Ledger()
    waiting: list[str] = []
    for _ in range(ticks):
        for _ in range(rng.randrange(1, 4)):
            made = record(request=msgspec.json.encode({"text": "x" * rng.randrange(400)}))
            ledger.written[made["request_id"]] = made["request"]
            waiting.append(made["request_id"])
            spool.opened({name: made[name] for name in ("request_id", "timestamp", "model_id")})
            spool.ended(made, awaited=True)
        spool.flush()
        clock.advance(rng.choice((0.0, 0.01, 2.0)))
        if rng.random() < 0.25:
            continue
        try:
            spool.sync()
            ledger.acknowledged.update(waiting)
        except OutsideError:
            ledger.refused.update(waiting)
        waiting = []
    return ledger


def recovered(root: Path) -> dict[str, bytes]:
    """Request id → body of every record that recovery takes for good, straight from the lines."""
    found = {}
    for segment in segments.list_segments(root):
        for line in scan(segment.path.read_bytes()).lines:
            if line.kind == "E":
                said = msgspec.json.decode(line.json, type=dict[str, msgspec.Raw])
                found[msgspec.json.decode(said["request_id"], type=str)] = bytes(said["request"])
    return found


def cut_once(root: Path, image: Path, clock: ManualClock, record: Record, seed: int) -> tuple[Ledger, dict[str, bytes]]:
    """One life of a spool under `root`, cut off by the power: what an outsider knows, and what is recovered from `image`, where
    everything acknowledged must be and nothing damaged may."""
    rng, disk = random.Random(seed), PowerDisk()
    spool = Spool(root, "gateway-0", clock, power=True, max_bytes=3000, disk=disk)
    ledger = serve(spool, clock, record, rng, rng.randrange(3, 14))
    disk.image(image, rng)
    spool.close()
    found = recovered(image)
    assert ledger.acknowledged <= found.keys(), seed
    assert all(ledger.written[id] == body for id, body in found.items()), seed
    return ledger, found


def numbered(clock: ManualClock) -> Record:
    """Records as the gateway gives them to the spool, the n-th about question n."""
    numbers = itertools.count()

    def make(**fields: Any) -> dict[str, Any]:
        n = next(numbers)
        made = request_id(clock.utc(), b"k" * 32, lambda size: n.to_bytes(size, "big"))
        return {"request_id": made, "timestamp": clock.utc(), "model_id": "support-desk", **fields}

    return make
