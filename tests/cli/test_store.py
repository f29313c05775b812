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
    told = {"databases": databases, "blobs": 1, "damaged": [digest], "erased": 0}
    assert json.loads(capsys.readouterr().out) == told


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
