"""TRL in the place of our loop: what it leaves behind, that it learns the same, and that a killed run goes on.

These need the real TRL, which the suite's environment has no use for otherwise: without it they are skipped, and what is refused
without it stands in test_backends.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper import jobs
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import digest_file
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.training import job
from tunekeeper.training.verbs import cancel, train, version_of, wait
from tunekeeper.workspace import Workspace

from .conftest import BASE, SMALL, Local, chat_lines, freeze
from .test_job import NAN_IN_FLOAT16, Killed, order

pytest.importorskip("trl", reason="TRL is not installed here: pip install 'tunekeeper[trl]'")
pytestmark = [
    pytest.mark.real,
    # peft asks transformers under a name that transformers is about to drop; TRL's libraries warn of each other.
    pytest.mark.filterwarnings("ignore"),
]


def run(input: dict[str, Any], context: Local) -> dict[str, Any]:
    from tunekeeper.training import trl

    return trl.run(input, context)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Local]:
    """One training of 48 rows and 2 epochs: (folder, output, context)."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "work").mkdir()
    context = Local(folder / "work")
    return folder, run(order(folder), context), context


def test_it_learns_and_leaves_what_our_loop_leaves(trained: tuple[Path, dict[str, Any], Local]) -> None:
    folder, output, context = trained
    assert (output["step"], output["epoch"], output["rows"], output["left_out"]) == (12, 2, 48, 0)
    assert output["loss"][-1] < output["loss"][0] / 2
    assert output["eval_loss"][1] < output["eval_loss"][0]
    assert output["tokens_per_second"] > 0
    assert output["machine"]["trl"]
    names = {path.name for path in (folder / "work").iterdir()}
    assert names == {"adapter", "begun.json", "epochs", "trainings"}, "the last says who trains beside it"
    for epoch in ("1", "2"):
        left = folder / "work" / "epochs" / epoch
        assert {path.name for path in left.iterdir()} == {"adapter", "curve.json", "transcript.jsonl"}
        assert (left / "adapter" / "tunekeeper.json").is_file()
    told = [line for line in context.told if "eta_seconds" in line]
    assert told[-1]["step"] == told[-1]["steps"] == 12
    assert max(line["fraction"] for line in context.told) <= 1


def test_a_step_counts_what_ours_counts(tmp_path: Path) -> None:
    """One batch of every row, in parts, at a rate that changes nothing: both see the same loss of the same tokens."""
    losses = {}
    for name, fit in (("ours", job.run), ("trl", run)):
        folder = tmp_path / name
        (folder / "work").mkdir(parents=True)
        asked = order(folder, count=24)
        asked["recipe"] |= {"batch": 24, "accumulation": 3, "learning_rate": 1e-8, "epochs": 1, "keep": "last"}
        losses[name] = fit(asked, Local(folder / "work"))
    assert losses["trl"]["loss"] == pytest.approx(losses["ours"]["loss"], abs=1e-5)
    assert losses["trl"]["eval_loss"] == pytest.approx(losses["ours"]["eval_loss"], abs=1e-5)
    assert losses["trl"]["tokens"] == losses["ours"]["tokens"]


def test_a_killed_run_goes_on_to_the_same_adapter(trained: tuple[Path, dict[str, Any], Local], tmp_path: Path) -> None:
    from tunekeeper.training import trl

    whole, output, _ = trained
    (tmp_path / "work").mkdir()
    asked = order(whole)
    with pytest.raises(Killed):
        job.run(asked, Local(tmp_path / "work"), fit=_killing(trl.fit))
    assert [path.name for path in (tmp_path / "work" / "epochs").iterdir()] == ["1"]
    again = run(asked, Local(tmp_path / "work"))
    assert (again["resumed_from"], again["loss"]) == (1, output["loss"])
    name = "adapter/adapter_model.safetensors"
    assert digest_file(tmp_path / "work" / name) == digest_file(whole / "work" / name)


def _killing(fit: Any) -> Any:
    """The same, killed once the first epoch's checkpoint is whole."""

    def killed(setup: Any, progress: Any) -> Any:
        def watch(fraction: float | None, **fields: Any) -> None:
            progress(fraction, **fields)
            if fields.get("epoch") == 1 and fields.get("step") == 6 and any(setup.checkpoint.parent.glob("trl/*/whole.json")):
                raise Killed

        return fit(setup, watch)

    return killed


def test_a_loss_that_is_no_number_ends_it_with_what_to_do(tmp_path: Path) -> None:
    poisoned = tmp_path / "base"
    shutil.copytree(BASE, poisoned)
    weights = bytearray((poisoned / "model.safetensors").read_bytes())
    weights[-2:] = NAN_IN_FLOAT16
    (poisoned / "model.safetensors").write_bytes(weights)
    (tmp_path / "work").mkdir()
    with pytest.raises(ConfigError, match="the loss became nan at step 1 "):
        run(order(tmp_path, base=str(poisoned)), Local(tmp_path / "work"))


def test_a_run_of_the_back_end_becomes_a_version(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    section = dataclasses.replace(SMALL, backend="trl")
    ended = wait(ws, train(ws, task, section, dataset))
    assert (ended.state, ended.recipe["backend"], ended.rows) == ("done", {"name": "trl"}, 48), ended.ended
    assert ended.kept is not None
    assert len(ended.eval_loss) == 2
    version = version_of(ws, ended)
    assert version is not None
    folder = ws.blobs.checkout_folder(version.adapter or "", ws.path("work", "adapter"))
    assert json.loads((folder / "tunekeeper.json").read_text())["base_digest"] == version.base_digest
    # It is continued as one of ours is, by our loop or by TRL's.
    again = wait(ws, train(ws, task, section, dataset, parent=version))
    assert (again.state, again.parent) == ("done", version.id), again.ended


def test_a_cancelled_run_keeps_the_best_epoch_it_had_finished(ws: Workspace, task: Model) -> None:
    section = dataclasses.replace(SMALL, backend="trl", epochs=900)
    begun = train(ws, task, section, freeze(ws, chat_lines(16), chat_lines(3, seed=6)))
    work = jobs.look(ws, begun.job or "").work
    until(lambda: (work / "epochs" / "1").is_dir(), seconds=250)
    ended = cancel(ws, begun)
    assert (ended.state, "of 900; the best finished one is kept" in (ended.ended or "")) == ("cancelled", True)
    version = version_of(ws, ended)
    assert version is not None
    assert "adapter_model.safetensors" in ws.blobs.files(version.adapter or "")
    assert not (work / "epochs").exists()
    assert not (work / "trl").exists()
