from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.cli.app import main
from tunekeeper.workspace import create_workspace


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    (tmp_path / "models" / "desk.yaml").write_text("model: desk\nsystem: Sort the ticket.\n")
    create_workspace(tmp_path / ".tunekeeper", project=tmp_path)
    return tmp_path


def test_a_plan_is_made_before_there_is_any_data(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "plan", "--model", "desk", "--examples", "300", "--dir", str(project)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("300 examples: 300 are missing; 10.0 to 18.0 h in all, within the 20 h meant\n")
    assert "usual pace: 30 to 50 good examples an hour" in out


def test_hours_are_noted_and_count(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "plan", "--model", "desk", "--spent", "2.5", "--by", "ana", "--dir", str(project), "--json"]
    assert main([*words, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["stage"]["spent"] == 0
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["collecting"] == {"low": 4, "high": 8, "spent": 2.5}


def test_whose_hours_and_what_for_is_refused_without_hours(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for told in (("--note", "calls"), ("--by", "ana")):
        assert main(["data", "plan", "--model", "desk", *told, "--dir", str(project)]) == 2
        assert "--note and --by go with hours that --spent notes" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "plan", "--model", "dex", "--dir", str(project)]) == 2
    assert "dex" in capsys.readouterr().err
