"""Files of rows: JSONL, JSON, tables, packed ones and folders of them, read as a stream with bounded memory.

A row that cannot be read is handed on with its line and the reason; it never ends the import. A file that is no text does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from tunekeeper.core.errors import DataError
from tunekeeper.data import archives, columnar, csvrows, kinds, listed, outside, tables, threads, whatsapp
from tunekeeper.data.batches import Requests, first_asked
from tunekeeper.data.columns import BOTH, named_by, resolve_columns, tells_both
from tunekeeper.data.conversations import Conversation, Unreadable, parse_json, unpacked
from tunekeeper.data.documents import rows_in
from tunekeeper.data.rows import MESSAGE_ROLES, flat_row, is_flat, is_message, is_shaped, parse_row
from tunekeeper.data.spreadsheets import Fault, sheets_of

FILE_LIMIT_JSON = 64 << 20
"""Bytes of a `.json` file of one object, which has to be parsed as a whole; a list is read row by row."""
MAX_MESSAGES = 2000
"""Messages of one row."""
STDIN_LIMIT = 16 << 30
"""Bytes read from standard input."""
STDIN = Path("-")
"""The path that stands for standard input."""
_PIECE = 1 << 20


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """One file to read, unpacked."""

    path: Path
    """Where its bytes lie."""
    name: str
    """What it is called in reports."""
    kind: str
    """Its suffix, or what stands for it."""
    sheet: str | None = None
    """The sheet of a workbook; None for the first that holds anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peek:
    """How a file of flat rows begins."""

    name: str
    """Name of the file."""
    header: list[str]
    """Its columns."""
    rows: list[tuple[int, dict[str, Any]]]
    """The first rows that can be read, each with its line."""


def read_rows(
    path: Path,
    mapping: Mapping[str, str] | None = None,
    name: str | None = None,
    requests: Requests | None = None,
    assistants: frozenset[str] = frozenset(),
) -> Iterator[RawRow]:
    """The rows of a file, an archive or a dataset folder, in order. `mapping`: role → column (`user`, `assistant`, `system`, …).
    `FILE.xlsx#SHEET` names a sheet. `name`: what it is called in reports, else its own name. `requests`: of batches, known so
    far; those of this file are added to them. `assistants`: names, in small letters, of who answers where people speak by name.

    Raises DataError for a file that is missing, empty, of another kind, unpacks to too much, or lacks a column; DiskFull.
    """
    rows = (row for source in _sources(path, name) for row in _read(source, mapping or {}, requests))
    yield from _brought_together(rows, assistants)


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """What each file is called in reports: its name, with as many of its folders before it as tell it from another one."""
    alike: dict[str, list[Path]] = {}
    for path in dict.fromkeys(paths):
        alike.setdefault(path.name if path.name not in ("", "..") else path.resolve().name, []).append(path)
    names: dict[Path, str] = {}
    for name, those in alike.items():
        ends = [path.absolute().parts for path in those]
        deep = next((n for n in range(1, 64) if len({end[-n:] for end in ends}) == len(ends)), 64)
        names |= {path: "/".join(end[-deep:]) if deep > 1 else name for path, end in zip(those, ends, strict=True)}
    return names


def read_stdin(
    stream: BinaryIO, mapping: Mapping[str, str] | None = None, assistants: frozenset[str] = frozenset()
) -> Iterator[RawRow]:
    """The rows of standard input: JSONL, JSON or CSV by its first character. Raises DataError, DiskFull.

    The bytes wait in a file without a name, which vanishes with the process: a row is redacted before anything is stored.
    """
    with archives.nameless() as (file, path):
        _copy(stream, file)
        file.flush()
        kinds.inspect(path, "stdin")
        with kinds.readable(path, "stdin") as text:
            rows = _read(_Source(path=text, name="stdin", kind=kinds.kind_of(text)), mapping or {})
            yield from _brought_together(rows, assistants)


