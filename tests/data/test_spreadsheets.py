from __future__ import annotations

import random
import tracemalloc
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import python_calamine

from tunekeeper.core.errors import DataError
from tunekeeper.data import spreadsheets
from tunekeeper.data.formats import RawRow, read_rows
from tunekeeper.data.spreadsheets import column_letters, opened_sheet

HEADER = ["id", "ticket", "answer", "created"]
RELATIONS = """<?xml version="1.0"?><Relationships xmlns="r"><Relationship Id="r1" Type="x/worksheet" Target="sheet.xml"/>
<Relationship Id="r2" Type="x/sharedStrings" Target="/xl/texts.xml"/></Relationships>"""
WORKBOOK = """<?xml version="1.0"?><workbook xmlns:r="r"><sheets><sheet name="One" sheetId="1" r:id="r1"/></sheets></workbook>"""


def book(path: Path, **sheets: list[list[Any]]) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def raw(path: Path, sheet: str, texts: str = "<sst/>") -> Path:
    """A workbook out of the XML of its sheet and its shared texts."""
    parts = {"_rels/workbook.xml.rels": RELATIONS, "workbook.xml": WORKBOOK, "sheet.xml": sheet, "texts.xml": texts}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"xl/{name}", content)
    return path


def said(row: RawRow) -> list[str]:
    assert row.conversation is not None, row.broken
    return [m["content"] for m in row.conversation.messages]


def test_a_sheet_is_read_with_the_row_numbers_that_the_spreadsheet_shows(tmp_path: Path) -> None:
    day = datetime(2026, 1, 2)
    rows = [[], HEADER, [1, "How?", "So.", day], [], [2.5, "Why?", True, day.replace(hour=9, minute=30)], [3, None, "x", None]]
    first, second, third = read_rows(book(tmp_path / "t.xlsx", Tickets=rows))
    assert [(row.file, row.line) for row in (first, second, third)] == [("t.xlsx#Tickets", n) for n in (3, 5, 6)]
    assert (said(first), said(second), said(third)) == (["How?", "So."], ["Why?", "true"], ["", "x"])
    assert first.conversation is not None
    assert second.conversation is not None
    assert first.conversation.metadata == {"id": 1, "created": "2026-01-02"}
    assert second.conversation.metadata == {"id": 2.5, "created": "2026-01-02T09:30:00"}


def test_the_first_sheet_that_holds_anything_is_read_unless_another_is_named(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", Empty=[], A=[HEADER, [1, "a", "b"]], B=[HEADER, [1, "c", "d"]])
    assert [said(row) for row in read_rows(path)] == [["a", "b"]]
    assert [said(row) for row in read_rows(tmp_path / "t.xlsx#b")] == [["c", "d"]]
    with pytest.raises(DataError, match=r"no sheet 'C'; sheets are: Empty, A, B"):
        list(read_rows(tmp_path / "t.xlsx#C"))
    with pytest.raises(DataError, match="no sheet with rows"):
        list(read_rows(tmp_path / "t.xlsx#Empty"))


def test_a_formula_gives_its_stored_value_or_says_that_it_has_none(tmp_path: Path) -> None:
    cells = '<c r="A{0}" t="str"><v>{1}</v></c><c r="B{0}"{2}><f>1+1</f>{3}</c>'
    rows = [
        '<row r="1"><c t="inlineStr"><is><t>ticket</t></is></c><c t="inlineStr"><is><t>answer</t></is></c></row>',
        f'<row r="2">{cells.format(2, "How?", "", "<v>2</v>")}</row>',
        f'<row r="3">{cells.format(3, "Why?", "", "")}</row>',
        "<row r='4'>" + cells.format(4, "=1+1", " t='e'", "<v>#N/A</v>") + "</row>",
    ]
    first, second, third = read_rows(raw(tmp_path / "t.xlsx", f"<worksheet><sheetData>{''.join(rows)}</sheetData></worksheet>"))
    assert said(first) == ["How?", "2"]
    assert second.broken.startswith("cell B3 is a formula whose value was never stored")
    assert third.broken == "cell B4 shows the error #N/A"


def test_every_cell_is_what_another_reader_sees(tmp_path: Path) -> None:
    rng = random.Random(3)
    start = datetime(1999, 3, 1)
    kinds = [
        lambda: rng.choice(["text", " spaces ", "line\nend", "Grüße 🎉", "<&>", "_x000D_"]),
        lambda: rng.randint(-(10**9), 10**9),
        lambda: rng.randint(-1000, 1000) / 8,
        lambda: start + timedelta(minutes=rng.randint(0, 10**7)),
        lambda: date(2026, 1, 1) + timedelta(days=rng.randint(0, 400)),
        lambda: time(rng.randint(0, 23), rng.randint(0, 59), 5),
        lambda: rng.choice([True, False]),
        lambda: None,
    ]
    rows = [[rng.choice(kinds)() for _ in range(6)] for _ in range(200)]
    path = book(tmp_path / "t.xlsx", One=[["first"] * 6, *rows])
    theirs = python_calamine.load_workbook(path).get_sheet_by_name("One").to_python()
    with opened_sheet(path, "t.xlsx", None) as (_, mine):
        ours = {number: cells or {} for number, cells in mine}
    for number, cells in enumerate(theirs, 1):
        seen = [ours.get(number, {}).get(column, "") for column in range(1, 7)]
        assert [plain(cell) for cell in cells] == seen, number


def plain(cell: Any) -> Any:
    if isinstance(cell, datetime):
        return cell.isoformat() if cell.time() != time() else cell.date().isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def test_a_cell_in_the_last_corner_a_giant_row_and_a_giant_text_take_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreadsheets, "ROW_LIMIT", 1 << 20)
    head = '<row r="1"><c t="str"><v>ticket</v></c><c t="str"><v>answer</v></c></row>'
    far = '<row r="7"><c r="XFD7"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    long = '<row r="8"><c t="s"><v>0</v></c><c t="s"><v>0</v></c><c t="s"><v>0</v></c></row>'
    good = '<row r="9"><c t="str"><v>How?</v></c><c t="str"><v>So.</v></c></row>'
    text = "<sst><si><t>" + "x" * (900 << 10) + "</t></si></sst>"
    path = raw(tmp_path / "t.xlsx", f"<worksheet><sheetData>{head}{far}{long}{good}</sheetData></worksheet>", text)
    tracemalloc.start()
    found = list(read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.line, row.broken) for row in found] == [(7, ""), (1048576, ""), (8, "the row is longer than 1 MB"), (9, "")]
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><worksheet>&a;</worksheet>', "declares entities"),
        ("<worksheet><sheetData><row", "is damaged"),
        ("<worksheet><row " + "a" * (6 << 20) + '="1"/></worksheet>', "one mark is longer than 4 MB"),
        ("<worksheet><sheetData/></worksheet>", "no sheet with rows"),
    ],
)
def test_a_workbook_made_to_harm_is_refused_in_one_line(tmp_path: Path, sheet: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_rows(raw(tmp_path / "t.xlsx", sheet)))
    assert "\n" not in str(caught.value)


