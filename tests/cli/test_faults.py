from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Tell
from tunekeeper.cli import app, faults, frame
from tunekeeper.core.errors import ConfigError, GateFailed, Inconclusive, PortInUse


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """A command `fail` in the table that raises what it is given."""

    def plant(error: BaseException, *, emit_first: bool = False) -> None:
        def fail(dir: frame.Dir = None, json: frame.Json = False) -> int:
            """Fail."""
            if emit_first:
                frame.emit({"verdict": "fail"}, json)
            raise error

        monkeypatch.setattr(faults, "planted", fail, raising=False)
        monkeypatch.setitem(app.COMMANDS, "fail", ("tunekeeper.cli.faults:planted", "Fail."))

    return plant


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("tunekeeper.yaml:3: unknown key 'prot'", fix="write 'port'"), 2),
        (GateFailed("accuracy is too low"), 1),
        (Inconclusive("12 cases are too few"), 3),
        (PortInUse("port 8080 is in use"), 4),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/spool"), 4),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/etc/out.jsonl"), 2),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "/media/out.jsonl"), 2),
        (OSError(errno.EIO, os.strerror(errno.EIO)), 4),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/data/state.db"), 4),
        (NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "rows.csv/out.jsonl"), 2),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 70),
    ],
)
def test_every_error_is_one_line_and_its_exit_code(tell: Tell, failing, project: Path, error, code):
    failing(error)
    told = tell("fail", "--dir", project)
    assert (told.code, told.out) == (code, "")
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err


def test_with_json_an_error_is_one_document_on_stdout_as_well(tell: Tell, failing, project: Path):
    failing(ConfigError("m.yaml:3: wrong", fix="write it right"))
    told = tell("fail", "--json", "--dir", project)
    assert told.json == {"error": {"kind": "ConfigError", "message": "m.yaml:3: wrong", "fix": "write it right", "exit_code": 2}}
    assert told.err == "error: m.yaml:3: wrong (fix: write it right)\n"


def test_a_command_that_has_answered_prints_no_second_document(tell: Tell, failing, project: Path):
    failing(GateFailed("no"), emit_first=True)
    told = tell("fail", "--json", "--dir", project)
    assert (told.code, told.json) == (1, {"verdict": "fail"})


def test_a_fault_of_ours_leaves_its_traceback_in_the_project(tell: Tell, failing, project: Path):
    failing(ZeroDivisionError("division by zero"))
    told = tell("fail", "--dir", project)
    (kept,) = (project / ".tunekeeper" / "work").glob("fault-*.txt")
    assert str(kept) in told.err
    assert "ZeroDivisionError" in kept.read_text()


def test_a_place_that_may_not_be_written_is_named():
    known = faults.known(PermissionError(errno.EACCES, "Permission denied", b"/etc/out.jsonl"))
    assert str(known) == "/etc/out.jsonl: permission denied (fix: name a place that you may read and write)"
    assert faults.known(FileNotFoundError(errno.ENOENT, "No such file or directory", "work/of-ours")) is None


def test_a_missing_extra_is_named_with_the_way_to_install_it():
    known = faults.known(ModuleNotFoundError("No module named 'xllamacpp'", name="xllamacpp"))
    assert str(known) == "package xllamacpp is not installed (fix: pip install 'tunekeeper[local]')"
    assert faults.known(ModuleNotFoundError("No module named 'tunekeeper.nowhere'", name="tunekeeper.nowhere")) is None


def test_a_fault_of_ours_is_told_where_nothing_can_be_written_and_whatever_it_says(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(blocked / "none"))
    found = faults.report(KeyError("\udcff"), blocked / "work")
    assert "a fault of our own: KeyError" in found.message
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert b"\\udcff" in Path(str(faults.report(KeyError("\udcff"), None).fix).split()[-1]).read_bytes()
