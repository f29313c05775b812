"""Storing the rows of a dataset version: what a pack holds already is only named, the rest goes into new packs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import blake3
import numpy as np

from tunekeeper.core.ids import digest_json
from tunekeeper.store import packs
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.manifests import Manifest, Numbers
from tunekeeper.store.packs import Draft, Mark, Pack
from tunekeeper.store.runs import Known

Look = Callable[[bytes], tuple[bytes, Mark]]
"""A row that no pack holds yet → its canonical line, and what is counted of it."""
FORMAT = 2


class Writer:
    """The rows of one version on their way into the store."""

    def __init__(self, blobs: Blobs, shared: Sequence[tuple[str, Pack]], sides: Sequence[str]) -> None:
        """`shared`: packs by digest whose rows may be named. `sides`: every side a row may be on."""
        self._blobs = blobs
        self._packs = [(name, pack.rows) for name, pack in shared]
        self._digests = [pack.digests for _, pack in shared]
        self._base = sum(pack.rows for _, pack in shared)
        self._index = _index([pack for _, pack in shared])
        self._numbers: dict[str, list[int]] = {side: [] for side in sides}
        # A new row gets the number that its turn gives it, and another one when its pack is made: a pack holds one side after
        # the other, so that a side is read in whole blocks.
        self._open = {side: Draft() for side in sides}
        self._turns: dict[str, list[int]] = {side: [] for side in sides}
        self._places: list[int] = []
        self._new = 0
        self._bytes = 0
        # Compressing needs no Python: one pack is made while the rows of the next one are looked at.
        self._hands = ThreadPoolExecutor(max_workers=1)
        self._making: Future[tuple[str, int]] | None = None

    def __enter__(self) -> Writer:
        self._collected = gc.isenabled()
        gc.disable()  # rows are no rings, and there are many
        return self

    def __exit__(self, *_: object) -> None:
        if self._collected:
            gc.enable()
        self._hands.shutdown()

    def take(self, rows: Iterable[tuple[bytes, str]], look: Look) -> None:
        """Store these rows: lines with their sides, in order. Raises DiskFull."""
        known, numbers, digest_of = self._index.get, {side: each.append for side, each in self._numbers.items()}, packs.digest_of
        for line, side in rows:
            number = known(digest := digest_of(line))
            numbers[side](self._added(line, digest, side, look) if number is None else number)

    def take_runs(
        self, runs: Iterable[list[bytes]], split: Callable[[list[bytes]], Iterable[tuple[bytes, str]]], look: Look, known: Known
    ) -> tuple[list[bytes], list[list[int]]]:
        """Store the rows of runs of lines; `split` gives those of one. A run of `known` is not looked into. Returns the digest of
        each run and how many rows it put on each side."""
        marks: list[bytes] = []
        counts: list[list[int]] = []
        numbers = list(self._numbers.values())
        for run in runs:
            marks.append(mark := packs.digest_of(b"".join(run)))
            before = [len(side) for side in numbers]
            if (there := known.get(mark)) is None:
                self.take(split(run), look)
            else:
                for side, more in zip(numbers, there, strict=True):
                    side += more
            counts.append([len(side) - n for side, n in zip(numbers, before, strict=True)])
        return marks, counts

    def _added(self, line: bytes, digest: bytes, side: str, look: Look) -> int:
        canonical, mark = look(line)
        if canonical != line:
            line, digest = canonical, packs.digest_of(canonical)
            if (number := self._index.get(digest)) is not None:
                return number
        number = self._index[digest] = self._base + self._new
        self._open[side].add(line, digest, mark)
        self._turns[side].append(self._new)
        self._new += 1
        self._bytes += len(line)
        if self._bytes >= packs.MOST_BYTES:
            self._flush()
        return number

    def _flush(self) -> None:
        """Make a pack of what waits."""
        rows = Draft()
        for side, waiting in self._open.items():
            rows.join(waiting)
            self._places += self._turns[side]
        self._open = {side: Draft() for side in self._open}
        self._turns = {side: [] for side in self._turns}
        self._bytes = 0
        self._settle()
        if rows.lines:
            self._digests.append(b"".join(rows.digests))
            self._making = self._hands.submit(lambda: (self._blobs.put_bytes(packs.build(rows)), len(rows.lines)))

    def _settle(self) -> None:
        """Wait for the pack that is being made."""
        if self._making is not None:
            self._packs.append(self._making.result())
            self._making = None

    def close(self) -> tuple[Manifest, str]:
        """The manifest of all rows taken, and their digest: of content, order and sides alone. Raises DiskFull."""
        self._flush()
        self._settle()
        final = np.arange(self._base + self._new, dtype=np.uint32)
        final[self._base + np.array(self._places, np.int64)] = np.arange(self._base, self._base + self._new, dtype=np.uint32)
        sides = {side: final[np.array(numbers, np.int64)] for side, numbers in self._numbers.items()}
        digests = np.frombuffer(b"".join(self._digests), np.dtype((np.void, packs.DIGEST)))
        return self._needed(sides), _digest({side: blake3.blake3(digests[numbers].tobytes()) for side, numbers in sides.items()})

    def _needed(self, sides: dict[str, Numbers]) -> Manifest:
        """The manifest with the packs alone that hold one of the rows."""
        ends = np.cumsum([rows for _, rows in self._packs], dtype=np.int64)
        used = np.unique(np.concatenate([np.searchsorted(ends, numbers, "right") for numbers in sides.values()]))
        kept = [self._packs[i] for i in used.tolist()]
        dropped = np.array([rows for _, rows in self._packs], np.int64)
        dropped[used] = 0
        shift = np.cumsum(dropped)
        renumbered = {
            side: (numbers - shift[np.searchsorted(ends, numbers, "right")]).astype(np.uint32) for side, numbers in sides.items()
        }
        return Manifest(packs=tuple(name for name, _ in kept), rows=tuple(rows for _, rows in kept), sides=renumbered)


def content_digest(rows: Iterable[tuple[bytes, str]], sides: Sequence[str]) -> str:
    """The digest that stored rows (canonical lines with their sides, in order) would have."""
    hashed = {side: blake3.blake3() for side in sides}
    for line, side in rows:
        hashed[side].update(packs.digest_of(line))
    return _digest(hashed)


def _digest(hashed: Mapping[str, blake3.blake3]) -> str:
    return digest_json({"format": FORMAT, "splits": {side: f"blake3:{each.hexdigest()}" for side, each in hashed.items()}})


def _index(shared: Sequence[Pack]) -> dict[bytes, int]:
    """Digest → number of the row that stands there; an erased row stands nowhere."""
    found: dict[bytes, int] = {}
    base = 0
    for pack in shared:
        numbers = range(base, base + pack.rows)
        each = [pack.digests[i : i + packs.DIGEST] for i in range(0, len(pack.digests), packs.DIGEST)]
        if pack.gone.any():
            found |= {digest: number for digest, number, gone in zip(each, numbers, pack.gone.tolist(), strict=True) if not gone}
        else:
            found.update(zip(each, numbers, strict=True))
        base += pack.rows
    return found
