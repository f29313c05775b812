"""`tunekeeper train bases` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.cli.app import main

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"


def test_bases_are_compared_without_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows.write_text(json.dumps({"messages": said}) + "\n")
    assert main(["train", "bases", str(BASE), "--data", str(rows)]) == 0
    told = capsys.readouterr().out
    assert "qwen2" in told
    assert "2,018,560" in told
    assert main(["train", "bases", str(BASE), str(tmp_path / "no"), "--data", str(rows), "--on", "gpu:24", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["device"], [bool(each["problem"]) for each in found["bases"]]) == ("a GPU of 24 GB", [False, True])
    assert main(["train", "bases", str(tmp_path / "no"), "--data", str(rows), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["bases"][0]["fits"] == []
