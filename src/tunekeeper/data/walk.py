"""Going through a draft beside what is known of the one before: what is the same is passed over, what is new is looked at.

A run of known rows is known by one hash. Where that differs, each of its rows is: so one edited row costs no more than a few
others. Rows that moved are looked for nearby, and everywhere once many are not there.
"""

from __future__ import annotations

import mmap
from array import array
from bisect import bisect_left
from io import BytesIO
from itertools import accumulate, pairwise

from xxhash import xxh3_64_digest, xxh3_128_digest

from tunekeeper.data import lines
from tunekeeper.data.tallies import SIDES
from tunekeeper.store.marks import Mark, digests_of
from tunekeeper.store.runs import MARK, NEW, ROW, Known, Looked

MOST = 6
"""Rows of a run: longer ones are fewer, and more of them have an edited row."""
LEAST = 3
"""Rows of a run that is taken as it is; what is left of a shorter one is joined with what follows."""
NEAR = 64
"""Rows before and behind the place where a row should stand, in which it is looked for."""
LOST = 32
"""Rows that were not found, beyond as many single ones that were, after which they are looked for everywhere."""


class Walk:
    """A way through a draft, one stretch after the other."""

    def __init__(self, known: Known, *, inside: bool = False) -> None:
        """`inside`: it begins anywhere in the draft."""
        self._known = known
        self._begins = [0, *accumulate(known.counts)]
        self._row = 0
        self._run = 0
        self._missed = LOST if inside else 0
        self._everywhere: dict[bytes, int] | None = None

    def over(self, text: bytes | mmap.mmap, at: int = 0) -> Looked:
        """What stands in a stretch of whole lines, from the byte `at` on. Raises orjson.JSONDecodeError."""
        if not self._known.sides:
            return _all_new(text[at:], self._known.seed)
        known, begins = self._known, self._begins
        sizes, counts, marks, hashes, seed = known.sizes, known.counts, known.marks, known.hashes, known.seed
        find, end, rows, runs = text.find, len(text), len(known.sides), len(known.counts)
        # `row`: the known row that should come next; `run`: the known run that it begins, else the next one behind it.
        row, run = self._row, self._run
        with memoryview(text) as view:
            seen = _Seen(view, seed)
            while at < end:
                if row == begins[run] and run < runs and counts[run] >= LEAST:
                    stop, mark = at + sizes[run], marks[MARK * run : MARK * run + MARK]
                    if stop <= end and xxh3_128_digest(view[at:stop], seed) == mark:
                        seen.known(mark, row, counts[run], at, stop)
                        run += 1
                        row, at = begins[run], stop
                        continue
                stop = find(b"\n", at) + 1 or end
                mark = xxh3_64_digest(view[at:stop], seed)
                place = row if hashes[ROW * row : ROW * row + ROW] == mark else self._place(mark, row)
                if place < 0:
                    seen.new(text[at:stop], mark, at, stop)
                    row = min(row + 1, rows)
                    run += row > begins[run]
                else:
                    self._missed -= self._missed > 0
                    seen.row(place, at, stop)
                    run = run + (row == begins[run]) if place == row else bisect_left(begins, place + 1)
                    row = place + 1
                at = stop
            self._row, self._run = row, run
            return seen.looked(end)

    def _place(self, mark: bytes, row: int) -> int:
        """Which known row hashes like this; below 0 for none."""
        hashes = self._known.hashes
        at = hashes.find(mark, ROW * max(0, row - NEAR), ROW * (row + NEAR))
        if at >= 0 and at % ROW == 0:
            return at // ROW
        self._missed += 1
        if self._everywhere is None:
            if self._missed <= LOST or not hashes:
                return -1
            every = (hashes[i : i + ROW] for i in range(0, len(hashes), ROW))
            self._everywhere = {each: number for number, each in enumerate(every)}
        return self._everywhere.get(mark, -1)


