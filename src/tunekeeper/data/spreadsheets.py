"""Rows of XLSX workbooks, read as a stream: cells one row at a time, shared texts from a file beside.

A sheet may name a cell in its last corner and nothing else, or a text of a gigabyte: nothing is ever laid out as a grid, and what
is kept of one row is bounded. Formulas give the value that was stored with them; nothing is evaluated.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from xml.parsers import expat
from zipfile import ZipFile

from tunekeeper.core.errors import DataError
from tunekeeper.data import archives
from tunekeeper.data.mergedcells import column_number, merged_in

ROW_LIMIT = 4 << 20
"""Characters of one row; a longer one is left out without being held."""
MOST_COLUMNS = 16_384
MOST_STRINGS = 20_000_000
"""Shared texts of one workbook."""
TOKEN_LIMIT = 4 << 20
"""Bytes of one mark of the XML, such as an element with its attributes."""
PART_LIMIT = 16 << 20
"""Characters that are kept of a small part of the workbook: its list of sheets, its styles."""
_BUILT_IN = {**dict.fromkeys((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)), "moment"), 46: "span"}
"""Number formats with fixed numbers that show a date or a time, or a span of time."""
_FORMAT_NOISE = re.compile(r'"[^"]*"|\\.|[_*].|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE)
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_ESCAPED = re.compile(r"_x(000[19ADad]|005[Ff])_")

Row = tuple[int, dict[int, Any] | None]
"""A row's number as the spreadsheet shows it, and its cells by column from 1; None above the limit."""


class Fault(str):
    """In place of a cell's value: why it has none."""


@contextmanager
def opened_sheet(path: Path, name: str, sheet: str | None) -> Iterator[tuple[str, Iterator[Row]]]:
    """The name and the rows of one sheet of a workbook: `sheet`, else the first that holds anything. Raises DataError."""
    with archives.opened_zip(path, name) as archive, archives.nameless() as (texts, _):
        book = _Book(archive=archive, name=name, strings=_Strings(file=texts))
        book.load()
        wanted = [found for found in book.sheets if sheet is None or found[0].casefold() == sheet.casefold()]
        if not wanted:
            there = ", ".join(title for title, _ in book.sheets) or "none"
            raise DataError(f"{name}: no sheet {sheet or ''!r}; sheets are: {there}", fix=f"{name}#SHEET")
        for title, part in wanted:
            rows = book.rows(part)
            first = next(rows, None)
            if first is not None:
                with closing(rows):  # whoever stops early leaves no part of the archive open
                    yield title, _chain(first, rows)
                return
    raise DataError(f"{name}: no sheet with rows", fix="save it again, or give another file")


def sheets_of(path: Path, name: str) -> list[str]:
    """The names of a workbook's visible sheets, in order. Raises DataError."""
    with archives.opened_zip(path, name) as archive, archives.nameless() as (texts, _):
        book = _Book(archive=archive, name=name, strings=_Strings(file=texts))
        book.load()
        return [title for title, _ in book.sheets]


