"""What a plan says of a run, and what it refuses as the run would."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunekeeper.core.errors import DataError, NotFound
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.training.planning import plan
from tunekeeper.workspace import Workspace

from .conftest import BASE, SMALL, chat_lines, freeze


def test_a_plan_of_full_tuning_tells_its_memory_disk_and_cost(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    small = plan(ws, task, SMALL, dataset, recipe={"dtype": "float32"})
    whole = plan(ws, task, SMALL, dataset, recipe={"dtype": "float32", "method": "full"})
    assert whole.adapter_parameters == whole.base_parameters == small.base_parameters
    assert (
        whole.memory_bytes - small.memory_bytes
        == 16 * small.base_parameters - 4 * small.base_parameters - 16 * small.adapter_parameters
    )
    assert whole.disk_bytes == 4 * whole.base_parameters
    assert small.disk_bytes == 4 * small.adapter_parameters
    assert whole.run_disk_bytes > whole.disk_bytes * 3
    assert whole.free_disk_bytes > 0
    assert whole.method.startswith("full tuning learns every number")
    assert sum("learns every number" in line for line in whole.warnings) == 1


def test_early_stopping_without_held_out_rows_is_said_to_do_nothing(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    recipe = {"patience": 2, "keep": "loss"}
    bare = freeze(ws, chat_lines(8), [], number=2)
    said = [line for line in plan(ws, task, SMALL, bare, recipe=recipe).warnings if "does nothing" in line]
    assert [line.partition(" does")[0] for line in said] == ["patience: 2", "keep: loss"]
    assert not any("does nothing" in line for line in plan(ws, task, SMALL, dataset, recipe=recipe).warnings)
    assert not any("does nothing" in line for line in plan(ws, task, SMALL, bare).warnings)


def test_what_the_run_would_refuse_of_its_rows_is_refused_when_it_is_planned(
    ws: Workspace, task: Model, dataset: DatasetVersion
) -> None:
    with pytest.raises(DataError, match="none of 48 rows has a rejected answer"):
        plan(ws, task, SMALL, dataset, recipe={"objective": "dpo"})
    with pytest.raises(DataError, match="none of 48 rows has at most 8 tokens"):
        plan(ws, task, SMALL, dataset, recipe={"max_tokens": 8})


def test_rows_longer_than_a_base_has_learned_places_for_are_refused_when_it_is_planned(
    ws: Workspace, task: Model, dataset: DatasetVersion, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    weights = folder / "model.safetensors"
    save_file({**load_file(weights), "transformer.wpe.weight": np.zeros((40, 4), np.float32)}, weights, {"format": "pt"})
    with pytest.raises(DataError, match=r"tokens, and .*base knows 40 places") as caught:
        plan(ws, replace(task, base=str(folder)), SMALL, dataset)
    assert caught.value.fix == "set training.max_tokens to 40: what is longer is left out"


def test_rows_longer_than_a_base_was_made_for_are_named_when_it_is_planned(
    ws: Workspace, task: Model, dataset: DatasetVersion, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(BASE, tmp_path / "short"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 60}))
    found = plan(ws, replace(task, base=str(folder)), SMALL, dataset)
    assert (found.rows, found.left_out) == (48, 0)
    assert any("longer than the 60 tokens that short was made for" in line for line in found.warnings)
    cut = plan(ws, replace(task, base=str(folder)), SMALL, dataset, recipe={"max_tokens": 60})
    assert cut.left_out > 0
    assert not any("was made for" in line for line in cut.warnings)


def test_preferences_are_counted_on_both_sides(ws: Workspace, task: Model) -> None:
    rows = [json.loads(line) for line in chat_lines(4)]
    lines = [json.dumps(row | {"metadata": row["metadata"] | {"rejected": "no"}}) + "\n" for row in rows]
    found = plan(ws, task, SMALL, freeze(ws, lines, []), recipe={"objective": "dpo"})
    one = plan(ws, task, SMALL, freeze(ws, lines, [], number=2))
    assert found.rows == one.rows == 4
    assert one.tokens < found.tokens < 2 * one.tokens


def test_a_suite_that_is_not_there_is_refused_when_it_is_planned(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    with pytest.raises(NotFound, match=r"no suite file .*none\.yaml"):
        plan(ws, task, replace(SMALL, suite="none.yaml"), dataset)
