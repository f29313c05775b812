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
from tunekeeper.store.runs import Found, Known, Looked

Look = Callable[[bytes], tuple[bytes, Mark]]
"""A row that no pack holds yet → its canonical line, and what is counted of it."""
Row = tuple[bytes, str]
"""A line, with its side."""
Told = tuple[str, bool, float]
"""What is counted of a row, as in a `Mark`."""
FORMAT = 2
TOGETHER = 256 << 10
"""Bytes of rows that are looked up together: they stay in the processor's caches."""
_Part = TypeVar("_Part", bound=Sized)


class Writer:
    """The rows of one version on their way into the store."""

    def __init__(self, blobs: Blobs, shared: Sequence[tuple[str, Pack]], sides: Sequence[str]) -> None:
        """`shared`: packs by digest whose rows may be named. `sides`: every side a row may be on."""
        self._blobs = blobs
        self._packs = [(name, pack.rows) for name, pack in shared]
        self._digests = [pack.digests for _, pack in shared]
        self._base = sum(pack.rows for _, pack in shared)
        self._index = _Index([pack for _, pack in shared])
        self._sides = tuple(sides)
        self._numbers: list[list[Numbers]] = [[] for _ in sides]
        # A new row gets the number that its turn gives it, and another one when its pack is made: a pack holds one side after
        # the other, so that a side is read in whole blocks.
        self._come: dict[bytes, int] = {}
        self._open = Draft()
        self._on = bytearray()
        self._places: list[npt.NDArray[np.int64]] = []
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
        place = {side: i for i, side in enumerate(self._sides)}
        for some in _together(rows, lambda row: len(row[0])):
            lines = [line for line, _ in some]
            self._add(lines, packs.digests_of(lines), bytes(place[side] for _, side in some), [], look)

    def take_runs(self, seen: Iterable[Looked], look: Look, known: Known) -> Found:
        """Store the rows of runs, and nothing besides; those of the runs of `known` are only named. Raises DiskFull."""
        marks: list[bytes] = []
        turns = array("q")
        counts = [np.empty((0, len(self._sides)), np.uint32)]
        for some in seen:
            marks += some.marks
            turns.extend(some.turns)
            digests = some.digests or packs.digests_of(some.lines)
            self._add(some.lines, digests, some.sides, list(zip(*some.told, strict=True)), look)
            counts.append(self._counted(some))
        counted = self._between(known, np.frombuffer(turns, np.int64), np.concatenate(counts))
        return Found(marks=b"".join(marks), counts=counted.tobytes())

    def _counted(self, some: Looked) -> Numbers:
        """How many rows each new run has on each side, a line for each."""
        run, places = np.repeat(np.arange(len(some.counts)), some.counts), len(self._sides)
        on_side = np.bincount(run * places + np.frombuffer(some.sides, np.uint8), minlength=len(some.counts) * places)
        return on_side.reshape(-1, places).astype(np.uint32)

    def _between(self, known: Known, turns: npt.NDArray[np.int64], added: Numbers) -> Numbers:
        """Put the rows of known runs between those that were added. `turns`: which known run each is, below 0 for a new one;
        `added`: how many rows each new one has on each side. Returns that of every run."""
        new = turns < 0
        if new.all():
            return added
        counts = np.empty((len(turns), len(self._sides)), np.uint32)
        counts[new], counts[~new] = added, known.counts[turns[~new]]
        for place, own in enumerate(self._numbers):
            long = counts[:, place].astype(np.int64)
            of_new = np.repeat(new, long)
            # How far the numbers of a known run lie from where they go.
            shift = known.begins[turns[~new], place] - (np.cumsum(long) - long)[~new]
            numbers = np.empty(len(of_new), np.uint32)
            numbers[of_new] = np.concatenate([np.empty(0, np.uint32), *own])
            numbers[~of_new] = known.numbers[place][np.flatnonzero(~of_new) + np.repeat(shift, long[~new])]
            self._numbers[place] = [numbers]
        return counts

    def _add(self, lines: Sequence[bytes], digests: Sequence[bytes], sides: bytes, told: Sequence[Told], look: Look) -> None:
        """Put rows at the ends of their sides; those that are nowhere yet are stored. `told`: what is counted of each, where the
        lines are canonical already, else empty."""
        found = self._index.find(digests)
        if told and max(found) < 0 and self._come.keys().isdisjoint(once := dict.fromkeys(digests)) and len(once) == len(found):
            found = self._all_stored(lines, sides, digests, told)
        for place, number in enumerate(found):
            if number < 0:
                known = self._come.get(digest := digests[place])
                if known is None and told:
                    known = self._stored(lines[place], sides[place], digest, told[place])
                elif known is None:
                    known = self._looked(lines[place], sides[place], digest, look)
                found[place] = known
        numbers, on = np.array(found, np.uint32), np.frombuffer(sides, np.uint8)
        for side, own in enumerate(self._numbers):
            own.append(numbers[on == side])
        if self._bytes >= packs.MOST_BYTES:
            self._flush()

    def _looked(self, line: bytes, side: int, digest: bytes, look: Look) -> int:
        """The number of a row that is known nowhere by its line."""
        canonical, told = look(line)
        if canonical == line:
            return self._stored(line, side, digest, told)
        digest = packs.digest_of(canonical)
        known = self._come.get(digest, self._index.find([digest])[0])
        return self._stored(canonical, side, digest, told) if known < 0 else known

    def _stored(self, line: bytes, side: int, digest: bytes, told: Told) -> int:
        number = self._come[digest] = self._base + len(self._come)
        for column, value in zip(self._open.columns(), (line, digest, *told), strict=True):
            column.append(value)
        self._on.append(side)
        self._bytes += len(line)
        return number

    def _all_stored(self, lines: Sequence[bytes], sides: bytes, digests: Sequence[bytes], told: Sequence[Told]) -> list[int]:
        """The numbers of rows that are new, each of them."""
        first = self._base + len(self._come)
        numbers = list(range(first, first + len(lines)))
        self._come.update(zip(digests, numbers, strict=True))
        topics, made_up, dates = zip(*told, strict=True)
        columns = (lines, digests, topics, made_up, dates)
        for column, more in zip(self._open.columns(), columns, strict=True):
            column.extend(more)
        self._on += sides
        self._bytes += sum(map(len, lines))
        return numbers

    def _flush(self, *, last: bool = False) -> None:
        """Make a pack of what waits. `last`: nothing is done meanwhile."""
        waiting, order = self._open, np.argsort(np.frombuffer(self._on, np.uint8), kind="stable")
        self._open, self._on, self._bytes = Draft(), bytearray(), 0
        self._settle()
        if len(order):
            turns = order.tolist()
            rows = Draft(*([column[turn] for turn in turns] for column in waiting.columns()))
            self._places.append(self._base + len(self._come) - len(order) + order)
            self._digests.append(b"".join(rows.digests))
            self._making = self._hands.submit(lambda: (self._blobs.put_bytes(packs.build(rows, alone=last)), len(rows.lines)))

    def _settle(self) -> None:
        """Wait for the pack that is being made."""
        if self._making is not None:
            self._packs.append(self._making.result())
            self._making = None

    def close(self) -> tuple[Manifest, str]:
        """The manifest of all rows taken, and their digest: of content, order and sides alone. Raises DiskFull."""
        self._flush(last=True)
        final = np.arange(self._base + len(self._come), dtype=np.uint32)
        final[np.concatenate([np.empty(0, np.int64), *self._places])] = np.arange(self._base, len(final), dtype=np.uint32)
        numbers = (final[np.concatenate([np.empty(0, np.uint32), *own])] for own in self._numbers)
        sides = dict(zip(self._sides, numbers, strict=True))
        digests = np.frombuffer(b"".join(self._digests), np.dtype((np.void, packs.DIGEST)))
        digest = _digest({side: blake3.blake3(digests[numbers].tobytes()) for side, numbers in sides.items()})
        self._settle()
        return self._needed(sides), digest

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
