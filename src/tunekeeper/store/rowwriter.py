"""Storing the rows of a dataset version: what a pack holds already is only named, the rest goes into new packs."""

from __future__ import annotations

import gc
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import blake3
import numpy as np

from tunekeeper.core.ids import digest_json
from tunekeeper.store import packs
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.manifests import Manifest, Numbers
from tunekeeper.store.packs import Draft, Mark, Pack
from tunekeeper.store.runs import Found, Known

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
        self._index = _Index([pack for _, pack in shared])
        self._numbers = {side: array("I") for side in sides}
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
        find, numbers, digest_of = self._index.find, self._numbers, packs.digest_of
        for line, side in rows:
            before = numbers[side]
            number = find(digest := digest_of(line), before[-1] + 1 if before else 0)
            before.append(self._added(line, digest, side, look) if number is None else number)

    def take_runs(
        self, runs: Iterable[bytes], split: Callable[[bytes], Iterable[tuple[bytes, str]]], look: Look, known: Known
    ) -> Found:
        """Store the rows of runs of whole lines; `split` gives those of one. A run of `known` is not looked into."""
        marks: list[bytes] = []
        counts = array("I")
        first = last = 0  # runs of `known` that come again in a row
        for run in runs:
            marks.append(mark := packs.digest_of(run))
            turn = known.turns.get(mark)
            if turn == last:
                last += 1
                continue
            self._again(known, first, last, counts)
            first, last = (0, 0) if turn is None else (turn, turn + 1)
            if turn is None:
                before = [len(side) for side in self._numbers.values()]
                self.take(split(run), look)
                counts.extend([len(side) - n for side, n in zip(self._numbers.values(), before, strict=True)])
        self._again(known, first, last, counts)
        return Found(marks=b"".join(marks), counts=counts.tobytes())

    def _again(self, known: Known, first: int, last: int, counts: array[int]) -> None:
        """Name the rows of known runs."""
        if first == last:
            return
        numbers, counted = known.between(first, last)
        for side, more in zip(self._numbers.values(), numbers, strict=True):
            side.frombytes(more)
        counts.frombytes(counted)

    def name(self, numbers: Mapping[str, Numbers]) -> None:
        """Name rows of the shared packs, side → their numbers; of equal ones always the first."""
        first = self._index.firsts()
        for side, each in numbers.items():
            self._numbers[side].frombytes(first[each].tobytes())

    def _added(self, line: bytes, digest: bytes, side: str, look: Look) -> int:
        canonical, mark = look(line)
        if canonical != line:
            line, digest = canonical, packs.digest_of(canonical)
            if (number := self._index.find(digest)) is not None:
                return number
        number = self._index.new[digest] = self._base + self._new
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
        sides = {side: final[np.frombuffer(numbers, np.uintc)] for side, numbers in self._numbers.items()}
        digests = np.frombuffer(b"".join(self._digests), np.dtype((np.void, packs.DIGEST)))
        return self._needed(sides), _digest({side: blake3.blake3(digests[numbers].tobytes()) for side, numbers in sides.items()})

    def _needed(self, sides: dict[str, Numbers]) -> Manifest:
        """The manifest with the packs alone that hold one of the rows."""
        rows = np.array([rows for _, rows in self._packs], np.int64)
        pack_of = np.repeat(np.arange(len(rows)), rows)
        used = np.zeros(len(rows), bool)
        for numbers in sides.values():
            used |= np.bincount(pack_of[numbers], minlength=len(rows)) > 0
        kept = [self._packs[i] for i in np.flatnonzero(used).tolist()]
        shift = np.repeat(np.cumsum(np.where(used, 0, rows)), rows).astype(np.uint32)
        renumbered = {side: numbers - shift[numbers] for side, numbers in sides.items()}
        return Manifest(packs=tuple(name for name, _ in kept), rows=tuple(rows for _, rows in kept), sides=renumbered)


def content_digest(rows: Iterable[tuple[bytes, str]], sides: Sequence[str]) -> str:
    """The digest that stored rows (canonical lines with their sides, in order) would have."""
    hashed = {side: blake3.blake3() for side in sides}
    for line, side in rows:
        hashed[side].update(packs.digest_of(line))
    return _digest(hashed)


def _digest(hashed: Mapping[str, blake3.blake3]) -> str:
    return digest_json({"format": FORMAT, "splits": {side: f"blake3:{each.hexdigest()}" for side, each in hashed.items()}})


class _Index:
    """Which number the row with a digest has. A dictionary of a million digests takes longer to make than most versions need to
    be stored, so the rows that packs hold already are found in a sorted list of how their digests begin."""

    def __init__(self, shared: Sequence[Pack]) -> None:
        gone = np.concatenate([np.empty(0, bool), *(pack.gone for pack in shared)])
        self.new: dict[bytes, int] = {}
        """Digest → number of each row that came since."""
        digests = np.frombuffer(bytearray().join(pack.digests for pack in shared), ">u4").reshape(-1, packs.DIGEST // 4)
        digests[gone] = 0  # an erased row stands nowhere
        self._digests = digests.tobytes()
        numbers = np.flatnonzero(~gone)
        self._keys = np.sort(digests[numbers, 0].astype(np.uint64) << np.uint64(32) | numbers.astype(np.uint64))
        """The first 32 bits of each digest, with the number of its row behind them."""
        self._sorted: list[int] = self._keys.tolist()
        # Where the keys that begin with the same 16 bits begin: a search through all of them misses every cache.
        self._begin: list[int] = np.searchsorted(self._keys, np.arange(1 << 16, dtype=np.uint64) << np.uint64(48)).tolist()
        self._begin.append(len(self._sorted))

    def firsts(self) -> Numbers:
        """The number of the first row that has the digest of each."""
        first = np.arange(len(self._digests) // packs.DIGEST, dtype=np.uint32)
        alike = np.flatnonzero(np.diff(self._keys >> np.uint64(32)) == 0)
        for number in np.unique(self._keys[np.concatenate([alike, alike + 1])] & np.uint64(0xFFFFFFFF)).tolist():
            found = self.find(self._digests[number * packs.DIGEST : (number + 1) * packs.DIGEST])
            first[number] = number if found is None else found
        return first

    def find(self, digest: bytes, guess: int | None = None) -> int | None:
        """The number of the row with this digest: `guess` where it is that, else the first; None where there is none."""
        if guess is not None and self._digests[guess * packs.DIGEST : (guess + 1) * packs.DIGEST] == digest:
            return guess
        begin = int.from_bytes(digest[:4], "big")
        at, end = self._begin[begin >> 16], self._begin[(begin >> 16) + 1]
        at = bisect_left(self._sorted, begin << 32, at, end)
        while at < end and self._sorted[at] >> 32 == begin:
            number = self._sorted[at] & 0xFFFFFFFF
            if self._digests[number * packs.DIGEST : (number + 1) * packs.DIGEST] == digest:
                return number
            at += 1
        return self.new.get(digest)
