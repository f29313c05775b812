from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.archives import nameless
from tunekeeper.data.config import Config
from tunekeeper.data.findings import Finding
from tunekeeper.data.importreport import Notes
from tunekeeper.workspace import Workspace


def noted(ws: Workspace, found: list[tuple[str, Finding]], *, replace: bool = False) -> list[dict[str, Any]]:
    """What the report of an import with these findings holds."""
    with nameless() as (file, _):
        notes = Notes(file=file)
        for action, each in found:
            if action == "dropped":
                notes.drop(each, {"n": each.line})
            else:
                notes.flag(each)
        path: Path = notes.save(ws, "desk", replace=replace)
    return [json.loads(line) for line in path.read_text().splitlines()]


def broken(line: int, detail: str = "why") -> Finding:
    return Finding(kind="broken", file="a.csv", line=line, detail=detail)


def test_the_report_holds_all_and_on_record_stays_what_was_dropped_or_redacted_once(ws: Workspace) -> None:
    near = Finding(kind="near_duplicate", id="b", of="a")
    report = noted(ws, [("dropped", broken(1)), ("flagged", near), ("flagged", Finding(kind="pii", id="c"))])
    assert [(row["kind"], row["action"]) for row in report] == [
        ("broken", "dropped"),
        ("near_duplicate", "flagged"),
        ("pii", "flagged"),
    ]
    noted(ws, [("dropped", broken(2)), ("dropped", broken(1, "still")), ("dropped", broken(2, "again"))])
    kept = [(row["kind"], row["line"], row["detail"]) for row in drafts.load_findings(ws, "desk")]
    assert kept == [("broken", 1, "still"), ("pii", None, ""), ("broken", 2, "again")]
    noted(ws, [("dropped", broken(3))], replace=True)
    assert [row["line"] for row in drafts.load_findings(ws, "desk")] == [3]


def test_the_first_rows_of_each_reason_are_named_and_all_are_counted(ws: Workspace) -> None:
    with nameless() as (file, _):
        notes = Notes(file=file)
        for line in range(1, 6):
            notes.drop(broken(line), None)
            notes.drop(Finding(kind="empty", id=f"e{line}", detail="nothing"), None)
        assert notes.dropped == {"broken": 5, "empty": 5}
        assert notes.broken == ["a.csv:1: why", "a.csv:2: why", "a.csv:3: why"]
        assert notes.left_out[:2] == ["a.csv:1: broken: why", "e1: empty: nothing"]
        assert len(notes.left_out) == 6
        assert notes.by_file == {"a.csv": {"broken": 5}}


@pytest.mark.parametrize(
    ("header", "line", "fix"),
    [
        (
            "id,question,answer,notes",
            "1,Where is it?,Here.",
            "let the first line name the 3 columns that the rows have, or end each row with empty cells up to 4",
        ),
        (
            "question,answer",
            "Where is it, please?,Here, on the shelf.",
            'put cells that hold the separator or a quote in quotes ("a, b"), as a spreadsheet does that saves the table as .csv',
        ),
    ],
)
def test_a_table_of_which_no_row_fits_its_header_is_refused_with_what_mends_it(
    ws: Workspace, tmp_path: Path, header: str, line: str, fix: str
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("\n".join([header, *[line] * 5]) + "\n")
    with pytest.raises(DataError, match="none of the 5 rows can be read") as caught:
        data.import_files(ws, Model(name="desk"), Config(), [table])
    assert caught.value.fix == fix


def test_rows_that_are_no_json_or_csv_are_refused_with_how_to_write_them(ws: Workspace, tmp_path: Path) -> None:
    python, table = tmp_path / "t.jsonl", tmp_path / "t.csv"
    python.write_text("{'question': 'Where?', 'answer': 'Here.'}\n" * 2)
    table.write_text('question,answer\n"She said \\"where\\"?","Here."\n')
    for path, fix in ((python, "write one JSON object a line"), (table, "write a quote inside a quoted cell twice")):
        with pytest.raises(DataError, match="can be read") as caught:
            data.import_files(ws, Model(name="desk"), Config(), [path])
        assert str(caught.value.fix).startswith(fix)


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ('{"text": "Where?", "category": "parcel"}', "--map assistant=category"),
        ('{"question": "Tea?", "A": "no", "B": "yes", "answer": "B"}', "--map user=question,A,B"),
        ('{"id": 1234567890123456789012, "question": "Where?", "answer": "Here."}', "write numbers of so many digits as texts"),
        ('["Where?", 1]', "a row needs a question and its answer"),
        ('{"role": "user", "content": "Where?"}', "a row needs a question and its answer"),
    ],
)
def test_rows_that_lack_one_thing_are_refused_with_what_adds_it(ws: Workspace, tmp_path: Path, line: str, fix: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(f"{line}\n" * 2)
    with pytest.raises(DataError, match="none of the 2 rows can be read") as caught:
        data.import_files(ws, Model(name="desk"), Config(), [path])
    assert str(caught.value.fix).startswith(fix)


def test_a_file_in_another_encoding_is_refused_also_where_some_rows_have_no_foreign_letter(
    ws: Workspace, task: Model, tmp_path: Path
) -> None:
    asked = ["Wie groß?", "Wo ist Größe S?", "Who?", "Why?"]
    path = tmp_path / "old.csv"
    path.write_bytes("".join(["question,answer\n", *(f"{each},So it is {each[:3]}.\n" for each in asked)]).encode("cp1252"))
    with pytest.raises(DataError, match="2 of 4 rows are not UTF-8, and no letter in the file is") as refused:
        data.import_files(ws, task, Config(), [path])
    assert refused.value.fix == "iconv -f WINDOWS-1252 -t UTF-8 old.csv > utf8-old.csv"
    assert not drafts.load_draft(ws, "desk")
    path.write_bytes(path.read_bytes() + "Où?,Ici.\n".encode())  # damage in a file that is UTF-8
    assert data.import_files(ws, task, Config(), [path]).added == 3
