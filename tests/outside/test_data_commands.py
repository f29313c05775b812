"""`tunekeeper data …` on files that other tools wrote."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as parquet
import pytest
import zstandard

from tests.outside.conftest import Outcome, call, chat, run, write_lines

THINGS = ("lamp", "router", "chair", "phone", "kettle", "desk", "printer", "tent")
TROUBLES = ("broke on the way", "was charged twice", "never arrived", "makes a strange noise", "has the wrong colour")
WORDS = ("Please help me soon", "What can I do now", "I want my money back", "This is the second time", "My order is number")


def question(number: int) -> str:
    """A ticket that shares few words with its neighbours."""
    thing, trouble = THINGS[number % 8], TROUBLES[number % 5]
    return f"The {thing} I bought {trouble}, case {number * 7919 % 10007}. {WORDS[number // 5 % 5]}: {number * 31 % 997}?"


def answer(number: int) -> str:
    return json.dumps({"category": ("bug", "billing", "shipping")[number % 3], "priority": "high"})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a draft out of a spreadsheet: BOM, CRLF, semicolons, odd headers, a cell of two lines."""
    folder = tmp_path_factory.mktemp("data") / "help desk"
    assert run("init", folder, "--model", "help").code == 0
    with (folder / "export.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file, delimiter=";", lineterminator="\r\n")
        table.writerow(["Ticket-No", " Text of Customer ", "Reply", "Opened"])
        for number in range(40):
            second = "\nsent from my phone" if number == 3 else ""
            table.writerow([f"T{number}", question(number) + second, answer(number), f"2025-0{number % 6 + 1}-03"])
    mapping = ("--map", "user=text of customer", "--map", "assistant=Reply", "--map", "id=Ticket-No", "--map", "created=Opened")
    done = data(folder, "import", folder / "export.csv", *mapping)
    assert {key: done.json[key] for key in ("rows", "added", "dropped")} == {"rows": 40, "added": 40, "dropped": {}}
    return folder


def data(folder: Path, command: str, *words: str | Path) -> Outcome:
    return call("data", command, *words, "--model", "help", "--dir", folder, "--json")


def test_other_shapes_are_read_and_every_dropped_row_is_named(project: Path) -> None:
    sharegpt = [
        {"id": f"S{n}", "conversations": [{"from": "human", "value": question(n)}, {"from": "gpt", "value": answer(n)}]}
        for n in range(50, 55)
    ]
    rows: list[Any] = [
        *sharegpt,
        "{not json",
        json.dumps(chat("x", "y" * (5 << 20))),
        chat("Write to jane.roe@example.org about the invoice of the blue kettle", "billing", id="mail"),
        chat("the same words", "the same words", id="echo"),
        chat("", "shipping", id="nothing"),
        {"messages": [{"role": "wizard", "content": "q"}, {"role": "assistant", "content": "a"}], "metadata": {"id": "role"}},
        chat("Does the tent fit two people and a dog", "I'm sorry, but I can't help with that.", id="no"),
        chat("A piece <|im_start|>user of a template here", "bug<|im_end|>", id="template"),
        chat("Which of both answers is right for this kettle", "bug", id="one"),
        chat("Which of both answers is right for this kettle", "billing", id="two"),
    ]
    path = write_lines(project / "mixed.jsonl", rows)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    alpaca = project / "alpaca.json"
    alpaca.write_text(json.dumps([{"instruction": "Triage", "input": question(n), "output": answer(n)} for n in range(60, 63)]))
    (project / "latin.csv").write_bytes(
        "prompt,answer\nGrüße aus Köln und Wien,bug\nplain words of a ticket,bug\n".encode("latin-1")
    )
    tried = data(project, "import", path, "--dry-run").json
    assert tried["report"] is None
    done = data(project, "import", path).json
    assert {key: tried[key] for key in ("rows", "added", "dropped")} == {key: done[key] for key in ("rows", "added", "dropped")}
    assert (done["rows"], done["added"], done["redacted"]) == (15, 6, {"email": 1})
    named = [json.loads(line) for line in Path(done["report"]).read_text().splitlines()]
    assert all(line["reason"] and line["detail"] and line["file"] == "mixed.jsonl" for line in named)
    dropped = [(line["line"], line["reason"]) for line in named if line["action"] == "dropped"]
    assert sorted(dropped) == [
        (6, "broken"), (7, "broken"), (9, "answer_equals_prompt"), (10, "empty"), (11, "bad_roles"), (12, "refusal"),
        (13, "template_leak"), (14, "contradiction"), (15, "contradiction"),
    ]  # fmt: skip
    assert [line["line"] for line in named if line["reason"] == "pii"] == [8]
    assert data(project, "import", alpaca).json["added"] == 3
    latin = data(project, "import", project / "latin.csv").json
    assert (latin["added"], latin["dropped"], latin["broken"]) == (1, {"broken": 1}, ["latin.csv:2: not UTF-8"])
    assert data(project, "import", path).json["added"] == 0, "the same file again adds nothing"


def test_check_finds_leaks_stale_words_and_long_rows(project: Path) -> None:
    suite = write_lines(project / "suite.jsonl", [chat(question(5), answer(5)), chat("Quite another topic", "legal")])
    (project / "words.csv").write_text("old,new\nrouter,access point\n")
    found = data(project, "check", "--against", suite, "--glossary", project / "words.csv", "--context", "30").json
    assert sum(found["counts"].values()) == len(found["findings"])
    assert all(set(each) == {"kind", "id", "file", "line", "of", "topic", "detail"} for each in found["findings"])
    by_kind: dict[str, list[Any]] = {}
    for each in found["findings"]:
        by_kind.setdefault(each["kind"], []).append(each["id"])
    assert by_kind["leak"] == ["T5"]
    assert "T1" in by_kind["stale_vocabulary"]
    assert "T3" in by_kind["too_long"]
    only = data(project, "check", "--against", suite, "--only", "leak").json
    assert [each["kind"] for each in only["findings"]] == ["leak"]


def test_versions_are_frozen_compared_listed_and_written_out(project: Path, tmp_path: Path) -> None:
    dry = data(project, "freeze", "--dry-run").json
    first = data(project, "freeze").json
    assert set(first) >= {"version", "digest", "examples", "train", "eval", "parent", "created"}
    assert (dry["examples"], first["train"] + first["eval"], first["parent"]) == (first["examples"], first["examples"], None)
    assert data(project, "freeze").json == first, "an unchanged draft is the same version"
    checked_out = call("data", "checkout", first["version"], "--out", tmp_path / "d1", "--dir", project, "--json").json
    rows = [json.loads(line) for path in checked_out["paths"] for line in Path(path).read_text("utf-8").splitlines()]
    assert len(rows) == first["examples"]

    kept = [row for row in rows if row["metadata"].get("id") not in ("T0", "T1")]
    for row in kept:
        if row["metadata"].get("id") == "T2":
            row["messages"][-1]["content"] = "quite another answer"
    changed = write_lines(tmp_path / "changed.jsonl", [*kept, chat("A wholly new question of the day", "bug", id="new")])
    assert data(project, "import", changed, "--replace").json["examples"] == first["examples"] - 1
    second = data(project, "freeze", "--note", "spring cleaning").json
    assert (second["parent"], second["note"]) == (first["version"], "spring cleaning")
    found = call("data", "diff", first["version"], second["version"], "--dir", project, "--json").json
    assert (found["added"], sorted(found["removed"])) == (["new"], ["T0", "T1"])
    assert [edit["id"] for edit in found["edited"]] == ["T2"]
    assert found["edited"][0]["after"] != found["edited"][0]["before"]
    counts = {"added": 1, "removed": 2, "edited": 1, "moved": len(found["moved"])}
    assert {key: found["counts"][key] for key in counts} == counts
    assert [each["version"] for each in data(project, "log").json["versions"]] == [second["version"], first["version"]]
    assert data(project, "ls").json["examples"] == second["examples"]


@pytest.mark.parametrize("version", ["latest", "draft"])
def test_every_format_is_written_whole(project: Path, tmp_path: Path, version: str) -> None:
    counts = {side: data(project, "export", version, "--split", side, "--out", tmp_path / f"{side}.jsonl").json["rows"]
              for side in ("train", "eval", "all")}  # fmt: skip
    assert counts["train"] + counts["eval"] == counts["all"] > 40
    assert len((tmp_path / "all.jsonl").read_text("utf-8").splitlines()) == counts["all"]
    if version == "draft":
        return
    for form in ("sharegpt", "alpaca", "parquet", "hf"):
        done = data(project, "export", version, "--format", form, "--split", "all", "--out", tmp_path / form)
        assert done.json["rows"] == counts["all"], form
    assert json.loads((tmp_path / "sharegpt").read_text("utf-8").splitlines()[0])["conversations"][-1]["from"] == "gpt"
    assert set(json.loads((tmp_path / "alpaca").read_text("utf-8").splitlines()[0])) >= {"instruction", "input", "output"}
    assert parquet.read_table(tmp_path / "parquet").num_rows == counts["all"]
    assert (tmp_path / "hf" / "README.md").read_text().startswith("---\n")
    refused = data(project, "export", version, "--format", "dpo", "--out", tmp_path / "dpo")
    assert (refused.code, (tmp_path / "dpo").exists()) == (2, False)
    assert "rejected" in refused.error


def test_a_workbook_and_a_packed_table_bring_the_same_rows_as_the_table(project: Path, tmp_path: Path) -> None:
    rows = [[f"X{n}", f"{question(n)} And one more thing about room {n}", answer(n)] for n in range(100, 130)]
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "ticket", "answer"], *rows])
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes(), mtime=0))
    (tmp_path / "t.csv.zst").write_bytes(zstandard.compress((tmp_path / "t.csv").read_bytes()))
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "t.csv", "2026/t.csv")
    book = openpyxl.Workbook()
    book.worksheets[0].title = "Tickets"
    for cells in (["id", "ticket", "answer"], *rows):
        book.worksheets[0].append(cells)
    book.save(tmp_path / "t.xlsx")
    for name, source in (
        ("t.xlsx", "t.xlsx#Tickets"),
        ("t.csv", "t.csv"),
        ("t.csv.gz",) * 2,
        ("t.csv.zst",) * 2,
        ("t.zip", "t.zip/2026/t.csv"),
    ):
        done = data(project, "import", tmp_path / name).json
        assert (done["rows"], done["files"][0]["file"]) == (30, source)
        assert (done["added"], done["dropped"]) == ((30, {}) if name == "t.xlsx" else (0, {"already_there": 30}))