def _brought_together(rows: Iterator[RawRow], assistants: frozenset[str]) -> Iterator[RawRow]:
    """The rows, with messages that stand in a row each as the talks they are part of, and a role for who speaks by name."""
    for (single, place), group in itertools.groupby(rows, _place):
        if not single:
            yield from (_sided(row, assistants) for row in group)
            continue
        pieces = ((row.line, row.file, row.conversation) for row in group if row.conversation is not None)
        for line, file, talk in threads.gathered(place, pieces):
            row = RawRow(file=file, line=line, broken=talk if isinstance(talk, str) else "")
            yield row if isinstance(talk, str) else _sided(replace(row, conversation=talk), assistants)


def _place(row: RawRow) -> tuple[bool, str]:
    """Whether a row is one message, and the file or folder whose messages belong together."""
    single = row.conversation is not None and row.conversation.shape == threads.SHAPE
    return single, (row.file.rpartition("/")[0] or row.file) if single else ""


def _sided(row: RawRow, assistants: frozenset[str]) -> RawRow:
    if row.conversation is None:
        return row
    try:
        told = _bounded(threads.sided(row.conversation, assistants))
    except Unreadable as error:
        return RawRow(file=row.file, line=row.line, broken=error.message)
    return row if told is row.conversation else replace(row, conversation=told)


def peek(path: Path, mapping: Mapping[str, str], count: int) -> Peek | None:
    """The columns and the first `count` rows of a file whose rows are flat (of a folder or archive: of its first file); None for
    one with a shape of its own. Raises DataError as `read_rows` does, but never for a column."""
    for source in _sources(path):
        if source.kind in tables.KINDS:
            with tables.opened_table(source.path, source.name, source.kind, source.sheet, _fitting(mapping)) as table:
                if is_shaped(table.header, mapping):
                    return None
                found = ((row.line, row.cells) for row in table.rows if not row.trouble)
                return Peek(name=table.name, header=table.header, rows=list(itertools.islice(found, count)))
        if source.kind == ".json":
            return None
        rows = list(itertools.islice(_objects(source.path), count))
        header = list(dict.fromkeys(str(key) for _, row in rows for key in row))
        return Peek(name=source.name, header=header, rows=rows) if rows and is_flat(rows[0][1], mapping) else None
    return None


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in tables.lines(path):
        try:
            row = _parse(line) if line is not None and line.strip() else None
        except Unreadable:
            continue
        if isinstance(row, dict):
            yield number, row


def _sources(path: Path, name: str | None = None) -> Iterator[_Source]:
    if path.is_dir():
        for shard in first_asked(columnar.shards(path)):
            yield from _files(shard, f"{name or path.resolve().name}/{shard.relative_to(path).as_posix()}")
        return
    called = name or path.name
    base, mark, sheet = called.rpartition("#")
    named = bool(mark) and not path.exists() and Path(base).suffix.casefold() in (".xlsx", ".xlsm")
    file = path.with_name(path.name.rpartition("#")[0]) if named else path
    yield from _files(file, base if named else called, sheet if named else None)


def _files(path: Path, name: str, sheet: str | None = None) -> Iterator[_Source]:
    """The file itself, or what is packed in it, one after the other, text as UTF-8."""
    for place, called, kind in _opened_files(path, name):
        with kinds.readable(place, called) as text:
            yield _checked(text, called, kind, sheet)


def _opened_files(path: Path, name: str) -> Iterator[tuple[Path, str, str]]:
    """Where a file lies, what it is called, and its kind."""
    kind = path.suffix.casefold()
    if not path.is_file():
        if path.exists():
            raise DataError(
                f"{path}: a pipe or a device, not a file", fix="let it be standard input: … | tunekeeper data import - --model M"
            )
        raise DataError(f"{path}: no such file", fix="check the path")
    if kind == ".zip":
        for entry, place in archives.tables(path, name, _PACKED):
            yield place, f"{name}/{entry}", PurePosixPath(entry).suffix.casefold()
    elif kind in archives.SUFFIXES:
        with archives.unpacked(path, name) as place:
            yield place, name, Path(path.stem).suffix.casefold() or kinds.kind_of(place)
    else:
        yield path, name, kind


