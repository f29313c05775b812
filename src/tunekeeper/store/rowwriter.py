"""Storing the rows of a dataset version: what a pack holds already is only named, the rest goes into new packs."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import blake3
import numpy as np
import numpy.typing as npt

from tunekeeper.core.ids import digest_json
from tunekeeper.store import packs
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.manifests import Manifest, Numbers
from tunekeeper.store.marks import DIGEST, Mark, digest_of, digests_of
from tunekeeper.store.packs import Draft, Pack, Sheet
from tunekeeper.store.runs import NEW, Known, Looked

Look = Callable[[bytes], tuple[bytes, Mark]]
"""A row that no pack holds yet → its canonical line, and what is counted of it."""
Row = tuple[bytes, str]
"""A line, with its side."""
FORMAT = 2
TOGETHER = 256 << 10
"""Bytes of rows that are looked up together: they stay in the processor's caches."""
_Part = TypeVar("_Part", bound=Sized)
_Kind = TypeVar("_Kind", bound=np.generic)


class Writer:
    """The rows of one version on their way into the store."""

    def __init__(self, blobs: Blobs, shared: Sequence[tuple[str, Pack]], sides: Sequence[str]) -> None:
        """`shared`: packs by digest whose rows may be named. `sides`: every side a row may be on."""
        self._blobs = blobs
        self._packs = [(name, pack.rows) for name, pack in shared]
        self._digests: list[bytes | memoryview] = [pack.digests for _, pack in shared]
        self._base = sum(pack.rows for _, pack in shared)
        self._index = _Index([pack for _, pack in shared])
        self._sides = tuple(sides)
        self._numbers: list[list[Numbers]] = [[] for _ in sides]
        # A new row gets the number that its turn gives it, and another one when its pack is made: a pack holds one side after
        # the other, so that a side is read in whole blocks.
        self._come: dict[bytes, int] = {}
        self._open: list[list[Sheet]] = [[] for _ in sides]
        self._on: list[bytes] = []
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
            lines, sides = [line for line, _ in some], bytes(place[side] for _, side in some)
            self._name(self._found(lines, sides, look), np.frombuffer(sides, np.uint8))

    def take_draft(self, seen: Iterable[Looked], known: Known, numbers: Numbers) -> Known:
        """Store the rows of a draft, and nothing besides; those that are `known` are only named, by their `numbers`. Returns
        what is known of it, but for its version. Raises DiskFull."""
        parts, added = list[Looked](), [np.empty(0, np.uint32)]
        for some in seen:
            if some.text:
                added.append(self._come_with(some))
            parts.append(replace(some, text=b"", lengths=b"", digests=b"", topics=[], made_up=b"", dates=b""))
        self._flush(last=True)
        first, count = np.frombuffer(b"".join(part.steps for part in parts), "<u4").reshape(-1, 2).astype(np.int64).T
        new = np.repeat(first == NEW, count)
        # The place of each row among the known ones; nothing that counts where it is new.
        places = (np.repeat(first - (np.cumsum(count) - count), count) + np.arange(len(new)))[~new]

        def among(old: npt.NDArray[_Kind], fresh: npt.NDArray[_Kind]) -> npt.NDArray[_Kind]:
            both = np.empty(len(new), old.dtype)
            both[~new], both[new] = old[places], fresh
            return both

        sides = among(np.frombuffer(known.sides, np.uint8), np.frombuffer(b"".join(part.sides for part in parts), np.uint8))
        hashes = among(np.frombuffer(known.hashes, "<u8"), np.frombuffer(b"".join(part.hashes for part in parts), "<u8"))
        self._name(among(numbers, np.concatenate(added)), sides)
        return Known(
            seed=parts[0].seed if parts else known.seed,
            marks=b"".join(part.marks for part in parts),
            sizes=array("I", b"".join(part.sizes for part in parts)),
            counts=array("I", b"".join(part.counts for part in parts)),
            hashes=hashes.tobytes(),
            sides=sides.tobytes(),
        )

    def _name(self, numbers: Numbers, sides: npt.NDArray[np.uint8]) -> None:
        """Put rows at the ends of their sides."""
        for side, own in enumerate(self._numbers):
            own.append(numbers[sides == side])

    def _come_with(self, some: Looked) -> Numbers:
        """The numbers of the new rows of a draft; those that are nowhere yet are stored."""
        rows = Sheet(
            text=some.text,
            sizes=np.frombuffer(some.lengths, "<u4").astype(np.int64),
            digests=some.digests,
            topics=some.topics,
            made_up=np.frombuffer(some.made_up, bool),
            dates=np.frombuffer(some.dates, "<f8"),
        )
        found, digests = self._index.find(some.digests), _each(some.digests)
        if found.max() < 0 and (numbers := self._all_come(digests)) is not None:
            self._store(rows, some.sides)
            return numbers
        fresh = []
        for place in np.flatnonzero(found < 0).tolist():
            known = self._come.get(digest := digests[place])
            if known is None:
                known = self._come[digest] = self._base + len(self._come)
                fresh.append(place)
            found[place] = known
        if fresh:
            self._store(rows.at(np.array(fresh)), bytes(some.sides[place] for place in fresh))
        return found.astype(np.uint32)

    def _all_come(self, digests: Sequence[bytes]) -> Numbers | None:
        """The numbers of rows none of which came before; None where one did, or comes twice."""
        first = self._base + len(self._come)
        if not self._come.keys().isdisjoint(digests):
            return None
        self._come.update(zip(digests, range(first, first + len(digests)), strict=True))
        if self._base + len(self._come) == first + len(digests):
            return np.arange(first, first + len(digests), dtype=np.uint32)
        for digest in digests:
            self._come.pop(digest, None)
        return None

    def _found(self, lines: Sequence[bytes], sides: bytes, look: Look) -> Numbers:
        """The numbers of rows; those that are nowhere yet are looked at and stored."""
        digests, rows, on = digests_of(lines), Draft(), bytearray()
        found = self._index.find(b"".join(digests))
        for place in np.flatnonzero(found < 0).tolist():
            line, digest, known = lines[place], digests[place], self._come.get(digests[place], -1)
            if known < 0:
                canonical, told = look(line)
                if canonical != line:  # it is known by another line, if at all
                    line, digest = canonical, digest_of(canonical)
                    known = self._come.get(digest, int(self._index.find(digest)[0]))
                if known < 0:
                    known = self._come[digest] = self._base + len(self._come)
                    rows.add(line, digest, told)
                    on.append(sides[place])
            found[place] = known
        if on:
            self._store(rows.sheet(), bytes(on))
        return found.astype(np.uint32)

    def _store(self, rows: Sheet, sides: bytes) -> None:
        """Rows that got their numbers, in their order."""
        on = np.frombuffer(sides, np.uint8)
        for side, open_ in enumerate(self._open):
            if len(own := np.flatnonzero(on == side)):
                open_.append(rows.at(own))
        self._on.append(sides)
        self._bytes += len(rows.text)
        if self._bytes >= packs.MOST_BYTES:
            self._flush()

    def _flush(self, *, last: bool = False) -> None:
        """Make a pack of what waits. `last`: nothing is done meanwhile."""
        waiting = [sheet for open_ in self._open for sheet in open_]
        order = np.argsort(np.frombuffer(b"".join(self._on), np.uint8), kind="stable")
        self._open, self._on, self._bytes = [[] for _ in self._sides], [], 0
        self._settle()
        if waiting:
            self._places.append(self._base + len(self._come) - len(order) + order)
            self._digests.append(b"".join([each.digests for each in waiting]))
            self._making = self._hands.submit(lambda: (self._made(waiting, last), len(order)))

    def _made(self, waiting: Sequence[Sheet], last: bool) -> str:
        """The digest of a pack of these rows."""
        return self._blobs.put_bytes(packs.build(packs.joined(waiting), alone=last))

    def _settle(self) -> None:
        """Wait for the pack that is being made."""
        if self._making is not None:
            self._packs.append(self._making.result())
            self._making = None

    def close(self) -> tuple[Manifest, str]:
        """The manifest of all rows taken, and their digest: of content, order and sides alone. Raises DiskFull."""
        if self._bytes:
            self._flush(last=True)
        final = np.arange(self._base + len(self._come), dtype=np.uint32)
        final[np.concatenate([np.empty(0, np.int64), *self._places])] = np.arange(self._base, len(final), dtype=np.uint32)
        numbers = (final[np.concatenate([np.empty(0, np.uint32), *own])] for own in self._numbers)
        sides = dict(zip(self._sides, numbers, strict=True))
        digests = np.frombuffer(b"".join(self._digests), "<u8").reshape(-1, DIGEST // 8)
        digest = _digest({side: blake3.blake3(digests.take(numbers, axis=0).tobytes()) for side, numbers in sides.items()})
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
        hashed[side].update(digest_of(line))
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
        self._digests = np.frombuffer(bytearray().join(pack.digests for pack in shared), ">u4").reshape(-1, DIGEST // 4)
        begins = _begin(self._digests)
        begins |= np.arange(len(begins), dtype=np.uint64)
        self._keys: npt.NDArray[np.uint64] = begins[~gone] if gone.any() else begins  # an erased row stands nowhere
        """The first 32 bits of each digest, with the number of its row behind them."""
        self._keys.sort()

    def find(self, digests: bytes) -> npt.NDArray[np.int64]:
        """The number of the first row with each of these digests, which follow each other; -1 where there is none."""
        wanted = np.frombuffer(digests, ">u4").reshape(-1, DIGEST // 4)
        found = np.full(len(wanted), -1, np.int64)
        if len(self._keys):
            begin, open_ = _begin(wanted), np.arange(len(wanted))
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
        return found


def _each(digests: bytes) -> list[bytes]:
    """Digests that follow each other, one by one."""
    return [digests[i : i + DIGEST] for i in range(0, len(digests), DIGEST)]


def _begin(digests: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    return digests[:, 0].astype(np.uint64) << np.uint64(32)
