"""`tunekeeper export prune` says what it frees, and frees it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tunekeeper.cli.app import main
from tunekeeper.workspace import create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"


def test_what_would_be_freed_is_said_first_and_then_freed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("data", "rebuild.py", "base"))
    create_workspace(project / ".tunekeeper", project=project)
    folder = project / ".tunekeeper" / "models" / "adapters" / f"{'a' * 24}-merged-own"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    for each in (folder / "model.safetensors", folder):
        os.utime(each, (1_000_000_000, 1_000_000_000))
    asked = ["export", "prune", "--model", "support-desk", "--dir", str(project)]
    assert main([*asked, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "would free 2.0 MB: 1 of 1 merged folders" in said
    assert folder.is_dir()
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["freed"], told["folders"][0]["removed"], folder.exists()) == (2_000_000, True, False)
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folders"] == []