def _all_new(text: bytes, seed: int) -> Looked:
    """What stands in a stretch where nothing is known."""
    each = BytesIO(text).readlines()
    seen = lines.seen(each)
    canonical = [line for line, _, _ in seen]
    ends = [0, *accumulate(map(len, each))]
    cuts = [*ends[:-1:MOST], len(text)]
    with memoryview(text) as view:
        marks = [xxh3_128_digest(view[begin:end], seed) for begin, end in pairwise(cuts)]
    return Looked(
        seed=seed,
        steps=array("I", [NEW, len(each)]).tobytes(),
        marks=b"".join(marks),
        sizes=array("I", [end - begin for begin, end in pairwise(cuts)]).tobytes(),
        counts=array("I", [len(each[first : first + MOST]) for first in range(0, len(each), MOST)]).tobytes(),
        lines=canonical,
        digests=digests_of(canonical),
        sides=bytes(side != SIDES[0] for _, side, _ in seen),
        hashes=b"".join([xxh3_64_digest(line, seed) for line in each]),
        told=[list(column) for column in zip(*(told for _, _, told in seen), strict=True)],
    )


class _Seen:
    """What was seen in a stretch so far."""

    def __init__(self, view: memoryview, seed: int) -> None:
        self._view = view
        self._seed = seed
        self._steps = array("I")
        self._first, self._count = NEW, 0
        self._marks: list[bytes] = []
        self._sizes, self._counts = array("I"), array("I")
        # The run that is not closed yet.
        self._begin, self._waiting = 0, 0
        self._lines: list[bytes] = []
        self._sides = bytearray()
        self._hashes: list[bytes] = []
        self._told: list[Mark] = []

    def known(self, mark: bytes, row: int, count: int, at: int, stop: int) -> None:
        """Known rows that follow each other, from `row` on: a run from the byte `at` to `stop`."""
        if self._waiting:
            self._close(at)
        self._marks.append(mark)
        self._sizes.append(stop - at)
        self._counts.append(count)
        if self._first + self._count == row and self._first != NEW:
            self._count += count
        else:
            self._step(row, count)

    def row(self, row: int, at: int, stop: int) -> None:
        """One known row."""
        if self._first + self._count == row and self._first != NEW:
            self._count += 1
        else:
            self._step(row, 1)
        self._one(at, stop)

    def new(self, line: bytes, mark: bytes, at: int, stop: int) -> None:
        """A new row: a line of a draft, with its hash. Raises orjson.JSONDecodeError."""
        ((canonical, side, told),) = lines.seen([line])
        self._lines.append(canonical)
        self._told.append(told)
        self._sides.append(side != SIDES[0])
        self._hashes.append(mark)
        if self._first == NEW and self._count:
            self._count += 1
        else:
            self._step(NEW, 1)
        self._one(at, stop)

    def looked(self, end: int) -> Looked:
        """All of it, up to the byte `end`."""
        if self._waiting:
            self._close(end)
        self._step(NEW, 0)
        return Looked(
            seed=self._seed,
            steps=self._steps.tobytes(),
            marks=b"".join(self._marks),
            sizes=self._sizes.tobytes(),
            counts=self._counts.tobytes(),
            lines=self._lines,
            digests=digests_of(self._lines),
            sides=bytes(self._sides),
            hashes=b"".join(self._hashes),
            told=[list(column) for column in zip(*self._told, strict=True)],
        )

    def _step(self, first: int, count: int) -> None:
        if self._count:
            self._steps.append(self._first)
            self._steps.append(self._count)
        self._first, self._count = first, count

    def _one(self, at: int, stop: int) -> None:
        """A row that belongs to the open run."""
        if not self._waiting:
            self._begin = at
        self._waiting += 1
        if self._waiting == MOST:
            self._close(stop)

    def _close(self, at: int) -> None:
        self._marks.append(xxh3_128_digest(self._view[self._begin : at], self._seed))
        self._sizes.append(at - self._begin)
        self._counts.append(self._waiting)
        self._waiting = 0