def test_a_workbook_that_unpacks_to_much_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        list(read_rows(raw(tmp_path / "t.xlsx", "<worksheet/>", "<sst>" + " " * (40 << 20) + "</sst>")))
    with zipfile.ZipFile(tmp_path / "other.xlsx", "w") as archive:
        archive.writestr("word/document.xml", "<document/>")
    with pytest.raises(DataError, match="not an XLSX workbook"):
        list(read_rows(tmp_path / "other.xlsx"))


def test_columns_without_a_name_go_by_their_letters_and_a_name_that_stands_twice_by_both(tmp_path: Path) -> None:
    [row] = read_rows(book(tmp_path / "t.xlsx", One=[["ticket", "answer", "note", "note"], ["How?", "So.", "a", "b", "c"]]))
    assert row.conversation is not None
    assert row.conversation.metadata == {"note": "a", "note D": "b", "E": "c"}
    assert [column_letters(n) for n in (1, 26, 27, 702, 703, 16384)] == ["A", "Z", "AA", "ZZ", "AAA", "XFD"]


def test_where_the_first_sheet_is_no_table_of_rows_the_others_are_named(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", Notes=[["About this file"]], Tickets=[["user", "assistant"], ["Hi", "Hello"]])
    with pytest.raises(DataError, match="Notes: no column for 'user'") as caught:
        list(read_rows(path))
    assert caught.value.fix == "another sheet: t.xlsx#Tickets"


def test_the_header_of_a_sheet_is_found_below_a_title_and_groups_of_columns(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for cells in (["Desk, third quarter", None, None], [], ["Ticket", None, "Team"], ["id", "question", "answer"]):
        sheet.append(cells)
    sheet.merge_cells("A1:C1")
    sheet.append([1, "Where is it?", "Here."])
    path = tmp_path / "t.xlsx"
    book.save(path)
    [row] = read_rows(path)
    assert row.conversation is not None
    assert (row.line, row.conversation.metadata["id"]) == (5, 1)
    assert [m["content"] for m in row.conversation.messages] == ["Where is it?", "Here."]
    [told] = list(read_rows(path, {"user": "question", "assistant": "answer"}))
    assert told.line == 5


def test_a_sheet_without_such_columns_names_those_of_its_first_row(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["a", "b"])
    sheet.append(["c", "d"])
    path = tmp_path / "t.xlsx"
    book.save(path)
    with pytest.raises(DataError, match="columns are: a, b"):
        list(read_rows(path))
