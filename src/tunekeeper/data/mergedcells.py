"""Cells of a workbook that were merged over several rows: the first one holds the value, in the file the others are empty."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MOST = 100_000
"""Merged ranges of one sheet; further ones stay as the file has them."""
_RANGE = re.compile(rb'<(?:\w{1,20}:)?mergeCell\s[^<>]{0,80}?ref="\$?([A-Z]{1,3})\$?(\d{1,7}):\$?[A-Z]{1,3}\$?(\d{1,7})"')
_LONGEST = 160
"""Bytes of one such mark."""


@dataclass(slots=True)
class Merged:
    """The merged ranges of a sheet, and what they hold at the row that is being read."""

    begins: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Row → column and last row of each range that begins there."""
    told: dict[int, tuple[int, Any]] = field(default_factory=dict)
    """Column → last row and value of the range that began last."""

    def filled(self, row: int, cells: dict[int, Any]) -> dict[int, Any]:
        """The cells of a row by column, with the values that ranges from above give it. Rows come in order."""
        if not self.begins:
            return cells
        held = {column: value for column, (last, value) in self.told.items() if row <= last}
        self.told |= {column: (last, cells[column]) for column, last in self.begins.get(row, ()) if column in cells}
        return {**held, **cells}


def merged_in(pieces: Iterable[bytes]) -> Merged:
    """The ranges of more than one row in the XML of a sheet, which names them after its rows."""
    found, rest, count = Merged(), b"", 0
    for piece in pieces:
        text, read = rest + piece, 0
        for match in _RANGE.finditer(text):
            read = match.end()
            first, last = int(match[2]), int(match[3])
            if last > first and count < MOST:
                found.begins.setdefault(first, []).append((column_number(match[1].decode()), last))
                count += 1
        rest = text[max(read, len(text) - _LONGEST) :]
    return found


def column_number(letters: str) -> int:
    """The number, from 1, of a column by its letters."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number
