from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_eval import command, project
from tunekeeper.cli.app import main

__all__ = ["project"]


def test_a_suite_over_time_is_listed_and_comes_back(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = ("--dir", str(project))
    _, ran = command(capsys, "run", "--model", "desk", "--version", "v1", *there)
    code, found = command(capsys, "history", "--model", "desk", *there)
    assert (code, found["core"], found["editions"], found["sittings"][0]["exam"]) == (0, 60, 1, ran["exam"])
    assert main(["eval", "history", "--model", "desk", *there]) == 0
    assert "comparable over all of them: the 60 cases that each was asked alike" in capsys.readouterr().out
    out = project / "suites" / "then.yaml"
    assert command(capsys, "checkout", ran["exam"], "--out", str(out), "--dry-run", *there)[1]["cases"] == 60
    assert not out.exists()
    assert command(capsys, "checkout", ran["exam"], "--out", str(out), *there) == (
        0,
        {"exam": ran["exam"], "suite": str(out), "cases": 60, "dry_run": False},
    )
    assert len(out.with_suffix(".jsonl").read_text().splitlines()) == 60


def test_a_model_without_exams_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "history", "--model", "desk", "--dir", str(project), "--json"]) == 2
    assert "no finished exam" in json.loads(capsys.readouterr().out)["error"]["message"]
