"""Reading the rows of one dataset version out of its packs: whole sides as a stream, or some rows by their numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

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
_MANY = 8
"""One row of so many of a pack, from which on all of the pack is checked: that takes as long as checking those rows."""
_CACHED = 32
"""Blocks that are kept while rows are picked out of them: rows of a small pack come in between those of others."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marks:
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

    @cached_property
    def _whole(self) -> bool:
        """Whether no row was erased."""
        return not self.gone.any()

    def present(self, side: str) -> Numbers:
        """The numbers of a side's rows in order, less the erased ones."""
        numbers = self.manifest.sides.get(side, np.empty(0, np.uint32))
        return numbers if self._whole else numbers[~self.gone[numbers]]

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
        """These rows, each with its line end and checked by its digest; `packs.GONE` for an erased one. Raises ArtifactError."""
        order = np.argsort(numbers, kind="stable")
        wanted = numbers[order]
        blocks = np.searchsorted(self._starts, wanted, "right") - 1
        inside = (wanted - self._starts[blocks]).tolist()
        first = np.flatnonzero(np.diff(blocks, prepend=-1))
        picked: list[bytes] = []
        cuts = [*first.tolist(), len(wanted)]
        for (a, b), rows in zip(pairwise(cuts), self._each(blocks[first]), strict=True):
            picked += [rows[i] + b"\n" for i in inside[a:b]]
        self._check(wanted, picked)
        return [picked[i] for i in np.argsort(order).tolist()]

    def _check(self, wanted: Numbers, picked: Sequence[bytes]) -> None:
        """Look whether rows, in the order of their numbers, are what was stored. A pack of which many are wanted is checked in
        one go. Raises ArtifactError."""
        cuts = np.searchsorted(wanted, self._bases).tolist()
        for pack, name, (a, b) in zip(self._packs, self.manifest.packs, pairwise(cuts), strict=True):
            if a == b or name in self._checked:
                continue
            if (b - a) * _MANY >= pack.rows and pack.digest() == name:
                self._checked.add(name)
                continue
            rows = zip(picked[a:b], digests_of(picked[a:b]), self.digests(wanted[a:b]).tolist(), strict=True)
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

    def _each(self, blocks: npt.NDArray[np.int64]) -> Iterator[list[bytes]]:
        """The rows of these blocks in order without their line ends, block by block."""
        cuts = np.searchsorted(blocks, self._first_block).tolist()
        for pack, base, (a, b) in zip(self._packs, self._first_block[:-1], pairwise(cuts), strict=True):
            yield from pack.each(blocks[a:b] - base)

    def _read(self, blocks: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """These blocks in order, many at a time; the next ones are decompressed while somebody looks at these."""
        from concurrent.futures import ThreadPoolExecutor  # here: a difference does without

        with ThreadPoolExecutor(max_workers=1) as hands:
            coming = None
            for pack, inside in self._together(blocks):
                ahead = hands.submit(pack.blocks, inside)
                if coming is not None:
                    yield from coming.result()
                coming = ahead
            if coming is not None:
                yield from coming.result()

    def _together(self, wanted: npt.NDArray[np.int64]) -> Iterator[tuple[packs.Pack, npt.NDArray[np.int64]]]:
        """These blocks by their numbers inside a pack, as many of one pack as are read at once."""
        owner, sizes = self._pack_of[wanted], np.cumsum(self._block_bytes[wanted]) // _AHEAD
        cuts = np.flatnonzero((np.diff(owner) != 0) | (np.diff(sizes) != 0)) + 1
        for some in np.split(wanted, cuts) if len(wanted) else ():
            number = int(self._pack_of[some[0]])
            yield self._packs[number], some - self._first_block[number]

    def _lines(self, block: int) -> list[bytes]:
        if block not in self._kept:
            pack = int(self._pack_of[block])
            return self._keep(block, self._packs[pack].block(block - self._first_block[pack]))
        self._kept.move_to_end(block)
        return self._kept[block]

    def _keep(self, block: int, lines: list[bytes]) -> list[bytes]:
        """Keep the lines of a block for a while. Raises ArtifactError when there are not as many as it should have."""
        if len(lines) != self._block_rows[block]:
            raise ArtifactError("a pack is damaged: a block cannot be read", fix="tunekeeper store verify")
        self._kept[block] = lines
        if len(self._kept) > _CACHED:
            self._kept.popitem(last=False)
        return lines

    @cached_property
    def _block_rows(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *(pack.block_rows for pack in self._packs)])

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Number of the first row of each block."""
        return np.concatenate([[0], np.cumsum(self._block_rows)])

    @cached_property
    def _block_of(self) -> npt.NDArray[np.int64]:
        """The block of each row, by its number."""
        return np.repeat(np.arange(len(self._block_rows)), self._block_rows)

    @cached_property
    def _holed(self) -> npt.NDArray[np.bool_]:
        """Whether a row of the block was erased."""
        holed = np.zeros(len(self._block_rows), bool)
        holed[self._block_of[self.gone]] = True
        return holed

    @cached_property
    def _block_bytes(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *(pack.block_bytes for pack in self._packs)])

    @cached_property
    def _pack_of(self) -> npt.NDArray[np.int64]:
        """The pack of each block."""
        return np.repeat(np.arange(len(self._packs)), [len(pack.block_rows) for pack in self._packs])

    @cached_property
    def _first_block(self) -> list[int]:
        return [0, *np.cumsum([len(pack.block_rows) for pack in self._packs]).tolist()]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Apart:
    """Which rows of two versions differ, by their numbers; erased rows are in neither."""

    only_a: dict[str, Numbers]
    """Side → rows that only A holds, by A's numbers."""
    only_b: dict[str, Numbers]
    """Side → rows that only B holds, by B's numbers."""
    moved: dict[str, Numbers]
    """Side in A → rows that both hold on different sides, by A's numbers."""
    kept: Numbers
    """Rows that both hold, by A's numbers."""


