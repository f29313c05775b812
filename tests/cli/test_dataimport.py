from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tunekeeper.cli import dataimport
from tunekeeper.cli.app import main

TABLE = "No,Body,text,answer\n1,How long does it take?,x,Two days.\n2,Where is my parcel?,y,In the post.\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    (tmp_path / "models" / "desk.yaml").write_text("model: desk\n")
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path


def at_a_terminal(project: Path, typed: str, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, and what the terminal shows, of `data import t.csv` with these keys typed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tunekeeper", "data", "import", "t.csv", "--model", "desk", *words]
    shown: list[bytes] = []

    def look() -> None:
        try:
            while piece := os.read(ours, 4096):
                shown.append(piece)
        except OSError:  # the other end is closed
            return

    process = subprocess.Popen(command, cwd=project, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    looking = threading.Thread(target=look)
    looking.start()
    os.write(ours, typed.encode())
    out, _ = process.communicate(timeout=150)
    looking.join(timeout=150)
    os.close(ours)
    return process.returncode, out, b"".join(shown).decode()


def read_draft(project: Path) -> list[list[str]]:
    path = project / ".tunekeeper" / "data" / "desk" / "draft.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [[message["content"] for message in json.loads(line)["messages"]] for line in lines]


def test_a_person_sees_the_guess_changes_it_and_says_yes(project: Path) -> None:
    code, out, shown = at_a_terminal(project, "user=Body\ny\n")
    assert (code, out.splitlines()[0]) == (0, "added 2 of 2 rows; the draft of desk holds 2")
    assert "kept beside each row: No, Body" in shown
    assert "In the post." in shown
    assert read_draft(project)[0] == ["How long does it take?", "Two days."]


def test_a_no_changes_nothing(project: Path) -> None:
    code, out, shown = at_a_terminal(project, "n\n")
    assert (code, out, read_draft(project)) == (2, "", [])
    assert "nothing was imported" in shown


def test_nobody_is_asked_with_yes_or_json(project: Path) -> None:
    code, _, shown = at_a_terminal(project, "", "--yes", "--map", "user=Body")
    assert (code, "is that right" in shown) == (0, False)
    code, out, shown = at_a_terminal(project, "", "--json", "--map", "user=Body")
    assert (code, json.loads(out)["files"][0]["dropped"], "is that right" in shown) == (0, {"already_there": 2}, False)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(project: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """`call("t.csv", …)`: exit code, stdout and stderr of an import without a terminal."""

    def run(name: str, *words: str) -> tuple[int, str, str]:
        code = main(["data", "import", str(project / name), "--model", "desk", "--dir", str(project), *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_without_a_terminal_an_unsure_guess_is_refused_with_the_line_to_write(project: Path, call: Call) -> None:
    (project / "t.csv").write_text(TABLE.replace("Body", "question"))
    code, out, err = call("t.csv")
    assert (code, out, read_draft(project)) == (2, "", [])
    assert err == "error: t.csv: more than one column could be 'user': question, text (fix: --map user=question)\n"
    assert call("t.csv", "--map", "user=question")[0] == 0


def test_a_sheet_of_a_workbook_is_named_behind_the_file(project: Path, call: Call) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["nothing", "here"])
    sheet: Any = book.create_sheet("Mails")
    for line in TABLE.splitlines():
        sheet.append(line.replace("text", "mood").split(","))
    book.save(project / "b.xlsx")
    code, _, err = call("b.xlsx")
    assert (code, "b.xlsx#Sheet: no column for 'user'" in err) == (2, True)
    code, out, _ = call("b.xlsx#Mails", "--json", "--map", "user=Body")
    assert (code, json.loads(out)["files"][0]["file"], json.loads(out)["added"]) == (0, "b.xlsx#Mails", 2)
    line = json.loads((project / ".tunekeeper" / "data" / "desk" / "draft.jsonl").read_text().splitlines()[1])
    assert line["source"] == "file:b.xlsx#Mails:3"


def test_sheets_that_were_not_read_are_named(project: Path, call: Call) -> None:
    book = openpyxl.Workbook()
    for sheet in (book.worksheets[0], book.create_sheet("Feb")):
        sheet.append(["question", "answer"])
        sheet.append([f"What is in {sheet.title}?", "Nothing."])
    book.save(project / "b.xlsx")
    assert f"not read: {project / 'b.xlsx'}#Feb" in call("b.xlsx", "--dry-run")[1].splitlines()
    assert "not read" not in call("b.xlsx#Sheet", "b.xlsx#Feb", "--dry-run")[1]


def test_who_answers_in_a_chat_is_told(project: Path, call: Call) -> None:
    (project / "c.csv").write_text("conversation_id,sender,message\n1,Ann,Where is it?\n1,Bob,There.\n")
    code, _, err = call("c.csv")
    assert (code, read_draft(project)) == (2, [])
    assert "who speaks: 'Ann', 'Bob'" in err
    assert "(fix: --assistant NAME, once for each who answers)" in err
    assert call("c.csv", "--assistant", "@bob")[0] == 0
    assert read_draft(project) == [["Where is it?", "There."]]


def test_turns_of_people_by_name_take_who_answers_as_well(project: Path, call: Call) -> None:
    talk = [{"from": "Ann", "value": "Where is it?"}, {"from": "Bob Desk", "value": "There."}]
    machine = [{"from": "Cleo", "value": "And mine?"}, {"from": "gpt", "value": "Here."}]
    rows = [{"conversations": talk}, {"conversations": machine}]
    (project / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = call("c.jsonl", "--dry-run")
    assert (code, "nobody is known as the assistant; who speaks: 'Ann', 'Bob Desk'" in out) == (0, True)
    assert call("c.jsonl", "--assistant", "bob desk")[0] == 0
    assert read_draft(project) == [["Where is it?", "There."], ["And mine?", "Here."]]
    (project / "d.jsonl").write_text(json.dumps(rows[0]))
    assert "(fix: --assistant NAME, once for each who answers)" in call("d.jsonl")[2]


@pytest.mark.parametrize(("name", "text"), [("r.jsonl", '{"text": "Alone"}'), ("r.csv", "question\nAlone\n"), ("r.jsonl", "{}")])
def test_one_column_cannot_be_mapped_and_the_fix_says_what_is_needed(project: Path, call: Call, name: str, text: str) -> None:
    (project / name).write_text(text)
    code, _, err = call(name)
    assert (code, read_draft(project), "--map" in err) == (2, [], False)
    assert "the only column is" in err
    assert "(fix: a row needs a question and its answer: two columns, or" in err


def test_progress_is_said_every_few_seconds_and_a_short_import_says_nothing(
    project: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataimport, "EVERY", 3600.0)
    assert call("t.csv", "--map", "user=Body", "--json")[2] == ""
    monkeypatch.setattr(dataimport, "EVERY", 0.0)
    err = call("t.csv", "--map", "user=Body", "--dry-run")[2]
    assert "looking for near duplicates: 2 rows after 0 s" in err.splitlines()


def test_many_rows_that_contradict_each_other_are_told_with_how_to_keep_them(project: Path, call: Call) -> None:
    (project / "c.csv").write_text("question,answer\n" + "".join(f"How long is it?,It is {n} metres long.\n" for n in (5, 6, 7)))
    assert "write `contradictions: flag` under `data` in models/desk.yaml" in call("c.csv", "--dry-run")[1]
    (project / "models" / "desk.yaml").write_text("model: desk\ndata:\n  contradictions: flag\n")
    out = call("c.csv")[1]
    assert ("contradictions: flag" in out, "added 3 of 3 rows" in out) == (False, True)
    assert "contradictions: flag" not in call("t.csv", "--map", "user=Body")[1]


def test_splits_that_files_bring_are_told_of_and_kept_when_asked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, first, last in (("train", 0, 6), ("test", 6, 8)):
        rows = [
            json.dumps({"prompt": f"What is {n} in the {n + 40}th house?", "completion": f"A {n}."}) for n in range(first, last)
        ]
        (project / f"{name}.jsonl").write_text("\n".join(rows))
    command = ["data", "import", *(str(project / f"{name}.jsonl") for name in ("train", "test")), "--model", "desk"]
    assert main([*command, "--dir", str(project)]) == 0
    told = "the data bring splits of their own (6 rows to learn from, 2 held out): --keep-splits keeps them"
    assert told in capsys.readouterr().out
    assert main([*command, "--keep-splits", "--dir", str(project)]) == 0
    assert "splits kept: 6 rows to learn from, 2 held out" in capsys.readouterr().out
