"""Files of rows: JSONL, JSON, CSV or TSV, Parquet, Arrow and folders of them, read as a stream with bounded memory.

A row that cannot be read is handed on with its line and the reason; it never ends the import. A file that is no text does.
"""

from __future__ import annotations

import csv
import errno
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tunekeeper.core.errors import DataError, DiskFull
from tunekeeper.data import columnar
from tunekeeper.data.outside import rows_of
from tunekeeper.data.rows import (
    Conversation,
    Unreadable,
    flat_row,
    is_shaped,
    parse_json,
    parse_row,
    resolve_columns,
    unpacked,
)

LINE_LIMIT = 4 << 20
"""Bytes of one row; a longer one is skipped without being held in memory."""
FILE_LIMIT_JSON = 64 << 20
"""Bytes of a `.json` file of one object, which has to be parsed as a whole; a list is read row by row."""
MAX_MESSAGES = 2000
"""Messages of one row."""
STDIN_LIMIT = 16 << 30
"""Bytes read from standard input."""
STDIN = Path("-")
"""The path that stands for standard input."""
_PIECE = 1 << 20
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
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
    """The rows of a file or of a dataset folder, in order. `mapping`: role → column (`user`, `assistant`, `system`, `id`, …).

    Raises DataError for a file that is missing, empty, of another kind, or lacks a column.
    """
    if not path.is_dir():
        yield from _read_file(path, path.name, mapping or {})
        return
    for shard in columnar.shards(path):
        yield from _read_file(shard, f"{path.resolve().name}/{shard.relative_to(path).as_posix()}", mapping or {})


def read_stdin(stream: BinaryIO, mapping: Mapping[str, str] | None = None) -> Iterator[RawRow]:
    """The rows of standard input: JSONL, JSON or CSV by its first character. Raises DataError, DiskFull.

    The bytes wait in a file without a name, which vanishes with the process: a row is redacted before anything is stored.
    """
    with tempfile.NamedTemporaryFile(prefix="tunekeeper-", suffix="") as file:
        try:
            _copy(stream, file)
            file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DiskFull("no room left for standard input", fix="free some space or give a file") from None
        path = Path(file.name)
        _inspect(path, "stdin")
        yield from _READERS[_kind_of(path)](path, "stdin", mapping or {})


def _copy(stream: BinaryIO, file: Any) -> None:
    taken = 0
    while piece := stream.read(_PIECE):
        taken += len(piece)
        if taken > STDIN_LIMIT:
            raise DataError(f"stdin: more than {STDIN_LIMIT >> 30} GB", fix="write it to a file and import that")
        file.write(piece)


def _kind_of(path: Path) -> str:
    """`.jsonl`, `.json` or `.csv`, by how the text begins: a whole object in the first line is JSONL."""
    with path.open("rb") as file:
        head = file.readline(LINE_LIMIT).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"{"):
        return ".jsonl" if head.rstrip().endswith(b"}") or len(head) >= LINE_LIMIT - 3 else ".json"
    return ".json" if head.startswith(b"[") else ".csv"


def _read_file(path: Path, name: str, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    suffix = path.suffix.casefold()
    if not path.is_file():
        raise DataError(f"{path}: no such file", fix="check the path")
    if suffix in (".xlsx", ".xls", ".ods"):
        raise DataError(f"{name}: a spreadsheet is not read", fix="save the sheet as CSV (UTF-8) and import that")
    if suffix not in _READERS:
        raise DataError(f"{name}: no reader for {suffix!r}", fix="give .jsonl, .json, .csv, .tsv or .parquet")
    _inspect(path, name, binary=suffix in (".parquet", ".arrow"))
    yield from _READERS[suffix](path, name, mapping)


def _inspect(path: Path, name: str, *, binary: bool = False) -> None:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise DataError(f"{name}: the file is empty")
    if binary:
        return
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{name}: this is {kind}, not text", fix="unpack or export it to .jsonl or .csv")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name}: the text is UTF-16", fix=f"iconv -f UTF-16 -t UTF-8 {name}")


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


