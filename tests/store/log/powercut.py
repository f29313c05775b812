"""A disk whose power can be cut: it does what the kernel would, and remembers what no sync has covered yet.

`image` builds the folder that a machine could find after the power came back: synced bytes are there, of everything since a
random part, in random order, torn, with zeros where nothing arrived; names that no folder sync covered may be missing.
"""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

from tunekeeper.store.log.segments import Disk


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
                (folder / file.name).write_bytes(_survived(file, rng))


def _survived(file: _File, rng: random.Random) -> bytes:
    content = bytearray(file.durable)
    arrived = [each for each in file.pending if rng.random() < 0.6]
    rng.shuffle(arrived)
    for kind, at, data in arrived:
        if kind == "cut":
            del content[at:]
            continue
        part = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data
        content.extend(b"\0" * (at + len(part) - len(content)))
        content[at : at + len(part)] = part
    return bytes(content)
