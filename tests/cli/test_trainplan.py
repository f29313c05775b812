"""`tunekeeper train plan`: the table of the ways, full tuning with its guard, and what would be refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main

ROW = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": '{"a": 1}'}]}


@pytest.fixture
def project(tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project with one dataset of a few rows."""
    (tmp_path / "models").mkdir()
    shutil.copytree(repository / "examples" / "support_desk" / "base", tmp_path / "base")
    (tmp_path / "tunekeeper.yaml").write_text("project: small\n")
    (tmp_path / "models" / "desk.yaml").write_text("model: desk\nbase: base\ntraining: {rate_usd_per_hour: 2}\n")
    rows = [json.dumps({"messages": [{"role": "user", "content": f"Say {n}"}, ROW["messages"][1]]}) for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    for words in (("import", str(tmp_path / "rows.jsonl")), ("freeze",)):
        assert main(["data", *words, "--model", "desk", "--dir", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path


def plan(project: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main(["train", "plan", "--model", "desk", *words, "--dir", str(project), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_plan_ends_with_the_ways_beside_each_other(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "plan", "--model", "desk", "--dir", str(project)]) == 0
    told = capsys.readouterr().out
    lines = [line.split()[0] for line in told.partition("\n\n")[2].splitlines()]
    assert lines[:5] == ["way", "full", "lora", "qlora", "prompting"]
    assert "lora (chosen)" in told
    assert "not known before the first run of this base on this machine: seconds" in told
    code, found = plan(project, capsys)
    assert code == 0
    assert [way["name"] for way in found["ways"]] == ["full", "lora", "qlora", "prompting"]
    assert all(figure["source"] for way in found["ways"] for figure in (way["here"] | way["usual"]).values())
    assert found["guard"] is None


def test_full_tuning_is_planned_with_its_guard_and_cost(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "full.yaml").write_text("method: full\ndtype: float32\n")
    code, found = plan(project, capsys, "--recipe", str(project / "full.yaml"))
    assert code == 0
    assert "80 to 90 % of the gain" in found["guard"]
    assert found["disk_bytes"] == 4 * found["base_parameters"]
    assert main(["train", "plan", "--model", "desk", "--recipe", str(project / "full.yaml"), "--dir", str(project)]) == 0
    told = capsys.readouterr().out
    assert "full (chosen)" in told
    assert "note: an adapter usually brings" in told
    (project / "full.yaml").write_text("method: full\nrank: 8\n")
    code, refused = plan(project, capsys, "--recipe", str(project / "full.yaml"))
    assert (code, refused["error"]["fix"]) == (2, "leave out rank")


def test_a_version_to_go_on_from_must_be_there(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, refused = plan(project, capsys, "--from", "v9.9")
    assert code == 2
    assert "v9.9" in refused["error"]["message"]


def test_a_plan_can_be_made_for_a_machine_that_is_not_this_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = plan(project, capsys, "--on", "gpu:24")
    assert (code, found["device"], found["device_bytes"], found["fits"]) == (0, "a GPU of 24 GB", 24 * 10**9, True)
    assert found["seconds"] is None
    assert found["drivers"] == {
        "runs": 0, "compute_hours": 0.0, "compute_usd": None, "reviews": 0, "review_hours": 0.0, "review_usd": None,
        "runs_a_year": None, "usd_a_year": None,
    }  # fmt: skip
    code, refused = plan(project, capsys, "--on", "mac")
    assert (code, refused["error"]["fix"]) == (2, "write gpu:24 or cpu:36, with the gigabytes that it has")
