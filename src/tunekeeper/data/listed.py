"""A `.json` file that is one list, read an element at a time: never more than a row of it is held."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tunekeeper.core.errors import DataError
from tunekeeper.data import tables

_PIECE = 1 << 20
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]|"', re.DOTALL)


def elements(path: Path, name: str) -> Iterator[bytes]:
    """The texts of a list's elements, one at a time: never more than a row of the file is held. Raises DataError."""
    depth, start, place, number, buffer = 0, 0, 0, 1, b""
    with path.open("rb") as file:
        while True:
            piece = file.read(_PIECE)
            buffer, place = buffer[start:] + piece, place - start
            start = 0
            for token in _TOKEN.finditer(buffer, place):
                mark = token[0]
                if mark == b'"':
                    place = token.start()
                    break
                place = token.end()
                if mark in (b"[", b"{"):
                    depth += 1
                    start = place if depth == 1 else start
                elif mark in (b"]", b"}") or (mark == b"," and depth == 1):
                    depth -= mark != b","
                    if depth == 0 or mark == b",":
                        text = buffer[start : token.start()].strip()
                        if text or mark == b"," or number > 1:
                            yield text
                        number, start = number + 1, place
                    if depth == 0:
                        _nothing_more(buffer[place:], file, name)
                        return
            else:
                place = len(buffer)
            if len(buffer) - start > tables.LINE_LIMIT:
                raise DataError(
                    f"{name}: row {number} is longer than {tables.LINE_LIMIT >> 20} MB", fix="write it as .jsonl, one row a line"
                )
            if not piece:
                raise DataError(f"{name}: not JSON: the list does not end, row {number} is cut off", fix="write the file again")


def _nothing_more(rest: bytes, file: BinaryIO, name: str) -> None:
    if rest.strip() or file.read(_PIECE).strip():
        raise DataError(f"{name}: not JSON: text after the end of the list", fix="one row a line is .jsonl")
