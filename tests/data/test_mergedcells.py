"""Merged cells of a workbook: each row below has the value, nothing else has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from tunekeeper.data.formats import read_rows
from tunekeeper.data.mergedcells import column_number, merged_in

RANGE = b'<mergeCells count="2"><mergeCell ref="A2:A4"/><x:mergeCell ref="$B$7:C$9" a="1"/><mergeCell ref="D1:F1"/></mergeCells>'


@pytest.fixture
def book(tmp_path: Path) -> Path:
    made = Workbook()
    sheet: Any = made.active
    sheet.append(["category", "question", "answer"])
    for row in (["billing", "Why twice?", "By mistake."], [None, "When back?", "In two days."], [None, "Who pays?", "We do."]):
        sheet.append(row)
    sheet.append([None, "And the pool?", "At eight."])
    sheet.append(["spa", "How warm is it?", "30 degrees."])
    sheet.append([None, None, "Also in winter."])
    sheet.merge_cells("A2:A4")
    sheet.merge_cells("B6:B7")
    made.save(tmp_path / "rows.xlsx")
    return tmp_path / "rows.xlsx"


def test_each_row_of_a_merged_range_has_its_value(book: Path) -> None:
    found = [row.conversation for row in read_rows(book) if row.conversation is not None]
    assert [talk.metadata.get("category") for talk in found] == ["billing", "billing", "billing", None, "spa", None]
    assert [talk.messages[0]["content"] for talk in found[-2:]] == ["How warm is it?", "How warm is it?"]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_ranges_are_found_however_the_file_is_cut(size: int) -> None:
    found = merged_in(RANGE[at : at + size] for at in range(0, len(RANGE), size))
    assert found.begins == {2: [(1, 4)], 7: [(2, 9)]}


def test_columns_have_numbers() -> None:
    assert [column_number(letters) for letters in ("A", "Z", "AA", "XFD")] == [1, 26, 27, 16384]
