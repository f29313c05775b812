"""A trainer that is a command: what it is given, what of its folder is taken, how it fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.training.conftest import BASE
from tests.training.hosted.conftest import STEM, adapter_files
from tunekeeper.core.errors import MissingExtra
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training import command
from tunekeeper.training.base import read_base
from tunekeeper.training.config import BackendOptions, Config
from tunekeeper.training.verbs import train, version_of, wait
from tunekeeper.workspace import Workspace

TRAINER = """\
import json, pathlib, sys
data, out, base, recipe, source, where = sys.argv[1:7]
rows = [json.loads(line) for line in open(data)]
told = json.loads(pathlib.Path(recipe).read_text())
assert rows and rows[0]["messages"] and told["rank"] == 2 and pathlib.Path(base, "config.json").is_file()
target = pathlib.Path(out, where)
target.mkdir(parents=True, exist_ok=True)
for name in ("adapter_config.json", "adapter_model.safetensors"):
    (target / name).write_bytes(pathlib.Path(source, name).read_bytes())
(target / "optimizer.pt").write_text("not taken")
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A trainer that copies an adapter, with spaces and quotes in its own path."""
    folder = tmp_path / "it's mine; rm"
    folder.mkdir()
    (folder / "train.py").write_text(TRAINER)
    for name, content in adapter_files().items():
        (folder / name).write_bytes(content)
    return [sys.executable, str(folder / "train.py"), "{data}", "{out}", "{base}", "{recipe}", str(folder)]


def trained(ws: Workspace, task: Model, dataset: DatasetVersion, words: list[str]) -> TrainingRun:
    section = Config(backend="command", backend_options=BackendOptions(command=tuple(words)), rank=2, alpha=4)
    return wait(ws, train(ws, task, section, dataset), rate_usd_per_hour=3600.0)


@pytest.mark.parametrize("where", [".", "final"])
def test_its_adapter_becomes_a_version_of_ours(
    ws: Workspace, task: Model, dataset: DatasetVersion, words: list[str], where: str
) -> None:
    run = trained(ws, task, dataset, [*words, where])
    assert (run.state, run.rows, run.final_loss) == ("done", 48, None), run.ended
    assert (run.cost_usd or 0) > 0
    version = version_of(ws, run)
    assert version is not None
    assert set(ws.blobs.files(version.adapter or "")) == {"adapter_config.json", "adapter_model.safetensors", "tunekeeper.json"}
    assert version.base_digest == read_base(BASE).digest
    assert version.metadata == {"trained_by": Path(sys.executable).name}


def test_an_adapter_of_another_base_is_refused(ws: Workspace, task: Model, dataset: DatasetVersion, words: list[str]) -> None:
    wrong = adapter_files({f"{STEM}.lora_A.weight": (2, 99), f"{STEM}.lora_B.weight": (256, 2)})
    (Path(words[-1]) / "adapter_model.safetensors").write_bytes(wrong["adapter_model.safetensors"])
    run = trained(ws, task, dataset, [*words, "."])
    assert run.state == "failed"
    assert "another base" in (run.ended or "")


def test_how_it_ended_is_told(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    run = trained(ws, task, dataset, [sys.executable, "-c", "import sys; sys.exit(7)", "{data}{out}"])
    assert (run.cost_usd or 0) > 0, "what came to nothing was paid as well"
    assert f"ended with status 7 (fix: read what it said: {ws.path('work')}" in (run.ended or "")


class Quiet:
    """A job's context."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def progress(self, fraction: float | None, **fields: object) -> None:
        """Nobody listens."""


def test_a_command_that_is_not_installed_and_one_that_leaves_nothing_are_told_apart(tmp_path: Path, words: list[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}) + "\n")
    given = {"base": str(BASE), "base_digest": read_base(BASE).digest, "train": str(rows), "eval": None, "recipe": {"rank": 2}}
    with pytest.raises(MissingExtra, match="no-such-trainer is not installed"):
        command.run({**given, "command": ["no-such-trainer", "{data}"]}, Quiet(tmp_path))
    with pytest.raises(Exception, match="the command left 0 adapters"):
        command.run({**given, "command": ["true", "{data}"]}, Quiet(tmp_path))


def test_a_command_that_takes_too_long_is_ended_and_its_limit_is_named(
    ws: Workspace, task: Model, dataset: DatasetVersion
) -> None:
    words = (sys.executable, "-c", "import time; time.sleep(300)", "{data}", "{out}")
    section = Config(backend="command", backend_options=BackendOptions(command=words, timeout_seconds=0.5))
    run = wait(ws, train(ws, task, section, dataset))
    assert run.state == "failed"
    assert run.ended == "took longer than 0.5 s (fix: raise training.backend_options.timeout_seconds, or let it do less)"
