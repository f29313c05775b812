"""`tunekeeper backup` and `restore`, from the command line."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.store.log import segments
from tunekeeper.workspace import open_workspace


def test_a_project_is_saved_looked_at_and_put_back_with_the_same_digest(tell, project: Path, tmp_path: Path) -> None:
    digest = open_workspace(project / ".tunekeeper").blobs.put_bytes(b"weights")
    dry = tell("backup", "--dir", project, "--out", tmp_path, "--dry-run", "--json").json
    assert (dry["dry_run"], list(tmp_path.glob("*.zst"))) == (True, [])
    made = tell("backup", "--dir", project, "--out", tmp_path, "--json").json
    assert Path(made["file"]).name.startswith("support-")
    assert made["schemas"] == {"control": "0001", "state": "0001"}
    looked = tell("restore", made["file"], "--data", tmp_path / "again", "--dry-run", "--json").json
    assert (looked["digest"], looked["dry_run"], (tmp_path / "again").exists()) == (made["digest"], True, False)
    told = tell("restore", made["file"], "--data", tmp_path / "again")
    assert told.code == 0
    assert f"digest {made['digest']}" in told.out.splitlines()
    assert open_workspace(tmp_path / "again").blobs.read(digest) == b"weights"
    assert tell("store", "verify", "--data", tmp_path / "again").out == "whole: both databases and 1 blobs\n"


def test_a_project_in_use_or_not_empty_is_left_alone(tell, project: Path, tmp_path: Path) -> None:
    file = tell("backup", "--dir", project, "--out", tmp_path / "b.tar.zst", "--json").json["file"]
    told = tell("restore", file, "--dir", project)
    assert (told.code, "is not empty (fix: name another folder, or add --force" in told.err) == (2, True)
    with open(segments.hold(project / ".tunekeeper" / "run" / "supervisor.lock")):
        told = tell("restore", file, "--dir", project, "--force", "--json")
    assert (told.code, told.json["error"]["kind"]) == (4, "Busy")
    told = tell("restore", file, "--dir", project, "--force", "--json")
    assert (told.code, Path(told.json["aside"]).is_dir()) == (0, True)
    assert tell("status", "--dir", project).code == 0


def test_an_erased_user_does_not_come_back_unnoticed(tell, project: Path, tmp_path: Path) -> None:
    file = tell("backup", "--dir", project, "--out", tmp_path / "b.tar.zst", "--json").json["file"]
    assert tell("log", "erase", "--user", "ana", "--dir", project).code == 0
    told = tell("restore", file, "--dir", project, "--force")
    assert told.code == 0
    assert "WARNING: this brought back 1 erased users" in told.out
    assert f"tunekeeper log erase --user U --dir {project}" in told.out


def test_a_newer_schema_and_a_foreign_file_are_one_line(tell, project: Path, tmp_path: Path) -> None:
    with open_workspace(project / ".tunekeeper").control.write(by="test") as tx:
        tx.connection.change("update control_version set version_num = '0099'")
    file = tell("backup", "--dir", project, "--out", tmp_path / "b.tar.zst", "--json").json["file"]
    told = tell("restore", file, "--data", tmp_path / "t")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "control database has schema 0099, newer than" in told.err
    (tmp_path / "x.tar.zst").write_bytes(b"rubbish")
    told = tell("restore", tmp_path / "x.tar.zst", "--data", tmp_path / "t")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "x.tar.zst is no backup of ours" in told.err
    assert not (tmp_path / "t").exists()
