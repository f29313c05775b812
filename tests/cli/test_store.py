from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tunekeeper.cli.app import main
from tunekeeper.workspace import create_workspace, open_workspace


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tunekeeper.yaml").write_text("project: x\n")
    create_workspace(tmp_path / ".tunekeeper", project=tmp_path)
    return tmp_path


def test_an_up_to_date_store_has_nothing_to_do(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "upgrade", "--dir", str(project), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {name: {"from": "0001", "to": "0001", "backup": None} for name in ("control", "state")}


def test_a_missing_database_is_made_and_a_dry_run_makes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = project / ".tunekeeper" / "state.db"
    file.unlink()
    assert main(["store", "upgrade", "--dir", str(project), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "state: would go from nothing to schema 0001"
    assert not file.exists()
    assert main(["store", "upgrade", "--dir", str(project)]) == 0
    assert open_workspace(project / ".tunekeeper").state.version() == "0001"


def test_the_store_of_a_newer_release_is_refused_with_exit_2(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_workspace(project / ".tunekeeper").control.write(by="test") as tx:
        tx.connection.change("update control_version set version_num = '0009'")
    for words in ([], ["--dry-run"]):
        assert main(["store", "upgrade", "--dir", str(project), *words]) == 2
        assert "control.db has schema 0009, newer than 0001" in capsys.readouterr().err


def test_verify_names_what_is_damaged_with_exit_1(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ws = open_workspace(project / ".tunekeeper")
    digest = ws.blobs.put_bytes(b"weights")
    assert main(["store", "verify", "--dir", str(project)]) == 0
    assert capsys.readouterr().out == "whole: both databases and 1 blobs\n"
    ws.blobs.path(digest).chmod(0o644)
    ws.blobs.path(digest).write_bytes(b"other")
    assert main(["store", "verify", "--dir", str(project), "--json"]) == 1
    databases: dict[str, list[str]] = {"control": [], "state": []}
    told = {"databases": databases, "blobs": 1, "damaged": [digest], "erased": 0, "data": []}
    assert json.loads(capsys.readouterr().out) == told


def test_verify_names_the_version_that_lost_a_pack_and_the_lines_of_a_draft_that_are_damaged(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = open_workspace(project / ".tunekeeper")
    (project / "models").mkdir()
    (project / "models" / "desk.yaml").write_text("{}\n")
    said = [{"role": "user", "content": f"Where is parcel {n}?"} for n in range(12)]
    rows = [{"messages": [each, {"role": "assistant", "content": f"On its way: {n}."}]} for n, each in enumerate(said)]
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "import", str(project / "rows.jsonl"), "--model", "desk", "--dir", str(project), "--json"]) == 0
    assert main(["data", "freeze", "--model", "desk", "--dir", str(project)]) == 0
    capsys.readouterr()
    assert main(["store", "verify", "--dir", str(project)]) == 0
    assert capsys.readouterr().out == "whole: both databases and 2 blobs\n"
    draft = ws.path("data", "desk", "draft.jsonl")
    lines = draft.read_bytes().splitlines(keepends=True)
    name = json.loads(lines[4])["id"]
    draft.write_bytes(b"".join([*lines[:2], lines[2][:-9] + b"\n", lines[3], lines[4].replace(b"parcel", b"parsel"), *lines[5:]]))
    pack = next(path for path in ws.blobs.root.glob("??/*") if path.read_bytes().startswith(b"tkpack"))
    pack.unlink()
    assert main(["store", "verify", "--dir", str(project)]) == 1
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"desk/d1: blob sha256:{pack.parent.name}{pack.name} is not in this workspace",
        "data/desk/draft.jsonl: line 3 is damaged",
        f"data/desk/draft.jsonl: line 5 ({name}) does not say what was stored",
    ]
    for verb in ("ls", "freeze", "check"):
        assert main(["data", verb, "--model", "desk", "--dir", str(project)]) == 2
        error = capsys.readouterr().err
        assert (" is damaged" in error, error.count("\n"), "fault" in error) == (True, 1, False)


def test_a_damaged_database_is_one_line_and_exit_2(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / ".tunekeeper" / "state.db").write_bytes(b"rubbish" * 999)
    assert main(["store", "verify", "--dir", str(project)]) == 2
    assert capsys.readouterr().err.startswith("error: state.db is damaged")


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_file_of_another_program_is_refused_and_left_as_it_is(
    project: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    file = project / ".tunekeeper" / "state.db"
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table songs (title text)")
    before = file.read_bytes()
    assert main(["store", "upgrade", "--dir", str(project), *words]) == 2
    assert capsys.readouterr().err.startswith("error: state.db is not the state database: it has the table songs (fix: move it")
    assert file.read_bytes() == before


@pytest.mark.parametrize(("statement", "how"), [("drop table control_version", "gone"), ("delete from control_version", "empty")])
def test_a_database_that_lost_its_number_is_damaged_with_exit_2(
    project: Path, capsys: pytest.CaptureFixture[str], statement: str, how: str
) -> None:
    with closing(sqlite3.connect(project / ".tunekeeper" / "control.db")) as connection:
        connection.execute(statement)
        connection.commit()
    for verb in (("store", "upgrade"), ("store", "verify"), ("key", "ls")):
        assert main([*verb, "--dir", str(project)]) == 2
        err = capsys.readouterr().err
        assert err == f"error: control.db is damaged: its table control_version is {how} (fix: restore it from a backup)\n"
