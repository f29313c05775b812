"""Reading the rows of one dataset version out of its packs: whole sides as a stream, or some rows by their numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tunekeeper.core.errors import ArtifactError, NotFound
from tunekeeper.store import packs
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.manifests import Manifest, Numbers
from tunekeeper.store.marks import digests_of

_NEIGHBOURS = 200
_AHEAD = 8 << 20
"""Bytes of blocks that are read at once where it is known which ones will be."""
_AT_ONCE = 1 << 20
"""The same where only a few rows of each are wanted: as much as a processor has beside it."""
_CACHED = 32
"""Blocks that are kept while rows are picked out of them: rows of a small pack come in between those of others."""


class Marks(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What is counted of rows without reading them, one entry a row."""

    topic: npt.NDArray[np.int64]
    """Number of the row's topic."""
    topics: tuple[str, ...]
    """Topics by their numbers; an empty name for rows without one."""
    made_up: npt.NDArray[np.bool_]
    """Whether a machine made up the row."""
    at: npt.NDArray[np.float64]
    """The row's date, seconds since 1970; nan without one."""


class Reader:
    """The rows of one version."""

    def __init__(self, blobs: Blobs, manifest: Manifest, there: Mapping[str, packs.Pack] | None = None) -> None:
        """`there`: packs that are open, by digest. Raises NotFound when a pack is missing, ArtifactError when an index is
        damaged."""
        self.manifest = manifest
        self._blobs = blobs
        known = there or {}
        self._packs: list[packs.Pack] = [known.get(pack) or _opened(blobs, pack) for pack in manifest.packs]
        if tuple(pack.rows for pack in self._packs) != manifest.rows:
            raise ArtifactError("a pack has not the rows that a manifest says", fix="tunekeeper store verify")
        self._bases = np.concatenate([[0], np.cumsum(manifest.rows, dtype=np.int64)])
        self._checked = set[str]()
        self._kept: OrderedDict[int, list[bytes]] = OrderedDict()

    @property
    def opened(self) -> dict[str, packs.Pack]:
        """Its packs, by digest."""
        return dict(zip(self.manifest.packs, self._packs, strict=True))

    def digests(self, numbers: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.void]:
        """The digests of these rows."""
        found = np.empty(len(numbers), packs.DIGESTS)
        for pack, own, inside in self._lying(numbers):
            found[own] = np.frombuffer(pack.digests, packs.DIGESTS)[inside]
        return found

    def _lying(
        self, numbers: npt.NDArray[np.integer[Any]]
    ) -> Iterator[tuple[packs.Pack, npt.NDArray[np.bool_], npt.NDArray[np.integer[Any]]]]:
        """The packs in which these rows lie: which of the rows each has, and their numbers in it."""
        owner = np.searchsorted(self._bases, numbers, "right") - 1
        for pack in np.flatnonzero(np.bincount(owner)).tolist():
            own = owner == pack
            yield self._packs[pack], own, numbers[own] - self._bases[pack]

    @cached_property
    def gone(self) -> npt.NDArray[np.bool_]:
        """Whether a row was erased, by its number."""
        return np.concatenate([np.empty(0, bool), *(pack.gone for pack in self._packs)])

    @property
    def whole(self) -> bool:
        """Whether no row of its packs was erased."""
        return all(pack.whole for pack in self._packs)

    def present(self, side: str) -> Numbers:
        """The numbers of a side's rows in order, less the erased ones."""
        numbers = self.manifest.sides.get(side, np.empty(0, np.uint32))
        return numbers if self.whole else numbers[~self.gone[numbers]]

    @cached_property
    def _topics(self) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
        """The number of each row's topic, and the topics by their numbers."""
        names: dict[str, int] = {}
        codes = [np.empty(0, np.int64)]
        for pack in self._packs:
            codes.append(np.array([names.setdefault(topic, len(names)) for topic in pack.topics], np.int64)[pack.topic])
        return np.concatenate(codes), tuple(names)

    def topics(self, numbers: Numbers) -> dict[str, int]:
        """Topic, empty for rows without one → how many of these rows have it."""
        counted = {topic: 0 for pack in self._packs for topic in pack.topics}
        for pack, _, inside in self._lying(numbers):
            for topic, n in zip(pack.topics, np.bincount(pack.topic[inside], minlength=len(pack.topics)).tolist(), strict=True):
                counted[topic] += n
        return {topic: n for topic, n in counted.items() if n}

    def marks(self, numbers: Numbers) -> Marks:
        """The marks of these rows."""
        topic, names = self._topics
        made_up = np.concatenate([np.empty(0, bool), *(pack.made_up for pack in self._packs)])
        dates = np.concatenate([np.empty(0), *(pack.at for pack in self._packs)])
        return Marks(topic=topic[numbers], topics=names, made_up=made_up[numbers], at=dates[numbers])

    def pieces(self, side: str) -> Iterator[bytes]:
        """All rows of a side in order, many at a time, less the erased ones. The packs are checked by their digests first.

        Raises ArtifactError."""
        numbers = self.manifest.sides.get(side)
        if numbers is None or not len(numbers):
            return
        self.verified()
        yield from self._runs(numbers)

    def verified(self) -> Reader:
        """This reader, once every pack was found to have the digest that is its name. Raises ArtifactError."""
        for pack in self.manifest.packs:
            if pack not in self._checked and not self._blobs.verify(pack):
                raise ArtifactError(f"blob {pack} is damaged: its bytes have another digest", fix="restore it from a backup")
            self._checked.add(pack)
        return self

    def pick(self, numbers: Numbers) -> list[bytes]:
        """These rows, each with its line end and checked; `packs.GONE` for an erased one. Raises ArtifactError."""
        order = np.argsort(numbers, kind="stable")
        picked = [line for text in self.texts(numbers[order]) for line in packs.lines_of(text)]
        return [picked[i] for i in np.argsort(order).tolist()]

    def texts(self, numbers: Numbers) -> Iterator[bytes]:
        """The same of rows whose numbers ascend, many in one piece. Raises ArtifactError."""
        blocks = np.searchsorted(self._starts, numbers, "right") - 1
        first = np.flatnonzero(np.diff(blocks, prepend=-1))
        inside, edges, at = numbers - self._starts[blocks], np.append(first, len(numbers)), 0
        for number, some in self._together(blocks[first], _AT_ONCE):
            own = edges[at : at + len(some) + 1]
            at += len(some)
            pack, (a, b) = self._packs[number], own[[0, -1]].tolist()
            text = pack.pick(some, np.diff(own), inside[a:b])
            if not pack.checked and self.manifest.packs[number] not in self._checked:
                self._check(numbers[a:b], text)
            yield text

    def _check(self, numbers: Numbers, text: bytes) -> None:
        """Look whether rows of a pack without checksums are what was stored. Raises ArtifactError."""
        lines = packs.lines_of(text)
        rows = zip(lines, digests_of(lines), self.digests(numbers).tolist(), strict=True)
        if not all(line == packs.GONE or found == digest for line, found, digest in rows):
            raise ArtifactError("a pack is damaged: a row has another digest", fix="tunekeeper store verify")

    def sample(self, numbers: Numbers, most: int) -> Iterator[bytes]:
        """About `most` of these rows, spread evenly, neighbours in one piece; all of them where there are no more."""
        step = max(1, len(numbers) // most)
        for start in range(0, len(numbers), _NEIGHBOURS * step):
            yield from self._runs(numbers[start : start + _NEIGHBOURS])

    def _runs(self, numbers: Numbers) -> Iterator[bytes]:
        """Rows in order: a block as it is where all of it follows, else line by line."""
        block = self._block_of[numbers]
        cuts = np.flatnonzero(np.diff(block)) + 1
        first, last = np.concatenate([[0], cuts]), np.concatenate([cuts, [len(numbers)]])
        jumps = np.concatenate([[0], np.cumsum(np.diff(numbers) != 1)])
        whole = (last - first == self._block_rows[block[first]]) & (jumps[last - 1] == jumps[first]) & ~self._holed[block[first]]
        whole &= numbers[first] == self._starts[block[first]]
        ahead = whole.copy()
        parts = np.flatnonzero(~whole)
        ahead[parts[np.unique(block[first][parts], return_index=True)[1]]] = True
        blocks = self._read(block[first][ahead])
        steps = zip(first.tolist(), last.tolist(), block[first].tolist(), whole.tolist(), ahead.tolist(), strict=True)
        for a, b, one, all_of_it, come in steps:
            if all_of_it:
                yield next(blocks)
                continue
            if come:
                self._keep(one, packs.lines_of(next(blocks)))
            lines, start = self._lines(one), int(self._starts[one])
            piece = b"".join([line for n in numbers[a:b].tolist() if (line := lines[n - start]) != packs.GONE])
            if piece:
                yield piece

    def _read(self, blocks: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """These blocks in order, many at a time; the next ones are decompressed while somebody looks at these."""
        from concurrent.futures import ThreadPoolExecutor  # here: a difference does without

        with ThreadPoolExecutor(max_workers=1) as hands:
            coming = None
            for number, inside in self._together(blocks, _AHEAD):
                ahead = hands.submit(self._packs[number].blocks, inside)
                if coming is not None:
                    yield from coming.result()
                coming = ahead
            if coming is not None:
                yield from coming.result()

    def _together(self, wanted: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """These blocks by the number of their pack and those inside it, some `most` bytes of one pack at a time."""
        owner = np.searchsorted(self._first_block, wanted, "right") - 1
        sizes = np.cumsum(self._block_bytes[wanted], dtype=np.int64) // most
        cuts = np.flatnonzero((np.diff(owner) != 0) | (np.diff(sizes) != 0)) + 1
        for some in np.split(wanted, cuts) if len(wanted) else ():
            number = bisect_right(self._first_block, some[0]) - 1
            yield number, some - self._first_block[number]

    def _lines(self, block: int) -> list[bytes]:
        if block not in self._kept:
            pack = bisect_right(self._first_block, block) - 1
            return self._keep(block, self._packs[pack].block(block - self._first_block[pack]))
        self._kept.move_to_end(block)
        return self._kept[block]

    def _keep(self, block: int, lines: list[bytes]) -> list[bytes]:
        """Keep the lines of a block for a while. Raises ArtifactError when there are not as many as it should have."""
        if len(lines) != self._block_rows[block]:
            raise packs.damaged()
        self._kept[block] = lines
        if len(self._kept) > _CACHED:
            self._kept.popitem(last=False)
        return lines

    @cached_property
    def _block_rows(self) -> npt.NDArray[np.uint32]:
        return np.concatenate([np.empty(0, np.uint32), *(pack.block_rows for pack in self._packs)])

    @cached_property
    def _starts(self) -> Numbers:
        """Number of the first row of each block."""
        return np.cumsum(self._block_rows, dtype=np.uint32) - self._block_rows

    @cached_property
    def _block_of(self) -> npt.NDArray[np.int64]:
        """The block of each row, by its number."""
        return np.repeat(np.arange(len(self._block_rows)), self._block_rows)

    @cached_property
    def _holed(self) -> npt.NDArray[np.bool_]:
        """Whether a row of the block was erased."""
        holed = np.zeros(len(self._block_rows), bool)
        if not self.whole:
            holed[self._block_of[self.gone]] = True
        return holed

    @cached_property
    def _block_bytes(self) -> npt.NDArray[np.uint32]:
        return np.concatenate([np.empty(0, np.uint32), *(pack.block_bytes for pack in self._packs)])

    @cached_property
    def _first_block(self) -> list[int]:
        return [0, *np.cumsum([len(pack.block_rows) for pack in self._packs]).tolist()]


class Apart(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Which rows of two versions differ, by their numbers; erased rows are in neither."""

    only_a: dict[str, Numbers]
    """Side → rows that only A holds, by A's numbers."""
    only_b: dict[str, Numbers]
    """Side → rows that only B holds, by B's numbers."""
    moved: dict[str, Numbers]
    """Side in A → rows that both hold on different sides, by A's numbers."""
    shared: int
    """How many rows both hold."""
    held: Sequence[tuple[Numbers, npt.NDArray[np.uint8]]]
    """Rows of A, by A's numbers, and the side that each has in B, 0 for none."""

    @property
    def kept(self) -> Numbers:
        """Rows that both hold, by A's numbers."""
        return np.concatenate([rows[there != 0] for rows, there in self.held])


def apart(a: Reader, b: Reader) -> Apart:
    """Compare two versions by their manifests, without reading a row."""
    base, total = {}, 0
    for pack, rows in zip(a.manifest.packs + b.manifest.packs, a.manifest.rows + b.manifest.rows, strict=True):
        if pack not in base:
            base[pack], total = total, total + rows
    sides = tuple(dict.fromkeys((*a.manifest.sides, *b.manifest.sides)))
    olds, news = ([_placed(reader, side, base) for side in sides] for reader in (a, b))
    place = np.zeros(total, np.uint8)
    for code, (_, at) in enumerate(news, 1):
        place[at] = code
    there = [place[at].copy() for _, at in olds]
    for _, at in olds:
        place[at] = 0
    alone_a, alone_b = [np.flatnonzero(each == 0) for each in there], [np.flatnonzero(place[at]) for _, at in news]
    only_a = [rows[own] for (rows, _), own in zip(olds, alone_a, strict=True)]
    only_b = [rows[own] for (rows, _), own in zip(news, alone_b, strict=True)]
    for (side, n), (other, m) in _equal(a, b, only_a, only_b):
        there[side][alone_a[side][n]] = other + 1
        alone_b[other][m] = -1
    only_a = [rows[each == 0] for (rows, _), each in zip(olds, there, strict=True)]
    only_b = [rows[own[own >= 0]] for (rows, _), own in zip(news, alone_b, strict=True)]
    moved = [rows[(each != 0) & (each != code)] for code, ((rows, _), each) in enumerate(zip(olds, there, strict=True), 1)]
    return Apart(
        only_a=dict(zip(sides, only_a, strict=True)),
        only_b=dict(zip(sides, only_b, strict=True)),
        moved=dict(zip(sides, moved, strict=True)),
        shared=sum(map(len, there)) - sum(map(len, only_a)),
        held=[(rows, each) for (rows, _), each in zip(olds, there, strict=True)],
    )


Places = slice | npt.NDArray[np.intp]


def _placed(reader: Reader, side: str, base: dict[str, int]) -> tuple[Numbers, Places]:
    """The rows of a side by their numbers, and their places where all packs of both versions are counted through. `base`: the
    place of each pack's first row."""
    rows, start, shifts = reader.present(side), 0, list[int]()
    for pack, count in zip(reader.manifest.packs, reader.manifest.rows, strict=True):
        shifts.append(base[pack] - start)
        start += count
    at = rows.astype(np.intp)
    if any(shifts):  # never of the first version, nor of one that was made from it
        at += np.repeat(shifts, reader.manifest.rows)[rows]
    if len(at) and at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all():
        return rows, slice(int(at[0]), int(at[-1]) + 1)  # as of a first version: copied at once
    return rows, at


def _equal(
    a: Reader, b: Reader, only_a: Sequence[Numbers], only_b: Sequence[Numbers]
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Rows that are the same by their digests though they lie in two packs: of each its side in A and its place among `only_a`
    there, and the same of B."""
    left, right = (np.concatenate([np.empty(0, np.uint32), *each]) for each in (only_a, only_b))
    if not len(left) or not len(right):
        return
    mine, theirs = a.digests(left), b.digests(right)
    begins = mine.view("u8")[::2], theirs.view("u8")[::2]
    shared = np.intersect1d(*begins, assume_unique=True)  # most often none: then nothing has to be looked up
    like, alike = (np.flatnonzero(np.isin(each, shared)) for each in begins) if len(shared) else (shared, shared)
    known = dict(zip(mine[like].tolist(), like.tolist(), strict=True))
    for digest, n in zip(theirs[alike].tolist(), alike.tolist(), strict=True):
        if (other := known.get(digest)) is not None:
            yield _among(only_a, other), _among(only_b, n)


def _among(sides: Sequence[Numbers], n: int) -> tuple[int, int]:
    """The side of the row of this place where the rows of all sides follow each other, and its place there."""
    for side, rows in enumerate(sides):
        if n < len(rows):
            return side, n
        n -= len(rows)
    raise IndexError(n)


def _opened(blobs: Blobs, pack: str) -> packs.Pack:
    if not blobs.has(pack):
        raise NotFound(f"blob {pack} is not in this workspace", fix="restore it from a backup")
    return packs.Pack(blobs.path(pack))
