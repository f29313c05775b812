from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data.documents import rows_in
from tunekeeper.data.formats import read_rows

ROWS = [{"question": f"Where is parcel {i}?", "answer": f"In street {i}."} for i in range(3)]
COLUMNS = {key: [row[key] for row in ROWS] for key in ("question", "answer")}
NUMBERED = [{"id": str(i), **row} for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        (COLUMNS, ROWS),
        ({key: {str(i): cell for i, cell in enumerate(cells)} for key, cells in COLUMNS.items()}, ROWS),
        ({"columns": ["question", "answer"], "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}, ROWS),
        ({"schema": {"fields": []}, "data": ROWS}, ROWS),
        ({str(i): row for i, row in enumerate(ROWS)}, NUMBERED),
        ({"version": "1.0", "examples": ROWS}, ROWS),
        ({"features": [{"name": "question"}], "rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]}, ROWS),
    ],
)
def test_a_table_in_one_object_gives_its_rows_however_it_is_written(document: Any, rows: list[Any], tmp_path: Path) -> None:
    assert rows_in(document, {}) == rows
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    assert [(row.line, row.conversation.messages[0]["content"]) for row in read_rows(path) if row.conversation] == [
        (i, row["question"]) for i, row in enumerate(ROWS, 1)
    ]


@pytest.mark.parametrize(
    "document",
    [
        ROWS[0],
        {**ROWS[0], "attachments": [{"name": "a.png"}]},
        {"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function"}]},
        {"question": ["one"], "answer": ["one", "two"]},
        {"question": {"a": 1}, "answer": {"b": 2}},
        {"a": [{"x": 1}], "b": [{"x": 1}]},
        {},
    ],
)
def test_an_object_that_is_a_row_stays_one(document: Any) -> None:
    assert rows_in(document, {}) == [document]


def test_a_table_in_one_object_goes_by_the_columns_that_were_told() -> None:
    document = {"ticket": ["a", "b"], "what we said": ["c", "d"]}
    assert rows_in(document, {"user": "ticket", "assistant": "what we said"}) == [
        {"ticket": "a", "what we said": "c"},
        {"ticket": "b", "what we said": "d"},
    ]
    assert rows_in(document, {}) == [document]


def test_objects_one_after_the_other_over_several_lines_are_refused_with_what_mends_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("\n".join(json.dumps(row, indent=2) for row in ROWS))
    with pytest.raises(DataError, match="Extra data") as caught:
        list(read_rows(path))
    assert caught.value.fix == "jq -c . rows.json > rows.jsonl"


def test_the_rows_of_a_document_of_several_sides_are_those_of_all_sides() -> None:
    row = {"question": "Tea?", "answer": "A drink."}
    assert rows_in({"train": [row, row], "Test": [row]}, {}) == [row, row, row]


def test_pairs_of_texts_under_the_names_of_sides_are_rows(tmp_path: Path) -> None:
    """As CLINC150 is published."""
    path = tmp_path / "data_full.json"
    path.write_text(json.dumps({"oos_val": [["Who won?", "oos"]], "train": [["Is my card lost?", "lost"], ["Hi", "greeting"]]}))
    found = [row.conversation for row in read_rows(path)]
    assert [[m["content"] for m in talk.messages] for talk in found if talk] == [
        ["Who won?", "oos"],
        ["Is my card lost?", "lost"],
        ["Hi", "greeting"],
    ]
