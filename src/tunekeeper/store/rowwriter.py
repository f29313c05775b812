"""Storing the rows of a dataset version: what a pack holds already is only named, the rest goes into new packs."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import blake3
import numpy as np
import numpy.typing as npt

from tunekeeper.core.ids import digest_json
from tunekeeper.store import packs
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.manifests import Manifest, Numbers
from tunekeeper.store.packs import Draft, Mark, Pack
from tunekeeper.store.runs import Found, Known

Look = Callable[[bytes], tuple[bytes, Mark]]
"""A row that no pack holds yet → its canonical line, and what is counted of it."""
Row = tuple[bytes, str]
"""A line, with its side."""
FORMAT = 2
TOGETHER = 256 << 10
"""Bytes of rows that are looked up together: they stay in the processor's caches."""
_Part = TypeVar("_Part", bound=Sized)


_New = tuple[int, bytes, bytes, Mark]
"""A row that no pack holds: its number for now, its line, its digest, what is counted of it."""


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
        self._come: dict[bytes, int] = {}
        self._open: dict[str, list[_New]] = {side: [] for side in sides}
        self._places: list[int] = []
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

    def take(self, rows: Iterable[Row], look: Look) -> None:
        """Store these rows: lines with their sides, in order. Raises DiskFull."""
        for some in _together(rows, lambda row: len(row[0])):
            self._put(some, self._numbers_of(some, look))

    def take_runs(self, runs: Iterable[bytes], split: Callable[[bytes], Sequence[Row]], look: Look, known: Known) -> Found:
        """Store the rows of runs of whole lines; `split` gives those of one. A run of `known` is not looked into."""
        marks: list[bytes] = []
        counts = array("I")
        turns: list[int | None] = []
        fresh: list[Sequence[Row]] = []
        held = 0
        for run in runs:
            marks.append(mark := packs.digest_of(run))
            turns.append(turn := known.turns.get(mark))
            if turn is None:
                fresh.append(split(run))
                held += len(run)
            if held >= TOGETHER:
                self._name(turns, fresh, look, known, counts)
                turns, fresh, held = [], [], 0
        self._name(turns, fresh, look, known, counts)
        return Found(marks=b"".join(marks), counts=counts.tobytes())

    def _name(
        self, turns: Sequence[int | None], fresh: Sequence[Sequence[Row]], look: Look, known: Known, counts: array[int]
    ) -> None:
        """Name the rows of some runs: of known ones by their turns, of others, `fresh`, by what is found or added."""
        found = self._numbers_of([row for rows in fresh for row in rows], look)
        waiting, at = iter(fresh), 0
        first = last = 0  # known runs that come again in a row
        for turn in turns:
            if turn == last:
                last += 1
                continue
            self._again(known, first, last, counts)
            first, last = (0, 0) if turn is None else (turn, turn + 1)
            if turn is None:
                rows = next(waiting)
                before = [len(side) for side in self._numbers.values()]
                self._put(rows, found[at : at + len(rows)])
                at += len(rows)
                counts.extend([len(side) - n for side, n in zip(self._numbers.values(), before, strict=True)])
        self._again(known, first, last, counts)

    def _again(self, known: Known, first: int, last: int, counts: array[int]) -> None:
        """Name the rows of known runs."""
        if first == last:
            return
        numbers, counted = known.between(first, last)
        for side, more in zip(self._numbers.values(), numbers, strict=True):
            side.frombytes(more)
        counts.frombytes(counted)

    def _put(self, rows: Sequence[Row], found: Sequence[int]) -> None:
        """Put rows of these numbers at the end of their sides."""
        for (_, side), number in zip(rows, found, strict=True):
            self._numbers[side].append(number)

    def _numbers_of(self, rows: Sequence[Row], look: Look) -> list[int]:
        """The numbers of rows; those that are nowhere yet are added."""
        digests = packs.digests_of([line for line, _ in rows])
        found, come = self._index.find(digests), self._come
        for place, (digest, number) in enumerate(zip(digests, found, strict=True)):
            if number < 0:
                known = come.get(digest)
                found[place] = self._added(*rows[place], digest, look) if known is None else known
        if self._bytes >= packs.MOST_BYTES:
            self._flush()
        return found

    def _added(self, line: bytes, side: str, digest: bytes, look: Look) -> int:
        canonical, mark = look(line)
        if canonical != line:
            line, digest = canonical, packs.digest_of(canonical)
            if (known := self._come.get(digest, self._index.find([digest])[0])) >= 0:
                return known
        number = self._come[digest] = self._base + len(self._come)
        self._open[side].append((number, line, digest, mark))
        self._bytes += len(line)
        return number

    def _flush(self) -> None:
        """Make a pack of what waits."""
        waiting = [row for rows in self._open.values() for row in rows]
        self._open = {side: [] for side in self._open}
        self._bytes = 0
        self._settle()
        if waiting:
            turns, lines, digests, marks = (list(column) for column in zip(*waiting, strict=True))
            rows = Draft(lines, digests, *(list(column) for column in zip(*marks, strict=True)))
            self._places += turns
            self._digests.append(b"".join(digests))
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
        final = np.arange(self._base + len(self._places), dtype=np.uint32)
        final[np.array(self._places, np.int64)] = np.arange(self._base, len(final), dtype=np.uint32)
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


def _together(parts: Iterable[_Part], size: Callable[[_Part], int]) -> Iterator[list[_Part]]:
    """Parts in lists of so many bytes."""
    some: list[_Part] = []
    held = 0
    for part in parts:
        some.append(part)
        held += size(part)
        if held >= TOGETHER:
            yield some
            some, held = [], 0
    if some:
        yield some


class _Index:
    """Which numbers rows have that packs hold already, by their digests: many at a time, in a sorted list of how those begin. A
    dictionary of a million takes longer to make than most versions need to be stored."""

    def __init__(self, shared: Sequence[Pack]) -> None:
        gone = np.concatenate([np.empty(0, bool), *(pack.gone for pack in shared)])
        self._digests = np.frombuffer(bytearray().join(pack.digests for pack in shared), ">u4").reshape(-1, packs.DIGEST // 4)
        numbers = np.flatnonzero(~gone)  # an erased row stands nowhere
        self._keys: npt.NDArray[np.uint64] = np.sort(_begin(self._digests[numbers]) | numbers.astype(np.uint64))
        """The first 32 bits of each digest, with the number of its row behind them."""

    def find(self, digests: Sequence[bytes]) -> list[int]:
        """The number of the first row with each of these digests; -1 where there is none."""
        found = np.full(len(digests), -1, np.int64)
        if len(self._keys):
            wanted = np.frombuffer(b"".join(digests), ">u4").reshape(-1, packs.DIGEST // 4)
            begin, open_ = _begin(wanted), np.arange(len(digests))
            at = np.searchsorted(self._keys, begin)
            while len(open_):  # several rows may begin alike
                open_ = open_[at[open_] < len(self._keys)]
                numbers = self._keys[at[open_]] ^ begin[open_]
                alike = numbers < np.uint64(1 << 32)
                open_, numbers = open_[alike], numbers[alike].astype(np.int64)
                equal = (self._digests[numbers] == wanted[open_]).all(axis=1)
                found[open_[equal]] = numbers[equal]
                open_ = open_[~equal]
                at[open_] += 1
        return found.tolist()


def _begin(digests: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    return digests[:, 0].astype(np.uint64) << np.uint64(32)
