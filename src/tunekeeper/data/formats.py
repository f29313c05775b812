"""Files of rows: JSONL, JSON and CSV or TSV, read as a stream with bounded memory.

A row that cannot be read is handed on with its line and the reason; it never ends the import. A file that is no text does.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data.rows import Conversation, Unreadable, flat_row, parse_row, resolve_columns

LINE_LIMIT = 4 << 20
"""Bytes of one row; a longer one is skipped without being held in memory."""
FILE_LIMIT_JSON = 256 << 20
"""Bytes of a `.json` file, which has to be parsed as a whole."""
MAX_MESSAGES = 2000
"""Messages of one row."""
MAX_DEPTH = 64
"""Levels of lists and objects in one row."""
_PIECE = 1 << 20
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"PAR1": "Parquet",
    b"GGUF": "a GGUF model",
    b"SQLite": "a database",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RawRow:
    """One row of a file: a conversation, or the reason why it is none."""

    file: str
    """Name of the file."""
    line: int
    """Line the row begins on, from 1."""
    conversation: Conversation | None = None
    """What it says; None when it cannot be read."""
    broken: str = ""
    """Why not, in one sentence."""


def read_rows(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[RawRow]:
    """The rows of `path`, in order. `mapping`: role → column (`user`, `assistant`, `system`, `id`, `created`, `category`).

    Raises DataError for a file that is missing, empty, no text, or lacks a column.
    """
    _inspect(path)
    suffix = path.suffix.casefold()
    if suffix in (".csv", ".tsv"):
        yield from _read_table(path, mapping or {}, "\t" if suffix == ".tsv" else None)
    elif suffix == ".json":
        yield from _read_document(path, mapping or {})
    elif suffix in (".jsonl", ".ndjson", ".txt", ""):
        yield from _read_lines(path, mapping or {})
    else:
        raise DataError(f"{path.name}: no reader for {suffix!r}", fix="give .jsonl, .json, .csv or .tsv")


def _inspect(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file", fix="check the path")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise DataError(f"{path.name}: the file is empty")
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path.name}: this is {name}, not text", fix="unpack or export it to .jsonl or .csv")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path.name}: the text is UTF-16", fix=f"iconv -f UTF-16 -t UTF-8 {path.name}")


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Line number and bytes; None for a line above the limit, which is skipped in pieces."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) > LINE_LIMIT and not line.endswith(b"\n"):
                while (piece := file.readline(_PIECE)) and not piece.endswith(b"\n"):
                    pass
                yield number, None
            else:
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _read_lines(path: Path, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    for number, line in _lines(path):
        if line is None:
            yield RawRow(file=path.name, line=number, broken=f"the line is longer than {LINE_LIMIT >> 20} MB")
        elif line.strip():
            yield _row(path.name, number, line, mapping)


def _row(file: str, number: int, line: bytes, mapping: Mapping[str, str]) -> RawRow:
    try:
        return RawRow(file=file, line=number, conversation=_bounded(parse_row(_parse(line), mapping)))
    except Unreadable as error:
        return RawRow(file=file, line=number, broken=error.message)


def _parse(line: bytes) -> Any:
    try:
        text = line.decode("utf-8").rstrip()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 at byte {error.start + 1}: {error.reason}") from None
    if "\x00" in text:
        raise Unreadable(f"a NUL character at column {text.index(chr(0)) + 1}")
    if _depth(text) > MAX_DEPTH:
        raise Unreadable(f"lists and objects are nested more than {MAX_DEPTH} deep")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON at column {error.pos + 1}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]')


def _depth(text: str) -> int:
    """Deepest nesting outside strings; counted before parsing, so that a bomb is never built."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for match in _STRUCTURE.finditer(text):
        first = match[0][0]
        if first != '"':
            depth += 1 if first in "[{" else -1
            deepest = max(deepest, depth)
    return deepest


def _bounded(conversation: Conversation) -> Conversation:
    if len(conversation.messages) > MAX_MESSAGES:
        raise Unreadable(f"{len(conversation.messages)} messages, at most {MAX_MESSAGES} are allowed")
    return conversation


def _read_document(path: Path, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    """A `.json` file: a list of rows. Each is named by its place in the list."""
    if path.stat().st_size > FILE_LIMIT_JSON:
        raise DataError(
            f"{path.name}: above {FILE_LIMIT_JSON >> 20} MB a .json file cannot be streamed",
            fix="write it as .jsonl, one row a line",
        )
    try:
        rows = _parse(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except Unreadable as error:
        raise DataError(
            f"{path.name}: {error.message}", fix="a .json file holds one list of rows; one row a line is .jsonl"
        ) from None
    if isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list):
        raise DataError(f"{path.name}: a .json file holds one list of rows, not {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        try:
            yield RawRow(file=path.name, line=number, conversation=_bounded(parse_row(row, mapping)))
        except Unreadable as error:
            yield RawRow(file=path.name, line=number, broken=error.message)


# ---- CSV and TSV ---------------------------------------------------------------------------------------------------------


class _Text:
    """Decoded lines of a table for the csv reader; remembers which physical line it is on and what was wrong with it."""

    def __init__(self, path: Path) -> None:
        self.source = _lines(path)
        self.line = 0
        self.trouble = ""

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        self.line, line = next(self.source)
        if line is None:
            self.trouble = f"the line is longer than {LINE_LIMIT >> 20} MB"
            return "\n"
        text = line.decode("utf-8", "replace")
        if "\x00" in text:
            self.trouble = f"a NUL character at column {text.index(chr(0)) + 1}"
            return text.replace("\x00", "")
        if "�" in text and b"\xef\xbf\xbd" not in line:
            self.trouble = "not UTF-8"
        return text


def _read_table(path: Path, mapping: Mapping[str, str], delimiter: str | None) -> Iterator[RawRow]:
    text = _Text(path)
    reader = csv.reader(text, delimiter=delimiter or _delimiter(path), strict=True)
    csv.field_size_limit(LINE_LIMIT)
    try:
        header = next(reader)
    except (StopIteration, csv.Error) as error:
        raise DataError(f"{path.name}: line 1 is no header of columns: {error}") from None
    columns = resolve_columns(header, mapping, path.name)
    while True:
        line, text.trouble = text.line + 1, ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield RawRow(file=path.name, line=line, broken=f"not CSV: {error}")
            continue
        if any(cells) or text.trouble:
            yield _table_row(path.name, line, header, cells, columns, text.trouble)


def _table_row(file: str, line: int, header: list[str], cells: list[str], columns: Mapping[str, str], trouble: str) -> RawRow:
    if trouble:
        return RawRow(file=file, line=line, broken=trouble)
    if len(cells) != len(header):
        return RawRow(file=file, line=line, broken=f"{len(cells)} cells, the header has {len(header)} columns")
    return RawRow(file=file, line=line, conversation=flat_row(dict(zip(header, cells, strict=True)), columns))


def _delimiter(path: Path) -> str:
    """Comma, semicolon or tab: the one the header line has most of."""
    with path.open("rb") as file:
        head = file.readline(65536).decode("utf-8", "replace")
    return max(",;\t", key=head.count)