def column_letters(column: int) -> str:
    """The letters of a column, from 1: A, B … Z, AA."""
    letters = ""
    while column > 0:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _chain(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows


@dataclass(slots=True)
class _Strings:
    """The texts that cells share, one after the other in a file, found by number."""

    file: BinaryIO
    ends: array[int] = field(default_factory=lambda: array("q"))

    def add(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.file.write(data)
        self.ends.append((self.ends[-1] if self.ends else 0) + len(data))

    def get(self, number: int) -> str | None:
        if not 0 <= number < len(self.ends):
            return None
        start = self.ends[number - 1] if number else 0
        return os.pread(self.file.fileno(), self.ends[number] - start, start).decode("utf-8", "surrogatepass")


@dataclass(slots=True)
class _Book:
    """What has to be known of a workbook before its cells mean anything."""

    archive: ZipFile
    name: str
    strings: _Strings
    sheets: list[tuple[str, str]] = field(default_factory=list)
    shows: list[str] = field(default_factory=list)
    epoch: date = date(1899, 12, 30)

    def load(self) -> None:
        kinds: dict[str, str] = {}
        targets: dict[str, str] = {}
        listed: list[tuple[str, str, bool]] = []
        for tag, attributes in self._marks("xl/_rels/workbook.xml.rels"):
            if tag == "Relationship":
                kinds[attributes.get("Id", "")] = attributes.get("Type", "").rpartition("/")[2]
                targets[attributes.get("Id", "")] = _part(attributes.get("Target", ""))
        for tag, attributes in self._marks("xl/workbook.xml"):
            if tag == "workbookPr" and attributes.get("date1904") in ("1", "true"):
                self.epoch = date(1904, 1, 1)
            elif tag == "sheet":
                own = next((value for key, value in attributes.items() if key.rpartition(":")[2] == "id"), "")
                listed.append((attributes.get("name", ""), own, attributes.get("state", "visible") != "visible"))
        listed.sort(key=lambda each: each[2])  # hidden ones last
        self.sheets = [(title, targets[own]) for title, own, _ in listed if kinds.get(own) == "worksheet"]
        if not self.sheets:
            raise DataError(f"{self.name}: not an XLSX workbook, or one without a sheet of cells", fix="save it as .xlsx or .csv")
        by_kind = {kind: targets[own] for own, kind in kinds.items()}
        self._styles(by_kind.get("styles"))
        self._shared(by_kind.get("sharedStrings"))

    def _marks(self, part: str) -> list[tuple[str, dict[str, str]]]:
        """The elements of a small part with their attributes; none where the workbook lacks it."""
        found: list[tuple[str, dict[str, str]]] = []
        size = [0]

        def start(tag: str, attributes: dict[str, str]) -> None:
            size[0] += len(tag) + sum(len(key) + len(value) for key, value in attributes.items())
            if size[0] > PART_LIMIT:
                raise DataError(f"{self.name}: {part} is longer than {PART_LIMIT >> 20} MB", fix="save it as .csv")
            found.append((tag.rpartition(":")[2], attributes))

        for _ in self._parse(part, start, None, None):
            pass
        return found

    def _styles(self, part: str | None) -> None:
        codes: dict[str, str] = {}
        inside = False
        for tag, attributes in self._marks(part) if part else ():
            if tag == "numFmt":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            inside = tag == "cellXfs" or (inside and tag not in ("cellStyles", "dxfs", "cellStyleXfs"))
            if inside and tag == "xf":
                own = attributes.get("numFmtId", "0")
                shown = _FORMAT_NOISE.sub("", codes.get(own, ""))
                told = "span" if "[" in shown else "moment" if re.search(r"[dmyhs]", shown, re.IGNORECASE) else ""
                self.shows.append(told if own in codes else _BUILT_IN.get(int(own) if own.isdigit() else 0, ""))

    def _shared(self, part: str | None) -> None:
        texts: list[str] = []
        state = {"text": False, "size": 0, "phonetic": False}

        def start(tag: str, attributes: dict[str, str]) -> None:
            kind = tag.rpartition(":")[2]
            if kind == "si":
                texts.clear()
                state["size"] = 0
            state["phonetic"] = state["phonetic"] or kind == "rPh"
            state["text"] = kind == "t" and not state["phonetic"]

        def end(tag: str) -> None:
            kind = tag.rpartition(":")[2]
            state["text"] = False
            state["phonetic"] = state["phonetic"] and kind != "rPh"
            if kind == "si":
                if len(self.strings.ends) >= MOST_STRINGS:
                    raise DataError(f"{self.name}: more than {MOST_STRINGS} shared texts", fix="save the sheet as .csv")
                self.strings.add(_unescaped("".join(texts)))

        def said(text: str) -> None:
            if state["text"] and state["size"] <= ROW_LIMIT:
                texts.append(text)
                state["size"] += len(text)

        for _ in self._parse(part, start, end, said) if part else ():
            pass
        self.strings.file.flush()

    def rows(self, part: str) -> Generator[Row, None, None]:
        """The rows of a sheet that hold anything, in the order they stand in; cells merged downwards hold their value in each
        row."""
        if part not in self.archive.namelist():
            return
        sheet, merged = _Sheet(book=self), merged_in(archives.pieces(self.archive, self.archive.getinfo(part), self.name))
        for _ in self._parse(part, sheet.start, sheet.end, sheet.said):
            yield from (row if row[1] is None else (row[0], merged.filled(row[0], row[1])) for row in sheet.done)
            sheet.done.clear()

    def _parse(self, part: str, start: Any, end: Any, said: Any) -> Iterator[None]:
        """Read a part of the workbook; a turn for each piece of it."""
        try:
            entry = self.archive.getinfo(part)
        except KeyError:
            return
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, said
        parser.StartDoctypeDeclHandler = self._no_doctype
        fed = 0
        try:
            for piece in archives.pieces(self.archive, entry, self.name):
                parser.Parse(piece, False)
                fed += len(piece)
                if fed - parser.CurrentByteIndex > TOKEN_LIMIT:
                    raise DataError(f"{self.name}: {part}: one mark is longer than {TOKEN_LIMIT >> 20} MB", fix="save it as .csv")
                yield
            parser.Parse(b"", True)
            yield
        except expat.ExpatError as error:
            raise DataError(f"{self.name}: {part} is damaged: {error}", fix="save it again") from None

    def _no_doctype(self, *_: Any) -> None:
        raise DataError(f"{self.name}: declares entities, which no spreadsheet does", fix="save it again")


@dataclass(slots=True)
class _Sheet:
    """The cells of a sheet as its XML comes in."""

    book: _Book
    done: list[Row] = field(default_factory=list)
    row: int = 0
    column: int = 0
    cells: dict[int, Any] = field(default_factory=dict)
    size: int = 0
    kind: str = ""
    style: int = 0
    formula: bool = False
    reading: bool = False
    texts: list[str] = field(default_factory=list)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "c":
            found = _REFERENCE.fullmatch(attributes.get("r", ""))
            self.column = column_number(found[1]) if found else self.column + 1
            self.kind, style = attributes.get("t", "n"), attributes.get("s", "0")
            self.style, self.formula = int(style) if style.isdigit() and len(style) < 7 else 0, False
            self.texts.clear()
        elif tag == "row":
            number = attributes.get("r", "")
            self.row = int(number) if number.isdigit() and len(number) < 9 else self.row + 1
            self.column, self.size, self.cells = 0, 0, {}
        elif tag in ("v", "t"):
            self.reading = True
        elif tag == "f":
            self.formula = True
        elif tag == "rPh":
            self.kind = "phonetic"

    def said(self, text: str) -> None:
        if self.reading and self.kind != "phonetic":
            self.size += len(text)
            if self.size <= ROW_LIMIT:
                self.texts.append(text)

    def end(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        if tag in ("v", "t"):
            self.reading = False
        elif tag == "rPh":
            self.kind = "inlineStr"
        elif tag == "c":
            self._cell("".join(self.texts))
        elif tag == "row":
            cells = self.cells if self.size <= ROW_LIMIT else None
            if cells or cells is None:
                self.done.append((self.row, cells))

    def _cell(self, text: str) -> None:
        if self.column > MOST_COLUMNS or not (text or self.formula or self.kind == "s"):
            return
        value = self._value(text)
        self.size += len(value) if self.kind == "s" and isinstance(value, str) else 0
        if value is not None and value != "" and self.size <= ROW_LIMIT:
            self.cells[self.column] = value

    def _value(self, text: str) -> Any:
        place = f"cell {column_letters(self.column)}{self.row}"
        if self.kind == "e":
            return Fault(f"{place} shows the error {text[:20]}")
        if not text and self.formula and self.kind != "str":
            return Fault(f"{place} is a formula whose value was never stored: open the workbook, save it, and import that")
        if self.kind == "s":
            return self.book.strings.get(int(text)) if text.isdigit() and len(text) < 10 else None
        if self.kind == "b":
            return text == "1"
        if self.kind in ("str", "inlineStr", "d"):
            return _unescaped(text)
        try:
            number = float(text)
        except ValueError:
            return text
        shown = self.book.shows[self.style] if self.style < len(self.book.shows) else ""
        if shown == "span":
            return str(timedelta(seconds=round(number * 86_400))) if abs(number) < 1_000_000 else number
        return moment_of(number, self.book.epoch) if shown else _number(number, text)


def moment_of(days: float, epoch: date) -> Any:
    """A date, a date with its time, or a time of day, in ISO 8601, of a spreadsheet's count of days since `epoch`; the number
    itself where no calendar has that day."""
    if days < 60 and epoch.year == 1899 and days >= 1:
        days += 1  # spreadsheets believe that 1900 had a 29th of February
    if not 0 <= days < 2_900_000:
        return days
    whole, rest = divmod(round(days * 86_400_000), 86_400_000)
    seconds, milliseconds = divmod(rest, 1000)
    at = time(seconds // 3600, seconds // 60 % 60, seconds % 60, milliseconds * 1000)
    clock = at.isoformat(timespec="milliseconds" if milliseconds else "seconds")
    day = (epoch + timedelta(days=whole)).isoformat()
    return clock if whole == 0 else day if rest == 0 else f"{day}T{clock}"


def _number(number: float, text: str) -> Any:
    if number.is_integer() and abs(number) < 1 << 53:
        return int(number)
    return number if number - number == 0 else text


def _part(target: str) -> str:
    """The name in the archive of what the workbook points to."""
    if target.startswith("/"):
        return target.lstrip("/")
    parts: list[str] = ["xl"]
    for part in PurePosixPath(target).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def _unescaped(text: str) -> str:
    """A text without the spreadsheet's way to write control characters (`_x000D_`)."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def header_of(cells: dict[int, Any]) -> dict[int, str]:
    """Column → its name by the header row; a name that stands twice gets the column's letters."""
    names: dict[int, str] = {}
    for column, value in cells.items():
        own = " ".join(str(value).split())
        names[column] = f"{own} {column_letters(column)}" if own in names.values() else own
    return names
