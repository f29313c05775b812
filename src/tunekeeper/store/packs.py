"""Packs: many rows of datasets in one compressed blob, each found by its number without reading the others.

First comes the index with its own digest: a header, a digest for each row, what is counted of a row without reading it, the
table of blocks, a dictionary. Then come the blocks, some rows each, compressed by themselves. A pack is a blob, so its bytes are
checked by the digest that is its name; the index is checked whenever a pack is opened, a block by a checksum of its own whenever
it is read (those of an earlier release have none: who picks rows out of them checks each by its digest). An erased row leaves an
empty line, so the others keep their numbers.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from tunekeeper.core.errors import ArtifactError
from tunekeeper.store.marks import DIGEST, Mark, digest_of

MOST_BYTES = 64 << 20
"""Bytes of rows at which a pack is closed: what making one costs in memory, some copies apart."""
LARGE = 16 << 20
"""Bytes of rows from which single rows have to be found fast in a pack; a smaller one is read as a whole more often, and is
made as small as it gets."""
GONE = b"\n"
"""What stands in the place of an erased row."""
MAGIC = b"tkpack01"
"""What a pack begins with."""
DIGESTS = np.dtype((np.void, DIGEST))
"""Digests that follow each other, as numpy knows them."""
_BLOCK = {"large": 2 << 10, "small": 2 << 20}
"""Bytes of rows at which a block is closed."""
_DICTIONARY = 112 << 10
_SAMPLES = 1500
_TRAINING = {"d": 6, "k": 200, "accel": 10}
"""How a dictionary is learned: what the library tries out by itself takes six times as long and is no better on rows."""
_THREADS = 2
"""Threads that compress a small pack, for which somebody waits, and that read many blocks."""
_MARKS = np.dtype([("topic", "<u4"), ("flags", "<u1"), ("at", "<f8")])
_BLOCKS = np.dtype([("rows", "<u4"), ("size", "<u4"), ("end", "<u8")])
_MADE_UP, _GONE = 1, 2


class Draft(msgspec.Struct):
    """Rows on their way into a pack, column by column."""

    lines: list[bytes] = []
    """The rows, each with its line end; `GONE` for an erased one."""
    digests: list[bytes] = []
    """Their digests."""
    topics: list[str] = []
    """Their topics."""
    made_up: list[bool] = []
    """Whether a machine made them up."""
    dates: list[float] = []
    """Their dates, seconds since 1970; nan without one."""

    def add(self, line: bytes, digest: bytes, told: Mark) -> None:
        """Put one row behind the others."""
        self.lines.append(line)
        self.digests.append(digest)
        self.topics.append(told.topic)
        self.made_up.append(told.made_up)
        self.dates.append(told.at)

    def sheet(self) -> Sheet:
        """The same with each column in one piece."""
        return Sheet(
            text=b"".join(self.lines),
            sizes=np.array(list(map(len, self.lines)), np.int64),
            digests=b"".join(self.digests),
            topics=self.topics,
            made_up=np.array(self.made_up, bool),
            dates=np.array(self.dates, np.float64),
        )


class Sheet(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Rows on their way into a pack with each column in one piece: what is done with a million rows is done with few objects."""

    text: bytes
    """The rows, one after the other, each with its line end."""
    sizes: npt.NDArray[np.int64]
    """The bytes of each."""
    digests: bytes
    """The digest of each, one after the other."""
    topics: list[str]
    """Their topics."""
    made_up: npt.NDArray[np.bool_]
    """Whether a machine made them up."""
    dates: npt.NDArray[np.float64]
    """Their dates, seconds since 1970; nan without one."""

    def at(self, places: npt.NDArray[np.int64]) -> Sheet:
        """The rows of these places (one at least), in this order."""
        ends = np.cumsum(self.sizes)
        cuts = np.flatnonzero(np.diff(places) != 1) + 1  # neighbours are copied together
        first, last = places[np.concatenate([[0], cuts])], places[np.concatenate([cuts, [len(places)]]) - 1]
        stretches = zip((ends[first] - self.sizes[first]).tolist(), ends[last].tolist(), strict=True)
        with memoryview(self.text) as view:
            text = b"".join([view[begin:end] for begin, end in stretches])
        return Sheet(
            text=text,
            sizes=self.sizes[places],
            digests=np.frombuffer(self.digests, DIGESTS)[places].tobytes(),
            topics=list(map(self.topics.__getitem__, places.tolist())),
            made_up=self.made_up[places],
            dates=self.dates[places],
        )


