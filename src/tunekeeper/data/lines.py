"""Rows as lines: the draft holds one canonical line a row with its side in it, a version holds the same line without the side.

A row that a version holds already is known by its line and never parsed: only the end of a line has to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.examples import LINE, created_of, decode, encode, topic_in
from tunekeeper.data.tallies import says_synthetic
from tunekeeper.store.marks import Mark

Line = tuple[bytes, Split]
"""A row without its side, with its line end; its side."""
# Keys are sorted: what can follow `split` is `tools`, which ends in a bracket, and `weight`, which ends in a digit. So a line
# that ends like these says its side here, and one that ends in `"}` without it has nothing behind `source`.
_TRAIN, _EVAL, _END, _PLAIN = b',"split":"train"}\n', b',"split":"eval"}\n', b"}\n", b'"}\n'
_USUAL = ("fingerprint", "id", "messages", "metadata", "source")
_NAN = float("nan")
_BUFFER = 512 << 10


def of_draft(path: Path) -> Iterator[Line]:
    """The rows of a draft's file, in order; none when it is missing."""
    if path.exists():
        with path.open("rb", buffering=_BUFFER) as file:
            yield from map(row_of, file)


def row_of(line: bytes) -> Line:
    """The row of a draft's line."""
    if line.endswith(_TRAIN):
        return line[: -len(_TRAIN)] + _END, "train"
    if line.endswith(_EVAL):
        return line[: -len(_EVAL)] + _END, "eval"
    example = decode(line)
    return encode(example), example.split


def of_examples(examples: Iterable[Example]) -> Iterator[Line]:
    """Rows as lines, in order. Raises DataError for one that cannot be written."""
    return ((encode(example), example.split) for example in examples)


def for_draft(line: bytes, side: Split) -> bytes:
    """The line of a draft."""
    if line.endswith(_PLAIN):
        return line[:-2] + (_TRAIN if side == "train" else _EVAL)
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
