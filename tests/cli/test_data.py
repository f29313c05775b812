from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main

CSV = "id,created,category,ticket,answer\n"
Answer = tuple[int, Any]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`run("data", "ls", …)`: exit code and JSON answer of a command in a small project."""
    (tmp_path / "models").mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    (tmp_path / "models" / "desk.yaml").write_text("model: desk\nsystem: Triage the ticket.\n")

    def command(*words: str) -> Answer:
        code = main([*words, "--dir", str(tmp_path), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return command


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.csv"
    rows = [f"T{i},2025-12-{i + 1:02},bug,Thing {i} broke on floor {i},ok {i}" for i in range(12)]
    path.write_text(CSV + "\n".join(rows) + "\nT90,2025-12-20,bug,no\nT91,2025-12-01,bug,Thing 1 broke on floor 1,ok 1\n")
    return path


def test_the_whole_way_from_a_file_to_a_difference(run: Callable[..., Answer], table: Path, tmp_path: Path) -> None:
    code, dry = run("data", "import", str(table), "--model", "desk", "--dry-run")
    assert (code, dry["added"], dry["report"]) == (0, 12, None)
    _, done = run("data", "import", str(table), "--model", "desk")
    assert (done["rows"], done["added"], done["dropped"]) == (14, 12, {"broken": 1, "exact_duplicate": 1})
    report = [json.loads(line) for line in Path(done["report"]).read_text().splitlines()]
    assert [(r["file"], r["line"], r["reason"], r["of"]) for r in report] == [
        ("tickets.csv", 14, "broken", None),
        ("tickets.csv", 15, "exact_duplicate", "T1"),
    ]
    _, first = run("data", "freeze", "--model", "desk")
    assert (first["version"], first["examples"], first["train"], first["eval"], first["parent"]) == ("desk/d1", 12, 11, 1, None)
    table.write_text(table.read_text().replace("ok 3", "fine 3").replace("T5,", "T55,"))
    run("data", "import", str(table), "--model", "desk", "--replace")
    _, second = run("data", "freeze", "--model", "desk")
    _, diff = run("data", "diff", "desk/d1", second["version"])
    assert (diff["added"], diff["removed"], diff["moved"]) == (["T55"], ["T5"], [])
    assert [(e["id"], e["before"][-1]["content"], e["after"][-1]["content"]) for e in diff["edited"]] == [
        ("T3", "ok 3", "fine 3")
    ]
    _, log = run("data", "log", "--model", "desk")
    assert [v["version"] for v in log["versions"]] == ["desk/d2", "desk/d1"]
    _, out = run("data", "checkout", "desk/d1", "--out", str(tmp_path / "out"))
    assert [len(Path(p).read_text().splitlines()) for p in out["paths"]] == [11, 1]


def test_check_ls_and_export_answer_in_their_shapes(run: Callable[..., Answer], table: Path, tmp_path: Path) -> None:
    run("data", "import", str(table), "--model", "desk")
    glossary = tmp_path / "glossary.yaml"
    glossary.write_text("Thing: Object\n")
    _, found = run("data", "check", "--model", "desk", "--glossary", str(glossary), "--context", "10000")
    assert found["counts"] == {"stale_vocabulary": 12, "broken": 1, "exact_duplicate": 1}
    assert set(found["findings"][0]) == {"kind", "id", "file", "line", "of", "topic", "detail"}
    _, one = run("data", "check", "--model", "desk", "--only", "broken")
    assert [f["line"] for f in one["findings"]] == [14]
    _, summary = run("data", "ls", "--model", "desk")
    assert (summary["examples"], summary["topics"], summary["changed"]) == (12, {"bug": 12}, True)
    out = tmp_path / "draft.jsonl"
    _, written = run("data", "export", "draft", "--model", "desk", "--format", "sharegpt", "--out", str(out))
    assert written["rows"] == len(out.read_text().splitlines()) == 12


def test_a_dry_run_prints_files_columns_and_reasons_and_standard_input_is_a_dash(
    run: Callable[..., Answer], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["data", "import", str(table), "--model", "desk", "--dry-run", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "would add 12 of 14 rows; the draft of desk holds 12",
        "tickets.csv: 14 rows (13 as columns): 12 new, 1 broken, 1 exact_duplicate",
        "  columns: --map user=ticket --map assistant=answer --map id=id --map created=created --map category=category",
        "dropped: 1 broken, 1 exact_duplicate",
        "  tickets.csv:14: broken: 4 cells, the header has 5 columns",
        "  tickets.csv:15: exact_duplicate: the same conversation",
        "next: the same without --dry-run",
    ]
    assert run("data", "ls", "--model", "desk")[1]["examples"] == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes())))
    _, done = run("data", "import", "-", "--model", "desk", "--map", "user=ticket")
    assert (done["added"], done["files"][0]["file"], done["files"][0]["columns"]["user"]) == (12, "stdin", "ticket")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("import", "{t}", "--model", "desk", "--map", "user=body"), "no column 'body' for 'user'; columns are: id, created"),
        (("import", "{t}", "--model", "desk", "--map", "user=tiket"), "did you mean 'ticket'?"),
        (("import", "{t}", "--model", "desk", "--map", "usr=ticket"), "no field is called 'usr'"),
        (("import", "{t}", "--model", "desk", "--map", "user"), "--map user: not ROLE=COLUMN"),
        (("import", "{t}.gone", "--model", "desk"), "no such file"),
        (("freeze", "--model", "desk"), "desk has no draft"),
        (("check", "--model", "desk"), "desk has no draft and no dataset"),
        (("diff", "desk/d1", "desk/d2"), "desk/d1"),
        (("export", "latest", "--out", "x"), "which model's 'latest'"),
        (("export", "draft", "--model", "desk", "--out", "-"), "standard output holds the answer, no rows"),
        (("export", "draft", "--model", "desk", "--out", ""), "--out is empty"),
        (("export", "draft", "--model", "desk", "--out", "x"), "desk has no draft"),
        (("export", "desc/draft", "--out", "x"), "no model is called 'desc'"),
        (("diff", "desk/d1", "desc/d2"), "no model is called 'desc'"),
        (("ls", "--model", "desc"), "no model is called 'desc'"),
        (("log", "--model", "desc"), "no model is called 'desc'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    run: Callable[..., Answer], table: Path, words: tuple[str, ...], message: str
) -> None:
    code, answer = run("data", *(word.format(t=table) for word in words))
    assert (code, answer["error"]["exit_code"]) == (2, 2)
    assert message in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    assert answer["error"]["fix"]


def test_rows_go_into_a_folder_that_a_slash_names(run: Callable[..., Answer], table: Path, tmp_path: Path) -> None:
    run("data", "import", str(table), "--model", "desk")
    run("data", "freeze", "--model", "desk")
    for version, out in (("desk/draft", tmp_path / "a"), ("desk/d1", tmp_path / "b")):
        code, done = run("data", "export", version, "--format", "sharegpt", "--out", f"{out}/", "--model", "other")
        assert (code, done["rows"], done["path"]) == (0, 12, f"{out}/")
        assert sorted(json.loads((out / "dataset_info.json").read_text())) == ["desk_eval", "desk_train"]
    code, refused = run("data", "export", "desk/d1", "--format", "csv", "--out", f"{tmp_path}/c/")
    assert (code, refused["error"]["fix"]) == (2, f"name a file, e.g. --out {tmp_path}/c/train.csv")
    assert not (tmp_path / "c").exists()


def test_a_freeze_that_would_be_refused_says_so_in_a_dry_run(run: Callable[..., Answer], tmp_path: Path) -> None:
    code, said = run("data", "freeze", "--model", "desk", "--dry-run")
    assert (code, said["error"]["message"]) == (2, "desk has no draft")
    rows = [{"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]}]
    (tmp_path / "one.jsonl").write_text(json.dumps(rows[0]))
    run("data", "import", str(tmp_path / "one.jsonl"), "--model", "desk")
    dry, real = run("data", "freeze", "--model", "desk", "--dry-run"), run("data", "freeze", "--model", "desk")
    assert dry == real
    assert real[1]["error"]["message"] == "desk: 1 rows and none of them held out; no row changes sides"