def joined(sheets: Sequence[Sheet]) -> Sheet:
    """The rows of some sheets (one at least), one after the other."""
    return Sheet(
        text=b"".join([each.text for each in sheets]),
        sizes=np.concatenate([each.sizes for each in sheets]),
        digests=b"".join([each.digests for each in sheets]),
        topics=[topic for each in sheets for topic in each.topics],
        made_up=np.concatenate([each.made_up for each in sheets]),
        dates=np.concatenate([each.dates for each in sheets]),
    )


def damaged() -> ArtifactError:
    """What is raised where a block is not what was written."""
    return ArtifactError("a pack is damaged: a block cannot be read", fix="tunekeeper store verify")


def lines_of(block: bytes) -> list[bytes]:
    """The rows of a block, each with its line end."""
    return [line + b"\n" for line in block.split(b"\n")[:-1]]


def build(rows: Sheet, *, alone: bool = False) -> bytes:
    """The bytes of a pack of these rows; the same rows give the same bytes. `alone`: somebody waits for it, and nothing else is
    done meanwhile."""
    topics = list(dict.fromkeys(rows.topics))
    code = {topic: i for i, topic in enumerate(topics)}
    marks = np.empty(len(rows.sizes), _MARKS)
    marks["topic"] = list(map(code.__getitem__, rows.topics))
    marks["flags"] = _MADE_UP * rows.made_up + _GONE * (rows.sizes == len(GONE))
    marks["at"] = rows.dates
    table, dictionary, frames = _compressed(rows, _THREADS if alone else 0)
    squeeze = zstandard.ZstdCompressor(level=3).compress
    parts = [rows.digests, squeeze(_columns(marks)), squeeze(table.tobytes()), dictionary]
    known = {"whole": not (rows.sizes == len(GONE)).any(), "checked": True}
    header = msgspec.json.encode({"rows": len(marks), "topics": topics, "sizes": [len(part) for part in parts], **known})
    index = b"".join([header, *parts])
    return b"".join([MAGIC, struct.pack("<QQ", len(header), len(index)), digest_of(index), index, *frames])


def _columns(marks: npt.NDArray[Any]) -> bytes:
    """Column after column: like beside like is smaller."""
    return b"".join(np.ascontiguousarray(marks[name]).tobytes() for name in _MARKS.fields or ())


def _compressed(rows: Sheet, threads: int) -> tuple[npt.NDArray[Any], bytes, list[bytes]]:
    """The table of blocks, the dictionary they share (empty for a small pack), and the blocks."""
    ends = np.concatenate([[0], np.cumsum(rows.sizes)])
    small = len(rows.text) < LARGE
    starts = np.array(_cut(ends.tolist(), _BLOCK["small" if small else "large"]), np.int64)
    trained = None if small else _trained(rows.text, ends)
    level = 4 if small else 2
    if trained is not None:
        trained.precompute_compress(level=level)
    squeezer = zstandard.ZstdCompressor(level=level, dict_data=trained, write_checksum=True)
    table = np.empty(len(starts) - 1, _BLOCKS)
    table["rows"], table["size"] = np.diff(starts), np.diff(ends[starts])
    where = np.stack([ends[starts[:-1]], table["size"]], axis=1).astype("<u8").tobytes()
    blocks = zstandard.BufferWithSegments(rows.text, where)
    made: Any = squeezer.multi_compress_to_buffer(blocks, threads=_THREADS if small else threads)
    frames = [frame.tobytes() for frame in made]
    table["end"] = np.cumsum([len(frame) for frame in frames], dtype=np.uint64)
    return table, b"" if trained is None else trained.as_bytes(), frames


