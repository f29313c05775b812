"""What is kept of a job that was ended by hand."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import tunekeeper
from tests.patience import until
from tunekeeper import jobs, training
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.training import harvest
from tunekeeper.training.verbs import cancel
from tunekeeper.workspace import Workspace

from .conftest import BASE, SMALL, chat_lines, freeze


@pytest.mark.real
def test_a_cancelled_run_keeps_the_best_epoch_it_had_finished(
    ws: Workspace, task: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Narrower than the base's own numbers: its transcript is written apart, after the end.
    section = dataclasses.replace(SMALL, epochs=900, dtype="bfloat16")
    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 40}))
    task = dataclasses.replace(task, base=str(folder))
    run = training.train(ws, task, section, freeze(ws, chat_lines(16), chat_lines(3, seed=6)))
    work = jobs.look(ws, run.job or "").work
    until(lambda: (work / "epochs" / "1").is_dir(), seconds=200)
    look, looks = harvest.of, 0

    def slowly(job: jobs.Job) -> harvest.Harvest | None:
        nonlocal looks
        outcome, looks = look(job), looks + 1
        if looks == 2:  # between this look and what follows, the command that waited for the run brings it home
            training.collect(ws, run)
        return outcome

    monkeypatch.setattr(harvest, "of", slowly)
    ended = cancel(ws, run)
    assert looks == 3
    assert ended.state == "cancelled"
    assert ended.version == "desk@v1.0-2026-01-05-16examples"
    assert "of 900; the best finished one is kept" in (ended.ended or "")
    assert (ended.rows, ended.machine["tunekeeper"]) == (16, tunekeeper.__version__)
    assert "longer than the 40 tokens" in ended.warnings[-1]
    assert ended.adapter is not None
    assert "adapter_model.safetensors" in ws.blobs.files(ended.adapter)
    assert ended.transcript is not None
    assert not (work / "epochs").exists()
    assert cancel(ws, ended) == ended


def test_a_run_cancelled_before_its_first_epoch_leaves_nothing(ws: Workspace, task: Model) -> None:
    run = training.train(ws, task, SMALL, freeze(ws, chat_lines(16), chat_lines(3, seed=6)))
    ended = cancel(ws, run)
    assert (ended.state, ended.version, ended.adapter) == ("cancelled", None, None)
