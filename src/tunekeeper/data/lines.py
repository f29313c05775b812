"""Rows as lines: the draft holds one canonical line a row with its side in it, a version holds the same line without the side.

A row that a version holds already is known by its line and never parsed: only the end of a line has to be looked at. Of a new one
it has to be certain that its line is canonical: that is how it is named, and how it is stored.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.examples import LINE, created_of, decode, encode, topic_in
from tunekeeper.data.tallies import SIDES, says_synthetic
from tunekeeper.store.marks import Mark

Line = tuple[bytes, Split]
"""A row without its side, with its line end; its side."""
# Keys are sorted: what can follow `split` is `tools`, which ends in a bracket, and `weight`, which ends in a digit. So a line
# that ends like these says its side here, and one that ends in `"}` without it has nothing behind `source`.
_TRAIN, _EVAL, _END, _PLAIN = b',"split":"train"}\n', b',"split":"eval"}\n', b"}\n", b'"}\n'
_TO_TRAIN, _TO_EVAL = -len(_TRAIN), -len(_EVAL)
_KEYS = ("fingerprint", "id", "messages", "metadata", "source")
_NAN = float("nan")
_BUFFER = 512 << 10


class _Message(msgspec.Struct, gc=False):
    content: str
    role: str


class _Usual(msgspec.Struct, gc=False):
    """What nearly every line of a draft holds, in the order in which it is written."""

    fingerprint: str
    id: str
    messages: list[_Message]
    metadata: dict[str, Any]
    source: str
    split: Split


_READ = msgspec.json.Decoder(_Usual).decode_lines
_WRITE = msgspec.json.Encoder()
_TOGETHER = 64
"""Lines that are looked at together where they may all be usual."""
_ODD = 3
"""Times that they were not, after which the rest of a stretch is looked at one by one."""


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


class Seen(NamedTuple):
    """Rows of a draft as `look` gives them, a column of each."""

    lines: list[bytes]
    """Canonical lines."""
    sides: bytearray
    """The place of each one's side among the sides."""
    topics: list[str]
    """Their topics."""
    made_up: bytearray
    """1 where a machine made the row up."""
    dates: array[float]
    """Their dates."""


def seen(draft: Sequence[bytes]) -> Seen:
    """The rows of a draft's lines. Raises DataError for one that is none."""
    found, odd = Seen([], bytearray(), [], bytearray(), array("d")), 0
    for first in range(0, len(draft), _TOGETHER):
        some = draft[first : first + _TOGETHER]
        rows = _usual(some) if odd < _ODD else None
        odd += rows is None
        column: Any
        for column, more in zip(found, rows or _each(some), strict=True):
            column.extend(more)
    return found


def _each(draft: Sequence[bytes]) -> tuple[Iterable[Any], ...]:
    """The columns of `seen`, one line after the other."""
    rows = [(*look(line), side) for line, side in map(row_of, draft)]
    marks = [mark for _, mark, _ in rows]
    sides = (side != SIDES[0] for _, _, side in rows)
    return [line for line, _, _ in rows], sides, (m.topic for m in marks), (m.made_up for m in marks), (m.at for m in marks)


def _usual(draft: Sequence[bytes]) -> tuple[Iterable[Any], ...] | None:
    """The same in half of the time where all of these lines are usual and canonical; else None. They are canonical where they
    are written just so again: the two libraries write every text alike, and for what else metadata may hold both are asked."""
    text = b"".join(draft)
    try:
        rows = _READ(text)
        metadata = [row.metadata for row in rows]
        if _WRITE.encode_lines(rows) != text or _WRITE.encode(metadata) != orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS):
            return None
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):  # rows of another kind, or none
        return None
    sides = [row.split == "eval" for row in rows]
    lines = [line[:_TO_EVAL] + _END if held else line[:_TO_TRAIN] + _END for line, held in zip(draft, sides, strict=True)]
    return lines, sides, map(_topic, rows), map(says_synthetic, metadata), map(_date, metadata)


def _topic(row: _Usual) -> str:
    named = topic_in(row.metadata, ())
    return named or topic_in(row.metadata, [{"content": each.content, "role": each.role} for each in row.messages])


def look(line: bytes) -> tuple[bytes, Mark]:
    """The canonical line of a row, and what is counted of it. Raises DataError for a line that is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = ()
    if tuple(row) != _KEYS:
        row = orjson.loads(encode(decode(line)))
    metadata = row["metadata"]
    return orjson.dumps(row, option=LINE), _mark(metadata, topic_in(metadata, row["messages"]))


def _mark(metadata: Mapping[str, Any], topic: str) -> Mark:
    return Mark(topic, says_synthetic(metadata), _date(metadata))


def _date(metadata: Mapping[str, Any]) -> float:
    created = created_of(metadata)
    return _NAN if created is None else created.timestamp()