def _cut(ends: Sequence[int], most: int) -> list[int]:
    """The row at which each block begins, and where the last one ends: it is closed at `most` bytes. `ends`: bytes of all rows
    before each, and of all."""
    starts, rows = [0], len(ends) - 1
    while starts[-1] < rows:
        starts.append(min(bisect_left(ends, ends[starts[-1]] + most, starts[-1] + 1), rows))
    return starts


def _trained(text: bytes, ends: npt.NDArray[np.int64]) -> zstandard.ZstdCompressionDict | None:
    step = max(1, (len(ends) - 1) // _SAMPLES)
    places = zip(ends[:-1:step].tolist(), ends[1::step].tolist(), strict=True)
    samples = [text[begin : min(end, begin + 2048)] for begin, end in places]
    try:
        return zstandard.train_dictionary(_DICTIONARY, cast(Any, samples), **_TRAINING)
    except zstandard.ZstdError:  # rows that have nothing in common
        return None


class Pack:
    """A pack that was opened."""

    def __init__(self, path: Path) -> None:
        """`path`: its file. Raises FileNotFoundError, and ArtifactError when the index is not what was written."""
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._open()
        except (ValueError, KeyError, TypeError, struct.error, msgspec.MsgspecError, zstandard.ZstdError):
            raise ArtifactError(f"{path} is damaged: it does not begin like a pack", fix="restore it from a backup") from None

    def _open(self) -> None:
        if self._bytes[: len(MAGIC)] != MAGIC:
            raise ValueError
        length, whole = struct.unpack_from("<QQ", self._bytes, len(MAGIC))
        begin = len(MAGIC) + 16 + DIGEST
        with memoryview(self._bytes) as view, view[begin : begin + whole] as index:
            if digest_of(index) != view[begin - DIGEST : begin]:
                raise ValueError
        at = begin + length
        header = msgspec.json.decode(self._bytes[begin:at])
        self.rows: int = header["rows"]
        """How many rows it holds, erased ones included."""
        self.topics: list[str] = header["topics"]
        """Names behind the numbers of `topic`."""
        parts = []
        for size in header["sizes"]:
            parts.append(memoryview(self._bytes)[at : at + size])  # digests of a million rows are not copied
            at += size
        self.digests = parts[0]
        """The digest of each row, one after the other."""
        self._marks = parts[1]
        self.checked: bool = header.get("checked", False)
        """Whether a checksum stands behind each block, so that decompressing it finds damage."""
        self.whole: bool = header["whole"] if "whole" in header else not (self._flags & _GONE).any()
        """Whether no row was erased."""
        table = np.frombuffer(zstandard.ZstdDecompressor().decompress(parts[2]), _BLOCKS)
        self.block_rows: npt.NDArray[np.uint32] = table["rows"]
        """Rows of each block."""
        self.block_bytes: npt.NDArray[np.uint32] = table["size"]
        """Bytes of the rows of each block, not compressed."""
        self._ends: npt.NDArray[np.uint64] = table["end"]
        self._at = at
        trained = zstandard.ZstdCompressionDict(parts[3]) if parts[3] else None
        self._grow = zstandard.ZstdDecompressor(dict_data=trained)

    @cached_property
    def size(self) -> int:
        """Bytes of its rows, not compressed."""
        return int(self.block_bytes.sum(dtype=np.int64))

    @cached_property
    def _early(self) -> bytes:
        """The marks that stand first; dates, which take most of the time and are seldom asked for, stand last."""
        return zstandard.ZstdDecompressor().stream_reader(self._marks).read(5 * self.rows)

    @cached_property
    def topic(self) -> npt.NDArray[np.uint32]:
        """Number of each row's topic."""
        return np.frombuffer(self._early, "<u4", self.rows)

    @cached_property
    def _flags(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self._early, "<u1", self.rows, 4 * self.rows)

    @cached_property
    def gone(self) -> npt.NDArray[np.bool_]:
        """Whether the row was erased."""
        return np.zeros(self.rows, bool) if self.whole else (self._flags & _GONE).astype(bool)

    @cached_property
    def made_up(self) -> npt.NDArray[np.bool_]:
        """Whether a machine made up the row."""
        return (self._flags & _MADE_UP).astype(bool)

    @cached_property
    def at(self) -> npt.NDArray[np.float64]:
        """Date of each row, seconds since 1970; nan without one."""
        return np.frombuffer(zstandard.ZstdDecompressor().decompress(self._marks), "<f8", self.rows, 5 * self.rows)

    def block(self, number: int) -> list[bytes]:
        """The rows of one block, each with its line end. Raises ArtifactError when it is damaged."""
        rows = lines_of(self.text(np.array([number])))
        if len(rows) != self.block_rows[number]:
            raise damaged()
        return rows

    def text(self, numbers: npt.NDArray[np.int64]) -> bytes:
        """Some blocks, decompressed, one after the other: where a few rows of many small blocks are wanted, this is faster than
        `blocks`. How many lines they have is not looked at. Raises ArtifactError where one is damaged."""
        begins, ends = self._lying(numbers)
        grow, stored = self._grow.decompress, self._bytes
        try:
            made = b"".join([grow(stored[begin:end]) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)])
        except zstandard.ZstdError:
            raise damaged() from None
        if len(made) != self.block_bytes[numbers].sum():
            raise damaged()
        return made

    def pick(
        self, blocks: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], inside: npt.NDArray[np.unsignedinteger[Any]]
    ) -> bytes:
        """Some rows of some blocks, one after the other: `wanted`: how many of each block, `inside`: their places in it. Raises
        ArtifactError where a block is damaged."""
        text, rows = self.text(blocks), self.block_rows[blocks].astype(np.int64)
        ends, last = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1, np.cumsum(rows)
        if len(ends) != last[-1] or (ends[last - 1] != np.cumsum(self.block_bytes[blocks])).any():
            raise damaged()
        lines = np.repeat(last - rows, wanted) + inside
        begin, end = np.concatenate([[0], ends])[lines], ends[lines]
        cuts = np.flatnonzero(begin[1:] != end[:-1]) + 1  # neighbours are copied together
        if not len(cuts) and len(lines) == len(ends):
            return text
        stretches = zip(begin[np.append(0, cuts)].tolist(), end[np.append(cuts - 1, -1)].tolist(), strict=True)
        with memoryview(text) as view:
            return b"".join([view[a:b] for a, b in stretches])

    def blocks(self, numbers: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Some blocks (one at least), decompressed at once, which is faster where all are read; how many lines they have is not
        looked at. Raises ArtifactError where one cannot be read."""
        begins, ends = self._lying(numbers)
        where = np.stack([begins, ends - begins], axis=1).astype("<u8").tobytes()
        sizes: Any = self.block_bytes[numbers].astype("<u8").tobytes()
        try:
            frames: Any = zstandard.BufferWithSegments(cast(Any, self._bytes), where)
            made: Any = self._grow.multi_decompress_to_buffer(frames, sizes, _THREADS)
        except (zstandard.ZstdError, ValueError):  # ValueError: the file is cut off
            raise damaged() from None
        return (each.tobytes() for each in made)

    def _lying(self, numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where some blocks begin in the file, and where they end."""
        ends = self._ends[numbers].astype(np.int64)
        begins = np.where(numbers > 0, self._ends[numbers - 1].astype(np.int64), 0)
        return self._at + begins, self._at + ends

    def draft(self) -> Draft:
        """All rows, to be written again. Raises ArtifactError."""
        lines = [line for i in range(len(self.block_rows)) for line in self.block(i)]
        digests = [bytes(self.digests[i : i + DIGEST]) for i in range(0, len(self.digests), DIGEST)]
        topics = [self.topics[code] for code in self.topic.tolist()]
        return Draft(lines, digests, topics, self.made_up.tolist(), self.at.tolist())


def without(rows: Draft, gone: Sequence[int]) -> bytes:
    """The bytes of the pack when the rows of these numbers are gone, and what was counted of them. The dictionary is learned
    anew: it holds pieces of rows."""
    left = Draft(list(rows.lines), rows.digests, list(rows.topics), list(rows.made_up), list(rows.dates))
    for number in gone:
        left.lines[number], left.topics[number], left.made_up[number], left.dates[number] = GONE, "", False, float("nan")
    return build(left.sheet())
