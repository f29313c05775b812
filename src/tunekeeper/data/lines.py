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
from tunekeeper.store.packs import Mark

Line = tuple[bytes, Split]
"""A row without its side, with its line end; its side."""
# Keys are sorted: what can follow `split` is `tools`, which ends in a bracket, and `weight`, which ends in a digit. So a line
# that ends like these says its side here, and one that ends in `"}` without it has nothing behind `source`.
_TRAIN, _EVAL, _END, _PLAIN = b',"split":"train"}\n', b',"split":"eval"}\n', b"}\n", b'"}\n'
_USUAL = frozenset(("id", "messages", "fingerprint", "source", "metadata"))
_NAN = float("nan")
_ENDS_AT = 30
"""A byte of a canonical line within the hex digits of its fingerprint, so that one line of 16 has a 0 there."""
_LONGEST_RUN = 20


def of_draft(path: Path) -> Iterator[Line]:
    """The rows of a draft's file, in order; none when it is missing."""
    return (line for run in runs_of_draft(path) for line in of_run(run))


def of_run(lines: Iterable[bytes]) -> Iterator[Line]:
    """The rows of some lines of a draft."""
    train, held = -len(_TRAIN), -len(_EVAL)
    for line in lines:
        if line.endswith(_TRAIN):
            yield line[:train] + _END, "train"
        elif line.endswith(_EVAL):
            yield line[:held] + _END, "eval"
        else:
            example = decode(line)
            yield encode(example), example.split


def runs_of_draft(path: Path) -> Iterator[list[bytes]]:
    """The lines of a draft's file in runs of some 12; none when it is missing. A run ends after a line whose fingerprint says so:
    where lines came in or went, the runs behind them are the same again."""
    if not path.exists():
        return
    run: list[bytes] = []
    with path.open("rb", buffering=1 << 20) as file:
        for line in file:
            run.append(line)
            if line[_ENDS_AT : _ENDS_AT + 1] == b"0" or len(run) == _LONGEST_RUN:
                yield run
                run = []
    if run:
        yield run


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
    if row.keys() != _USUAL:
        row = orjson.loads(encode(decode(line)))
    metadata = row["metadata"]
    created = created_of(metadata)
    at = _NAN if created is None else created.timestamp()
    return orjson.dumps(row, option=LINE), Mark(topic_in(metadata, row["messages"]), says_synthetic(metadata), at)