def _read_lines(path: Path, name: str, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    for number, line in _lines(path):
        if line is None:
            yield RawRow(file=name, line=number, broken=f"the line is longer than {LINE_LIMIT >> 20} MB")
        elif line.strip():
            yield _row(name, number, line, mapping)


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
    return parse_json(text)


def _bounded(conversation: Conversation) -> Conversation:
    if len(conversation.messages) > MAX_MESSAGES:
        raise Unreadable(f"{len(conversation.messages)} messages, at most {MAX_MESSAGES} are allowed")
    return conversation


def _read_document(path: Path, name: str, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    """A `.json` file: a list of rows, read row by row, or one object. Each row is named by its place in the list."""
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        for number, text in enumerate(_elements(path, name), 1):
            yield _row(name, number, text, mapping)
    else:
        for number, row in enumerate(_whole_document(path, name), 1):
            yield _shaped(name, number, row, mapping)


def _whole_document(path: Path, name: str) -> list[Any]:
    """The rows of one object: itself, what a list API answers, or the generations of a trace."""
    if path.stat().st_size > FILE_LIMIT_JSON:
        raise DataError(
            f"{name}: one object above {FILE_LIMIT_JSON >> 20} MB cannot be streamed", fix="write it as .jsonl, one row a line"
        )
    try:
        document = _parse(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except Unreadable as error:
        raise DataError(f"{name}: {error.message}", fix="a .json file holds one list of rows; one row a line is .jsonl") from None
    rows = rows_of(document)
    if rows is None:
        raise DataError(f"{name}: a .json file holds one list of rows, not {type(document).__name__}")
    return rows


_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]|"', re.DOTALL)


def _elements(path: Path, name: str) -> Iterator[bytes]:
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
            if len(buffer) - start > LINE_LIMIT:
                raise DataError(
                    f"{name}: row {number} is longer than {LINE_LIMIT >> 20} MB", fix="write it as .jsonl, one row a line"
                )
            if not piece:
                raise DataError(f"{name}: not JSON: the list does not end, row {number} is cut off", fix="write the file again")


def _nothing_more(rest: bytes, file: BinaryIO, name: str) -> None:
    if rest.strip() or file.read(_PIECE).strip():
        raise DataError(f"{name}: not JSON: text after the end of the list", fix="one row a line is .jsonl")


def _shaped(file: str, number: int, row: Any, mapping: Mapping[str, str]) -> RawRow:
    try:
        return RawRow(file=file, line=number, conversation=_bounded(parse_row(row, mapping)))
    except Unreadable as error:
        return RawRow(file=file, line=number, broken=error.message)


def _read_columnar(path: Path, name: str, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    """A Parquet or Arrow file; a row's line is its number."""
    read = columnar.read_parquet if path.suffix.casefold() == ".parquet" else columnar.read_arrow
    header, rows = read(path)
    known = {"conversations", "instruction"} & set(header)
    columns = None if known or is_shaped(header, mapping) else resolve_columns(header, mapping, name)
    for number, row in rows:
        if row is None:
            yield RawRow(file=name, line=number, broken=f"the row is longer than {columnar.ROW_LIMIT >> 20} MB")
        elif columns is None:
            yield _shaped(name, number, _opened(row), mapping)
        else:
            yield _flat(name, number, {key: row.get(key) for key in header}, columns)


def _opened(row: dict[str, Any]) -> Any:
    try:
        return unpacked(row)
    except Unreadable:
        return row


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


def _read_table(path: Path, name: str, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    text = _Text(path)
    reader = csv.reader(text, delimiter="\t" if path.suffix.casefold() == ".tsv" else _delimiter(path), strict=True)
    csv.field_size_limit(LINE_LIMIT)
    try:
        header = next(reader)
    except (StopIteration, csv.Error) as error:
        raise DataError(f"{name}: line 1 is no header of columns: {error}") from None
    columns = None if is_shaped(header, mapping) else resolve_columns(header, mapping, name)
    while True:
        line, text.trouble = text.line + 1, ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield RawRow(file=name, line=line, broken=f"not CSV: {error}")
            continue
        if any(cells) or text.trouble:
            yield _table_row(name, line, header, cells, columns, text.trouble)


def _table_row(
    file: str, line: int, header: list[str], cells: list[str], columns: Mapping[str, str] | None, trouble: str
) -> RawRow:
    if trouble:
        return RawRow(file=file, line=line, broken=trouble)
    if len(cells) != len(header):
        return RawRow(file=file, line=line, broken=f"{len(cells)} cells, the header has {len(header)} columns")
    row = dict(zip(header, cells, strict=True))
    if columns is not None:
        return _flat(file, line, row, columns)
    return _shaped(file, line, {key: cell for key, cell in row.items() if cell or key in ("input", "output")}, {})


def _flat(file: str, line: int, row: dict[str, Any], columns: Mapping[str, str]) -> RawRow:
    return RawRow(file=file, line=line, conversation=flat_row(row, columns))


def _delimiter(path: Path) -> str:
    """Comma, semicolon or tab: the one the header line has most of."""
    with path.open("rb") as file:
        head = file.readline(65536).decode("utf-8", "replace")
    return max(",;\t", key=head.count)


_READERS: dict[str, Callable[[Path, str, Mapping[str, str]], Iterator[RawRow]]] = {
    "": _read_lines,
    ".txt": _read_lines,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_document,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".parquet": _read_columnar,
    ".arrow": _read_columnar,
}
