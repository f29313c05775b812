"""Going through a draft beside what is known of the one before: what is the same is passed over, what is new is looked at.

A run of known rows is known by one hash. Where that differs, each of its rows is: so one edited row costs no more than a few
others. Rows that moved are looked for nearby, and everywhere once many are not there.
"""

from __future__ import annotations

import mmap
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate, pairwise
from typing import Any

from xxhash import xxh3_64_digest, xxh3_128_digest

from tunekeeper.data import lines
from tunekeeper.store.marks import digests_of
from tunekeeper.store.runs import MARK, NEW, ROW, Known, Looked

MOST = 6
"""Rows of a run: longer ones are fewer, and more of them have an edited row."""
LEAST = 3
"""Rows of a run that is taken as it is; what is left of a shorter one is joined with what follows."""
NEAR = 64
"""Rows before and behind the place where a row should stand, in which it is looked for."""
LOST = 32
"""Rows that were not found, beyond as many single ones that were, after which they are looked for everywhere."""
_ENDLESS = 1 << 62


class Walk:
    """A way through a draft, one stretch after the other."""

    def __init__(self, known: Known, *, inside: bool = False) -> None:
        """`inside`: it begins anywhere in the draft."""
        self._known = known
        self._begins = [0, *accumulate(known.counts)]
        # The bytes of each run; one that is too short counts as endless, as does what stands behind the last: it is nowhere.
        self._sizes = [size if n >= LEAST else _ENDLESS for size, n in zip(known.sizes, known.counts, strict=True)] + [_ENDLESS]
        self._row = 0
        self._run = 0
        self._missed = LOST if inside else 0
        self._everywhere: dict[bytes, int] | None = None

    def over(self, text: bytes | mmap.mmap, at: int = 0) -> Looked:
        """What stands in a stretch of whole lines, from the byte `at` on. Raises DataError for a line that is none."""
        if not self._known.sides:
            return _all_new(text[at:], self._known.seed)
        known, begins = self._known, self._begins
        hashes, seed, find, end, rows = known.hashes, known.seed, text.find, len(text), len(known.sides)
        # `row`: the known row that should come next; `run`: the known run that it begins, else the next one behind it.
        row, run = self._row, self._run
        with memoryview(text) as view:
            seen = _Seen(view, seed)
            while at < end:
                if row == begins[run]:
                    last, stop = self._same(view, at, run)
                    if last > run:
                        seen.known(known, run, last, row, begins[last] - row, at)
                        row, run, at = begins[last], last, stop
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

    def _same(self, view: memoryview, at: int, run: int) -> tuple[int, int]:
        """The runs from `run` on that stand at the byte `at`, each behind the other: the first that does not, and where."""
        marks, sizes, seed, end = self._known.marks, self._sizes, self._known.seed, len(view)
        while True:
            stop = at + sizes[run]
            if stop > end or xxh3_128_digest(view[at:stop], seed) != marks[MARK * run : MARK * run + MARK]:
                return run, at
            run, at = run + 1, stop

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
    ends = [0, *accumulate(map(len, each))]
    cuts = [*ends[:-1:MOST], len(text)]
    with memoryview(text) as view:
        marks = [xxh3_128_digest(view[begin:end], seed) for begin, end in pairwise(cuts)]
    return _looked(
        each,
        [xxh3_64_digest(line, seed) for line in each],
        seed=seed,
        steps=array("I", [NEW, len(each)]).tobytes(),
        marks=b"".join(marks),
        sizes=array("I", [end - begin for begin, end in pairwise(cuts)]).tobytes(),
        counts=array("I", [len(each[first : first + MOST]) for first in range(0, len(each), MOST)]).tobytes(),
    )


def _looked(new: Sequence[bytes], hashes: Sequence[bytes], **seen: Any) -> Looked:
    """A stretch with these new lines of a draft. Raises DataError for a line that is none."""
    rows = lines.seen(new)
    return Looked(
        text=b"".join(rows.lines),
        lengths=array("I", map(len, rows.lines)).tobytes(),
        digests=b"".join(digests_of(rows.lines)),
        sides=bytes(rows.sides),
        hashes=b"".join(hashes),
        topics=rows.topics,
        made_up=bytes(rows.made_up),
        dates=rows.dates.tobytes(),
        **seen,
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
        self._hashes: list[bytes] = []

    def known(self, known: Known, first: int, last: int, row: int, count: int, at: int) -> None:
        """Known rows that follow each other, `count` from `row` on: the runs from `first` to before `last`, at the byte `at`."""
        if self._waiting:
            self._close(at)
        self._marks.append(known.marks[MARK * first : MARK * last])
        self._sizes += known.sizes[first:last]
        self._counts += known.counts[first:last]
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
        """A new row: a line of a draft, with its hash."""
        self._lines.append(line)
        self._hashes.append(mark)
        if self._first == NEW and self._count:
            self._count += 1
        else:
            self._step(NEW, 1)
        self._one(at, stop)

    def looked(self, end: int) -> Looked:
        """All of it, up to the byte `end`. Raises DataError for a line that is none."""
        if self._waiting:
            self._close(end)
        self._step(NEW, 0)
        return _looked(
            self._lines,
            self._hashes,
            seed=self._seed,
            steps=self._steps.tobytes(),
            marks=b"".join(self._marks),
            sizes=self._sizes.tobytes(),
            counts=self._counts.tobytes(),
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
