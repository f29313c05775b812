"""Tables of rows, each with a header: CSV and TSV, Parquet and Arrow, sheets of a workbook; read as a stream."""

from __future__ import annotations

import csv
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data import columnar, csvrows, spreadsheets

LINE_LIMIT = 4 << 20
"""Bytes of one row; a longer one is skipped without being held in memory."""
_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t)"?\s*\Z')
"""What a spreadsheet may write before the header."""
_LOOKED_AT = 8 << 20
"""Bytes of a file by which its encoding is told."""
_SCRIPTS = (
    ("SHIFT_JIS", r"[\u3040-\u30ff]", 0.2),
    ("EUC-JP", r"[\u3040-\u30ff]", 0.2),
    ("EUC-KR", r"[\uac00-\ud7a3]", 0.8),
    ("GB18030", r"[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]", 0.9),
)
"""Encoding of several bytes a letter, its letters, and how many of the foreign characters must be such."""
_FOREIGN = "not UTF-8"
_DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'(?m)(?:(?<=[,;\t|])|^)"[^"]*(?:""[^"]*)*(?:"|\Z)')
KINDS = (".csv", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx", ".xlsm")
_TITLES = 10
"""Rows of a sheet among which its header is looked for."""
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRow:
    """One row of a table."""

    line: int
    """Where it stands: line, number of the row, or the number that the spreadsheet shows."""
    cells: dict[str, Any]
    """Column → cell; empty where something is wrong with the row."""
    trouble: str = ""
    """Why it cannot be read; empty when it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A header and the rows under it."""

    name: str
    """Name of the file, of a workbook with its sheet."""
    header: list[str]
    """The columns."""
    rows: Iterator[TableRow]
    """The rows, once."""


@contextmanager
def opened_table(
    path: Path, name: str, kind: str, sheet: str | None = None, fits: Callable[[list[str]], bool] | None = None
) -> Iterator[Table]:
    """The table in a file of one of `KINDS`. `sheet`: which of a workbook, else the first that holds anything. `fits`: says of a
    row of a sheet whether it is the header; the first that fits is, else the first row.

    Raises DataError for a file that is none, and while its rows are read for one that is damaged or a bomb.
    """
    if kind in (".xlsx", ".xlsm"):
        with spreadsheets.opened_sheet(path, name, sheet) as (title, rows):
            yield _sheet_table(f"{name}#{title}", rows, fits)
    elif kind in (".parquet", ".arrow", ".feather"):
        header, numbered = (columnar.read_parquet if kind == ".parquet" else columnar.read_arrow)(path, name)
        yield Table(name=name, header=header, rows=_columnar_rows(numbered, header))
    else:
        yield _csv_table(path, name, "\t" if kind == ".tsv" else _delimiter(path))


def lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
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


class _Text:
    """Decoded lines of a table for the csv reader; remembers which physical line it is on and what was wrong with it."""

    def __init__(self, path: Path) -> None:
        self.source = lines(path)
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
            self.trouble = _FOREIGN
        return text


def _csv_table(path: Path, name: str, delimiter: str) -> Table:
    text = _Text(path)
    told = _SEPARATOR.match(_head(path))
    if told is not None:
        delimiter, _ = told[1], next(text)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    csv.field_size_limit(LINE_LIMIT)
    try:
        header = [column.strip() for column in next(reader)]
    except (StopIteration, csv.Error) as error:
        if "new-line character" in str(error):
            fix = f"tr '\\r' '\\n' < {name} > unix-{name}"
            raise DataError(f"{name}: its lines end in a carriage return alone", fix=fix) from None
        raise DataError(f"{name}: line 1 is no header of columns: {error}") from None
    if text.trouble == _FOREIGN and is_foreign(path):
        raise DataError(f"{name}: line 1 is {_FOREIGN}", fix=conversion(path, name))
    twice = [column for column, count in Counter(header).items() if column and count > 1]
    if twice:
        raise DataError(f"{name}: two columns are called {twice[0]!r}", fix="rename one of them in its first line")
    return Table(name=name, header=header, rows=_csv_rows(text, reader, header))


def _csv_rows(text: _Text, reader: Any, header: list[str]) -> Iterator[TableRow]:
    while True:
        line, text.trouble = text.line + 1, ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield TableRow(line=line, cells={}, trouble=f"not CSV: {error}")
            continue
        trouble = text.trouble
        if not trouble and any(cells) and len(cells) != len(header):
            trouble = f"{len(cells)} cells, the header has {len(header)} columns"
        if any(cells) or trouble:
            plain = map(csvrows.unguarded, cells)
            yield TableRow(line=line, cells={} if trouble else dict(zip(header, plain, strict=True)), trouble=trouble)


def _delimiter(path: Path) -> str:
    """Comma, semicolon, tab or bar: of those in the header, outside quotes, the one that most of the first lines have as often as
    it; of several such the one it has most of."""
    with path.open("rb") as file:
        text = file.read(65536).decode("utf-8-sig", "replace")
    header, *others = _QUOTED.sub("", text).splitlines()[:20] or [""]
    there = {mark: header.count(mark) for mark in _DELIMITERS if mark in header} or {",": 0}
    return max(there, key=lambda mark: (sum(line.count(mark) == there[mark] for line in others), there[mark]))


def _head(path: Path) -> str:
    """The first line, or as much of it as a header may have."""
    with path.open("rb") as file:
        return file.readline(65536).decode("utf-8-sig", "replace")


def is_foreign(path: Path) -> bool:
    """Whether no letter beyond ASCII in the first part of a text is UTF-8, so that none of it was written so."""
    with path.open("rb") as file:
        return file.read(_LOOKED_AT).decode("utf-8", "ignore").removeprefix("\ufeff").isascii()


def conversion(path: Path, name: str) -> str:
    """The command that writes a text of another encoding, called `name`, as UTF-8."""
    last = name.rpartition("/")[2]
    return f"iconv -f {encoding_of(path)} -t UTF-8 {shlex.quote(last)} > {shlex.quote(f'utf8-{last}')}"


def encoding_of(path: Path) -> str:
    """The encoding that a text which is not UTF-8 seems to have, by its first part: a guess, for advice only."""
    with path.open("rb") as file:
        head = file.read(65536).rpartition(b"\n")[0] or b""
    runs = re.findall(rb"[\x80-\xff]+", head)  # letters of a Latin alphabet with accents stand alone, others in words
    alone = sum(map(len, runs)) < 2 * len(runs)
    for code, letters, least in _SCRIPTS:
        if alone and code != "SHIFT_JIS":  # whose katakana hold an ASCII letter each
            continue
        try:
            foreign = [c for c in head.decode(code) if not c.isascii()]
        except UnicodeDecodeError:
            continue
        if foreign and sum(re.match(letters, c) is not None for c in foreign) >= least * len(foreign):
            return code
    return "WINDOWS-1251" if runs and sum(map(len, runs)) >= 3 * len(runs) else "WINDOWS-1252"


def _columnar_rows(rows: Iterator[columnar.NumberedRow], header: list[str]) -> Iterator[TableRow]:
    for number, row in rows:
        if row is None:
            yield TableRow(line=number, cells={}, trouble=f"the row is longer than {columnar.ROW_LIMIT >> 20} MB")
        elif (bad := next((key for key, cell in row.items() if columnar.nul_in(cell)), None)) is not None:
            yield TableRow(line=number, cells={}, trouble=f"a NUL character in {bad!r}")
        else:
            yield TableRow(line=number, cells={key: row.get(key) for key in header})


def _sheet_table(name: str, rows: Iterator[spreadsheets.Row], fits: Callable[[list[str]], bool] | None) -> Table:
    """The rows under the header; a cell in a column without a name is called by the column's letters."""
    tops = list(itertools.islice(rows, _TITLES if fits is not None else 1))
    if tops[0][1] is None:
        raise DataError(f"{name}: the row of the header is longer than {spreadsheets.ROW_LIMIT >> 20} MB", fix="save it as .csv")
    heads = [spreadsheets.header_of(cells or {}) for _, cells in tops]
    at = next((at for at, names in enumerate(heads) if fits is not None and fits(list(names.values()))), 0)
    names = heads[at]
    return Table(name=name, header=list(names.values()), rows=_sheet_rows(itertools.chain(tops[at + 1 :], rows), names))


def _sheet_rows(rows: Iterator[spreadsheets.Row], names: dict[int, str]) -> Iterator[TableRow]:
    empty = dict.fromkeys(names.values(), "")
    for number, cells in rows:
        if cells is None:
            yield TableRow(line=number, cells={}, trouble=f"the row is longer than {spreadsheets.ROW_LIMIT >> 20} MB")
        else:
            named = {names.get(column) or spreadsheets.column_letters(column): value for column, value in cells.items()}
            yield TableRow(line=number, cells=empty | named)