def apart(a: Reader, b: Reader) -> Apart:
    """Compare two versions by their manifests, without reading a row."""
    base, total = {}, 0
    for pack, rows in zip(a.manifest.packs + b.manifest.packs, a.manifest.rows + b.manifest.rows, strict=True):
        if pack not in base:
            base[pack], total = total, total + rows
    sides = tuple(dict.fromkeys((*a.manifest.sides, *b.manifest.sides)))
    olds, news = ({side: _placed(reader, side, base) for side in sides} for reader in (a, b))
    in_a, in_b = np.zeros(total, np.uint8), np.zeros(total, np.uint8)
    for place, found in ((in_a, olds), (in_b, news)):
        for code, (_, places) in enumerate(found.values(), 1):
            place[places] = code
    only_a, only_b = _apart(olds, in_b), _apart(news, in_a)
    if _join_equal(a, b, (in_a, in_b), (only_a, only_b)):
        only_a, only_b = _apart(olds, in_b), _apart(news, in_a)
    there = {side: in_b[places] for side, (_, places) in olds.items()}
    return Apart(
        only_a={side: rows for side, (rows, _) in only_a.items()},
        only_b={side: rows for side, (rows, _) in only_b.items()},
        moved={side: rows[(there[side] != 0) & (there[side] != code)] for code, (side, (rows, _)) in enumerate(olds.items(), 1)},
        kept=np.concatenate([rows[there[side] != 0] for side, (rows, _) in olds.items()]),
    )


Placed = tuple[Numbers, npt.NDArray[Any]]
"""Rows by their numbers, and their places where all packs of both versions are counted through."""


def _placed(reader: Reader, side: str, base: dict[str, int]) -> Placed:
    """The rows of a side. `base`: the place of each pack's first row."""
    rows, start, shifts = reader.present(side), 0, list[int]()
    for pack, count in zip(reader.manifest.packs, reader.manifest.rows, strict=True):
        shifts.append(base[pack] - start)
        start += count
    if not any(shifts):  # as always of the first version, and of one that was made from it
        return rows, rows
    return rows, rows + np.repeat(shifts, reader.manifest.rows)[rows]


def _apart(sides: Mapping[str, Placed], other: npt.NDArray[np.uint8]) -> dict[str, Placed]:
    """The rows of each side that the other version does not hold."""
    found = {}
    for side, (rows, places) in sides.items():
        alone = np.flatnonzero(other[places] == 0)
        found[side] = rows[alone], places[alone]
    return found


def _join_equal(
    a: Reader,
    b: Reader,
    held: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    alone: tuple[Mapping[str, Placed], Mapping[str, Placed]],
) -> bool:
    """Rows that are the same by their digests though they lie in two packs count as held by both. Says whether there were any."""
    in_a, in_b = held
    (left, to_a), (right, to_b) = (
        tuple(np.concatenate([np.empty(0, np.uint32), *(each[i] for each in sides.values())]) for i in (0, 1)) for sides in alone
    )
    if not len(left) or not len(right):
        return False
    mine, theirs = a.digests(left), b.digests(right)
    begins = mine.view("u8")[::2], theirs.view("u8")[::2]
    shared = np.intersect1d(*begins, assume_unique=True)  # most often none: then nothing has to be looked up
    like, alike = (np.isin(each, shared) for each in begins)
    known = dict(zip(mine[like].tolist(), to_a[like].tolist(), strict=True))
    equal = False
    for digest, place in zip(theirs[alike].tolist(), to_b[alike].tolist(), strict=True):
        if (other := known.get(digest)) is not None:
            in_b[other], in_a[place] = in_b[place], in_a[other]
            equal = True
    return equal


def _opened(blobs: Blobs, pack: str) -> packs.Pack:
    if not blobs.has(pack):
        raise NotFound(f"blob {pack} is not in this workspace", fix="restore it from a backup")
    return packs.Pack(blobs.path(pack))