def _checked(path: Path, name: str, kind: str, sheet: str | None = None) -> _Source:
    if kind in (".xls", ".xlsb", ".ods"):
        raise DataError(f"{name}: a spreadsheet in {kind} is not read", fix="save it as .xlsx, or as .csv in UTF-8")
    if kind in (".tar", ".tgz", ".7z", ".rar"):
        raise DataError(f"{name}: an archive of kind {kind} is not read", fix="unpack it and give the folder, or pack it as .zip")
    if kind not in _TEXTS and kind not in tables.KINDS and kind != ".json":
        raise DataError(
            f"{name}: no reader for {kind!r}", fix="give .jsonl, .json, .csv, .tsv, .xlsx or .parquet, or one of them packed"
        )
    kinds.inspect(path, name, binary=kind in (".parquet", ".arrow", ".feather"), packed=kind in (".xlsx", ".xlsm"))
    return _Source(
        path=path, name=name, kind=kinds.held(path, kind) if kind in (".json", ".jsonl", ".ndjson") else kind, sheet=sheet
    )


def _read(source: _Source, mapping: Mapping[str, str], requests: Requests | None = None) -> Iterator[RawRow]:
    if source.kind in tables.KINDS:
        yield from _read_table(source, mapping)
    elif source.kind == ".json":
        yield from _read_document(source.path, source.name, mapping, requests)
    elif source.kind in ("", ".txt") and whatsapp.holds(source.path):
        for line, said in whatsapp.messages(source.path):
            long = f"the message is longer than {tables.LINE_LIMIT >> 20} MB"
            yield RawRow(file=source.name, line=line, broken=long) if said is None else _shaped(source.name, line, said, mapping)
    else:
        yield from _read_lines(source.path, source.name, mapping, requests)


def _copy(stream: BinaryIO, file: Any) -> None:
    taken = 0
    while piece := stream.read(_PIECE):
        taken += len(piece)
        if taken > STDIN_LIMIT:
            raise DataError(f"stdin: more than {STDIN_LIMIT >> 30} GB", fix="write it to a file and import that")
        file.write(piece)


def _read_lines(path: Path, name: str, mapping: Mapping[str, str], requests: Requests | None) -> Iterator[RawRow]:
    for number, line in tables.lines(path):
        if line is None:
            yield RawRow(file=name, line=number, broken=f"the line is longer than {tables.LINE_LIMIT >> 20} MB")
        elif line.strip():
            yield from _rows(name, number, line, mapping, requests)


def _rows(file: str, number: int, text: Any, mapping: Mapping[str, str], requests: Requests | None = None) -> Iterator[RawRow]:
    """The row of a line, or one that was parsed; of a line that holds many rows each; none of what is said of rows elsewhere."""
    try:
        row = _parse(text) if isinstance(text, bytes) else text
        several = outside.rows_in_line(row)
        for each in [row] if several is None else several:
            if requests is None or (each := requests.joined(each)) is not None:
                yield _shaped(file, number, each, mapping)
    except Unreadable as error:
        yield RawRow(file=file, line=number, broken=error.message)


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


def _read_document(path: Path, name: str, mapping: Mapping[str, str], requests: Requests | None) -> Iterator[RawRow]:
    """A `.json` file: a list of rows, read row by row, or one object. Each row is named by its place in the list."""
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        for number, text in enumerate(listed.elements(path, name), 1):
            if number == 1 and _is_talk(text):  # the list is one conversation
                yield _shaped(name, 1, _whole_document(path, name, mapping), mapping)
                return
            yield from _rows(name, number, text, mapping, requests)
    else:
        for number, row in enumerate(_whole_document(path, name, mapping), 1):
            yield from _rows(name, number, row, mapping, requests)


def _is_talk(first: bytes) -> bool:
    """Whether the first element of a list is a message, and the list so a conversation."""
    try:
        return is_message(_parse(first))
    except Unreadable:
        return False


