"""Rows as lines: the draft holds one canonical line a row with its side in it, a version holds the same line without the side.

A row that a version holds already is known by its line and never parsed: only the end of a line has to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.examples import LINE, created_of, decode, encode, topic_in
from tunekeeper.data.tallies import SIDES, says_synthetic
from tunekeeper.store.packs import Mark

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Line = tuple[bytes, Split]
"""A row without its side, with its line end; its side."""
# Keys are sorted: what can follow `split` is `tools`, which ends in a bracket, and `weight`, which ends in a digit. So a line
# that ends like these says its side here, and one that ends in `"}` without it has nothing behind `source`.
_TRAIN, _EVAL, _END, _PLAIN = b',"split":"train"}', b',"split":"eval"}', b"}\n", b'"}\n'
_USUAL = ("fingerprint", "id", "messages", "metadata", "source")
_NAN = float("nan")
_BEGINS_AT = 30
"""A byte of a canonical line within the hex digits of its fingerprint: every other line has one below 8 there, and may begin a
run."""
_LEAST = 5
"""Lines of a run, the last one of a file aside. Runs that are about equally long share the fewest with a row that was edited."""
_CHUNK = 512 << 10
"""Bytes of a draft that are read at once; a run without an end in them ends with their last whole line."""


def of_draft(path: Path) -> Iterator[Line]:
    """The rows of a draft's file, in order; none when it is missing."""
    for runs in runs_of_draft(path):
        lines, sides, _ = of_runs(runs)
        yield from ((line, SIDES[side]) for line, side in zip(lines, sides, strict=True))


def of_runs(runs: Sequence[memoryview]) -> tuple[list[bytes], bytes, list[int]]:
    """The rows of some runs of a draft, for each the place of its side in `SIDES`; how many rows each run has."""
    import numpy as np  # a command that reads no draft is not to wait for it

    block = b"".join(runs)
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    train, held = (_end_with(each, data, ends) for each in (_TRAIN, _EVAL))
    begins = [0, *(ends[:-1] + 1).tolist()]
    cuts = (ends - np.where(train, len(_TRAIN), len(_EVAL))).tolist()
    lines = [block[begin:cut] + _END for begin, cut in zip(begins, cuts, strict=True)]
    sides = bytearray(held)
    for odd in np.flatnonzero(~(train | held)).tolist():
        lines[odd], side = _row(block[begins[odd] : ends[odd]])
        sides[odd] = SIDES.index(side)
    counts: list[int] = np.diff(np.searchsorted(begins, np.cumsum([0, *map(len, runs)]))).tolist()
    return lines, bytes(sides), counts


def _end_with(end: bytes, data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether the lines that end at these places end like this."""
    import numpy as np

    before = np.maximum(ends[:, None] - np.arange(len(end), 0, -1), 0)
    found: npt.NDArray[np.bool_] = (data[before] == np.frombuffer(end, np.uint8)).all(axis=1)
    return found


def _row(line: bytes) -> Line:
    example = decode(line)
    return encode(example), example.split


def spans_of_draft(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """A draft's file in stretches of whole lines and of about `size` bytes: where each begins and ends; none when it is
    missing."""
    if not path.exists():
        return
    begin, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while begin < end:
            file.seek(begin + size - 1)
            file.readline()
            until = min(file.tell(), end)
            yield begin, until
            begin = until


def runs_of_draft(path: Path, begin: int = 0, end: int | None = None) -> Iterator[list[memoryview]]:
    """The lines of a draft's file, or of it between two beginnings of lines, in runs of some 6, many at a time; none when it is
    missing. A run has 5 lines at least and ends before one whose fingerprint says so: where lines came in or went, the runs
    behind them are soon the same again. What is given holds until the next is asked for."""
    if not path.exists():
        return
    end = path.stat().st_size if end is None else end
    buffer = bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while begin < end:
            file.seek(begin)
            size = file.readinto(memoryview(buffer)[: end - begin])
            if not size:
                return
            starts = _starts(buffer, size)
            if begin + size == end:
                starts.append(size)
            elif not starts:
                starts.append(buffer.rfind(b"\n", 0, size) + 1)
            if not starts[-1]:  # not even a line has its end here
                buffer = bytearray(2 * len(buffer))
                continue
            chunk = memoryview(buffer)
            yield [chunk[a:b] for a, b in pairwise([0, *starts])]
            begin += starts[-1]


def _starts(buffer: bytearray, size: int) -> list[int]:
    """Where runs begin in the first `size` bytes, the first one of them aside."""
    import numpy as np

    data = np.frombuffer(buffer, np.uint8, size)
    lines = np.flatnonzero(data == ord("\n")) + 1
    lines = lines[: np.searchsorted(lines, size - _BEGINS_AT)]
    may = np.flatnonzero(data[lines + _BEGINS_AT] < ord("8"))
    places: list[int] = lines[may].tolist()
    # For each of them, the first one that lies so many lines behind it.
    behind = np.searchsorted(may, may + _LEAST).tolist()
    at = int(np.searchsorted(may, _LEAST - 1))
    starts = []
    while at < len(places):
        starts.append(places[at])
        at = behind[at]
    return starts


def of_examples(examples: Iterable[Example]) -> Iterator[Line]:
    """Rows as lines, in order. Raises DataError for one that cannot be written."""
    return ((encode(example), example.split) for example in examples)


def for_draft(line: bytes, side: Split) -> bytes:
    """The line of a draft."""
    if line.endswith(_PLAIN):
        return line[:-2] + (_TRAIN if side == "train" else _EVAL) + b"\n"
    return encode(decode(line, side), with_split=True)


def look(line: bytes) -> tuple[bytes, Mark]:
    """The canonical line of a row, and what is counted of it."""
    row = orjson.loads(line)
    if tuple(row) != _USUAL:
        row = orjson.loads(encode(decode(line)))
    metadata = row["metadata"]
    created = created_of(metadata)
    at = _NAN if created is None else created.timestamp()
    return orjson.dumps(row, option=LINE), Mark(topic_in(metadata, row["messages"]), says_synthetic(metadata), at)
