"""What the compressed buffers of an Arrow message unpack to, read from the message before anything unpacks them.

A message is a table of the FlatBuffers format: at a table's place stands how far back its list of fields lies, and there, for
each field, how far into the table its value stands (0: absent).
"""

from __future__ import annotations

import struct
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data import archives

_DICTIONARY, _RECORDS = 2, 3
"""Kinds of message that hold buffers."""
_OLD_WAY = b"ARROW:experimental_compression"


def refuse_bomb(what: str, metadata: bytes, body: Any, limit: int) -> None:
    """Raise DataError where the buffers of a message unpack to more than `limit` bytes, or to far more than they take.

    `metadata`: the message, `body`: the bytes behind it. Raises DataError too for a message that is damaged.
    """
    try:
        packed, size = _sizes(metadata, memoryview(body) if body is not None else memoryview(b""))
    except (struct.error, IndexError, OverflowError):
        raise DataError(f"{what} is damaged") from None
    archives.refuse_bomb(what, packed, size)
    if size > limit:
        raise DataError(
            f"{what} unpacks to {size >> 20} MB, at most {limit >> 20} MB are read at once",
            fix="write smaller batches, or .jsonl",
        )


def _sizes(metadata: bytes, body: memoryview) -> tuple[int, int]:
    """Bytes of the compressed buffers, and of what they become."""
    if _OLD_WAY in metadata:
        raise DataError("compressed by an early draft of Arrow's format", fix="write it again, or as .jsonl")
    message = _int(metadata, 0, "<I")
    kind_at, header = _field(metadata, message, 1), _field(metadata, message, 2)
    kind = metadata[kind_at] if kind_at else 0
    if kind not in (_DICTIONARY, _RECORDS) or not header:
        return 0, 0
    table = header + _int(metadata, header, "<I")
    if kind == _DICTIONARY:
        inner = _field(metadata, table, 1)
        table = inner + _int(metadata, inner, "<I")
    buffers = _field(metadata, table, 2)
    if not _field(metadata, table, 3) or not buffers:
        return 0, 0
    start = buffers + _int(metadata, buffers, "<I")
    packed = size = 0
    for number in range(_int(metadata, start, "<I")):
        offset, length = struct.unpack_from("<qq", metadata, start + 4 + 16 * number)
        if length > 0:
            told = struct.unpack_from("<q", body, offset)[0]  # -1: this buffer is not compressed
            packed += length
            size += told if told >= 0 else length
    return packed, size


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a table stands; 0 when it is absent."""
    fields = table - _int(data, table, "<i")
    if 4 + 2 * number >= _int(data, fields, "<H"):
        return 0
    at = _int(data, fields + 4 + 2 * number, "<H")
    return table + at if at else 0


def _int(data: bytes, at: int, form: str) -> int:
    if at < 0:
        raise IndexError(at)
    return int(struct.unpack_from(form, data, at)[0])