def _whole_document(path: Path, name: str, mapping: Mapping[str, str]) -> list[Any]:
    """The rows of one object."""
    if path.stat().st_size > FILE_LIMIT_JSON:
        raise DataError(
            f"{name}: one object above {FILE_LIMIT_JSON >> 20} MB cannot be streamed", fix="write it as .jsonl, one row a line"
        )
    try:
        document = _parse(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except Unreadable as error:
        several = error.message.endswith("Extra data")
        fix = f"jq -c . {name} > rows.jsonl" if several else "a .json file holds one list of rows; one row a line is .jsonl"
        raise DataError(f"{name}: {error.message}", fix=fix) from None
    rows = rows_in(document, mapping)
    if rows is None:
        raise DataError(f"{name}: a .json file holds one list of rows, not {type(document).__name__}")
    return rows


def _shaped(file: str, number: int, row: Any, mapping: Mapping[str, str]) -> RawRow:
    return _read_as(file, number, parse_row, row, mapping)


def _read_as(file: str, number: int, reader: Callable[[Any, Mapping[str, str]], Conversation], row: Any, told: Any) -> RawRow:
    try:
        return RawRow(file=file, line=number, conversation=reader(row, told))
    except Unreadable as error:
        return RawRow(file=file, line=number, broken=error.message)


def _read_table(source: _Source, mapping: Mapping[str, str]) -> Iterator[RawRow]:
    with tables.opened_table(source.path, source.name, source.kind, source.sheet, _fitting(mapping)) as table:
        columns = None if is_shaped(table.header, mapping) else _columns_of(table, source, mapping)
        used = named_by(columns[role] for role in MESSAGE_ROLES if role in columns) if columns is not None else set()
        for row in table.rows:
            yield _table_row(table.name, row, columns, used, mapping)


def _fitting(mapping: Mapping[str, str]) -> Callable[[list[str]], bool]:
    """Whether a row of a sheet is its header: above it there may be a title."""
    return lambda header: is_shaped(header, mapping) or tells_both(header, mapping)


def _columns_of(table: tables.Table, source: _Source, mapping: Mapping[str, str]) -> dict[str, str]:
    """Role → column. Raises DataError, which names another sheet where the first one of a workbook has no such columns."""
    try:
        return resolve_columns(table.header, mapping, table.name)
    except DataError as error:
        workbook = source.kind in (".xlsx", ".xlsm") and source.sheet is None
        sheets = [f"{source.name}#{title}" for title in sheets_of(source.path, source.name)] if workbook else []
        others = [sheet for sheet in sheets if sheet != table.name]
        if not others:
            raise
        too = "" if error.fix == BOTH else f", or {error.fix}"
        raise DataError(error.message, fix=f"another sheet: {others[0]}{too}") from None


def _table_row(
    file: str, row: tables.TableRow, columns: Mapping[str, str] | None, used: set[str], mapping: Mapping[str, str]
) -> RawRow:
    """`columns`: role → column of a table of flat rows, else None; `used`: the columns that its messages are made of."""
    cells = {key: cell for key, cell in row.cells.items() if not isinstance(cell, Fault)}
    faults = [row.cells[key] for key in row.cells.keys() - cells.keys() if columns is None or key in used]
    if row.trouble or faults:
        return RawRow(file=file, line=row.line, broken=row.trouble or min(faults))
    if columns is not None:
        coded = [key for key in used if isinstance(cell := cells.get(key), str) and cell.startswith(columnar.BYTES)]
        if coded:
            return RawRow(file=file, line=row.line, broken=f"the bytes in {min(coded)!r} are not UTF-8")
        return _read_as(file, row.line, flat_row, cells, columns)
    if csvrows.is_ours(cells):
        return _from_our_table(file, row.line, cells)
    given = {key: cell for key, cell in cells.items() if cell not in (None, "") or key in outside.SIDES}
    return _shaped(file, row.line, given if "instruction" in given else _opened(given), mapping)


def _from_our_table(file: str, line: int, cells: Mapping[str, Any]) -> RawRow:
    try:
        return _shaped(file, line, csvrows.row_of(cells, parse_json), {})
    except Unreadable as error:
        return RawRow(file=file, line=line, broken=error.message)


def _opened(row: dict[str, Any]) -> Any:
    try:
        return unpacked(row)
    except Unreadable:
        return row


_TEXTS = ("", ".txt", ".jsonl", ".ndjson")
_PACKED = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
"""Kinds of files that are taken from a zip archive; what else is in it, such as a README, is left."""
