"""Training at a provider from the command line: plan, run, show, and the version that it makes."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import chat_lines
from tunekeeper.cli.app import main
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.store.ledgers.datasets import save_dataset
from tunekeeper.testing.hosted import Providers
from tunekeeper.workspace import create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"
TRAINING = """\
training:
  backend: openai
  backend_options:
    model: gpt-4o-mini-2024-07-18
    endpoint: ENDPOINT
    poll_seconds: 0.02
"""


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    with Providers() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        yield server


@pytest.fixture
def project(tmp_path: Path, there: Providers) -> Path:
    """The example with a frozen dataset of twelve rows, trained at a provider."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    file = folder / "models" / "support-desk.yaml"
    section = TRAINING.replace("ENDPOINT", there.endpoint("openai"))
    file.write_text(re.sub(r"(?ms)^training:\n.*?^(?=\S)", section + "\n", file.read_text()))
    ws = create_workspace(folder / ".tunekeeper", project=folder)
    manifest = ws.rows.put({"train": [line.encode() for line in chat_lines(12)]})
    counts = {"examples": 12, "train": 12, "eval": 0}
    dataset = DatasetVersion(
        id="support-desk/d1", model="support-desk", number=1, digest=manifest, manifest=manifest, report={}, **counts
    )
    with ws.state.write(by="test") as tx:
        save_dataset(tx, dataset)
    return folder


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_plan_sends_nothing_and_a_run_makes_a_version(
    project: Path, there: Providers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["--model", "support-desk", "--dataset", "latest", "--dir", str(project)]
    code, plan = answer(capsys, "train", "plan", *where)
    assert (code, plan["backend"], plan["rows"]) == (0, "openai", 12), plan
    assert plan["bytes"] > 1000
    assert plan["asked"]["hyperparameters"]["supervised"]["hyperparameters"]["batch_size"] == "auto"
    assert main(["train", "run", *where, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "openai would train 12 rows" in shown
    assert "nothing was begun" in shown
    assert there.asked == []
    code, run = answer(capsys, "train", "run", *where)
    assert (code, run["state"], run["loss"], run["adapter"]) == (0, "done", 0.5, None), run
    assert any("2027-01-06" in line for line in run["warnings"])
    code, told = answer(capsys, "train", "show", run["run"], "--dir", str(project))
    assert (told["base"], told["machine"]["job"]) == ("openai:gpt-4o-mini-2024-07-18", "ftjob-1")
    version = run["version"].partition("@")[2]
    code, made = answer(capsys, "model", "show", version, "--model", "support-desk", "--dir", str(project))
    assert made["version"]["metadata"]["hosted"].startswith("ft:gpt-4o-mini")
    out = str(project / "model.gguf")
    code, refused = answer(capsys, "export", "gguf", version, "--model", "support-desk", "--out", out, "--dir", str(project))
    assert code == 2, refused
    assert "has no GGUF file of its own" in refused["error"]["message"]
    code, refused = answer(capsys, "export", "parity", version, "--model", "support-desk", "--dir", str(project))
    assert (code, "was not compared with training" in refused["error"]["message"]) == (2, True)
    assert main(["train", "run", *where]) == 0
    following = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"next: tunekeeper eval run --model support-desk --version v\S+ --dir \S+", following), following
    monkeypatch.delenv("OPENAI_API_KEY")
    code, refused = answer(capsys, "train", "run", *where)
    assert code == 2
    assert "OPENAI_API_KEY is not set" in refused["error"]["message"]


def test_trl_that_is_not_installed_is_named_with_what_installs_it_before_anything_is_begun(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "models" / "support-desk.yaml"
    file.write_text(file.read_text().replace("backend: openai", "backend: trl"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name == "trl" else find(name, package))
    where = ["--model", "support-desk", "--dataset", "latest", "--dir", str(project)]
    for verb in ("plan", "run"):
        code, refused = answer(capsys, "train", verb, *where)
        assert code == 4, refused
        assert refused["error"]["message"] == "training needs the package trl, which is not installed"
        assert refused["error"]["fix"] == "pip install 'tunekeeper[trl]'"
    assert answer(capsys, "train", "ls", "--dir", str(project)) == (0, {"runs": []})
