"""Rows as lines: the draft holds one canonical line a row with its side in it, a version holds the same line without the side.

A row that a version holds already is known by its line and never parsed: only the end of a line has to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import orjson

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.examples import LINE, created_of, decode, encode, topic_in
from tunekeeper.data.tallies import says_synthetic
from tunekeeper.store.packs import Mark

Line = tuple[bytes, Split]
"""A row without its side, with its line end; its side."""
# Keys are sorted: what can follow `split` is `tools`, which ends in a bracket, and `weight`, which ends in a digit. So a line
# that ends like these says its side here, and one that ends in `"}` without it has nothing behind `source`.
_TRAIN, _EVAL, _END, _PLAIN = b',"split":"train"}', b',"split":"eval"}', b"}\n", b'"}\n'
_USUAL = ("fingerprint", "id", "messages", "metadata", "source")
_NAN = float("nan")
_BEGINS_AT = 30
"""A byte of a canonical line within the hex digits of its fingerprint: one line of 8 has a 0 or 1 there, and begins a run."""
_CHUNK = 1 << 20
"""Bytes of a draft that are read at once; a run without an end in them ends with their last whole line."""


def of_draft(path: Path) -> Iterator[Line]:
    """The rows of a draft's file, in order; none when it is missing."""
    return (line for run in runs_of_draft(path) for line in of_run(run))


def of_run(run: bytes) -> list[Line]:
    """The rows of some whole lines of a draft."""
    return [_row(line) for line in run.removesuffix(b"\n").split(b"\n")]


def _row(line: bytes) -> Line:
    if line.endswith(_TRAIN):
        return line[: -len(_TRAIN)] + _END, "train"
    if line.endswith(_EVAL):
        return line[: -len(_EVAL)] + _END, "eval"
    example = decode(line)
    return encode(example), example.split


def runs_of_draft(path: Path) -> Iterator[bytes]:
    """The lines of a draft's file in runs of some 8; none when it is missing. A run begins with a line whose fingerprint says so:
    where lines came in or went, the runs behind them are the same again."""
    if not path.exists():
        return
    begin, end = 0, path.stat().st_size
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
            elif not starts and (whole := buffer.rfind(b"\n", 0, size) + 1):
                starts.append(whole)
            elif not starts:
                buffer = bytearray(2 * len(buffer))
            begin += starts[-1] if starts else 0
            chunk = memoryview(buffer)
            yield from (chunk[a:b].tobytes() for a, b in pairwise([0, *starts]))


def _starts(buffer: bytearray, size: int) -> list[int]:
    """Where runs begin in the first `size` bytes, the first one of them aside."""
    import numpy as np  # a command that reads no draft is not to wait for it

    data = np.frombuffer(buffer, np.uint8, size)
    lines = np.flatnonzero(data == ord("\n")) + 1
    lines = lines[: np.searchsorted(lines, size - _BEGINS_AT)]
    digits = data[lines + _BEGINS_AT]
    found: list[int] = lines[(digits == ord("0")) | (digits == ord("1"))].tolist()
    return found


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
