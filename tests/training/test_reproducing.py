"""A run done again, on the real trainer; and what its differences amount to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import training
from tunekeeper.core.errors import ArtifactError, UserError
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.training.base import PARTS
from tunekeeper.training.reproducing import reproduce, verdict
from tunekeeper.training.verbs import wait
from tunekeeper.workspace import Workspace

from .conftest import SMALL, chat_lines, freeze


@pytest.fixture
def small(ws: Workspace) -> DatasetVersion:
    return freeze(ws, chat_lines(16), chat_lines(3, seed=6))


@pytest.mark.real
def test_a_run_done_again_on_the_same_machine_is_identical_bit_by_bit(ws: Workspace, task: Model, small: DatasetVersion) -> None:
    section = dataclasses.replace(SMALL, epochs=2)
    run = wait(ws, training.train(ws, task, section, small))
    assert (run.state, len(run.task), run.epoch) == ("done", 2, run.epoch)
    assert run.kept is not None
    assert {"torch", "python", "tunekeeper", "processor"} <= run.machine.keys()
    again = reproduce(ws, task, section, run)
    assert (again.verdict, again.largest_difference, again.machine) == ("identical", 0.0, {})
    assert again.loss[0] == again.loss[1]
    assert reproduce(ws, task, section, dataclasses.replace(run, machine={})).machine == {}  # where nobody said on what it ran
    # Which epoch was kept is on record, and once more is trained anew: of the first time only the last epoch is left.
    assert reproduce(ws, task, dataclasses.replace(section, suite="gone.yaml"), run) == again
    changed = dataclasses.replace(run, dataset_digest="sha256:other")
    with pytest.raises(ArtifactError, match="learned sha256:other"):
        reproduce(ws, task, section, changed)
    for name, part in PARTS.items():
        changes: dict[str, Any] = {name: "sha256:other"}
        with pytest.raises(ArtifactError, match=rf"its {part} is sha256:\w+ now; {run.id} has sha256:other"):
            reproduce(ws, task, section, dataclasses.replace(run, **changes))


def test_a_run_without_an_adapter_cannot_be_compared(ws: Workspace, task: Model, small: DatasetVersion) -> None:
    run = training.train(ws, task, SMALL, small)
    with pytest.raises(UserError, match="has no adapter to compare with: it is running"):
        reproduce(ws, task, SMALL, run)


@pytest.mark.parametrize(
    ("apart", "loss", "expected"),
    [(0.0, (0.5, 0.5), "identical"), (1e-6, (0.5, 0.505), "equivalent"), (1e-6, (0.5, 0.52), "different")],
)
def test_what_differs_by_a_little_is_equivalent(apart: float, loss: tuple[float, float], expected: str) -> None:
    assert verdict(apart, loss) == expected


def test_adapters_of_other_tensors_are_infinitely_apart(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    from safetensors.numpy import save_file

    from tunekeeper.training.reproducing import largest_difference

    for name, tensors in (("a", {"w": [1.0, 2.0]}), ("b", {"w": [1.0, 2.5]}), ("c", {"v": [1.0]}), ("d", {"w": [1.0]})):
        (tmp_path / name).mkdir()
        arrays = {key: np.array(value, dtype=np.float32) for key, value in tensors.items()}
        save_file(arrays, tmp_path / name / "adapter_model.safetensors")
    assert largest_difference(tmp_path / "a", tmp_path / "b") == 0.5
    assert largest_difference(tmp_path / "a", tmp_path / "c") == float("inf")
    assert largest_difference(tmp_path / "a", tmp_path / "d") == float("inf")
