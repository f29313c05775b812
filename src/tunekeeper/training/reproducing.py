"""Doing a run again, to see whether it comes out the same: the same base, data, recipe and start, in a job of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunekeeper import jobs
from tunekeeper.core.errors import ArtifactError, UserError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.store.ledgers.versions import load_version
from tunekeeper.training import harvest
from tunekeeper.training.comparing import ENERGY
from tunekeeper.training.config import Config
from tunekeeper.training.header import tensor_header
from tunekeeper.training.orders import order_again, require_extra
from tunekeeper.training.selection import learned_of
from tunekeeper.training.workfolder import EPOCHS
from tunekeeper.workspace import Workspace

CLOSE = 0.02
"""Largest relative difference of the final loss at which another machine's result still counts as equivalent."""
NUMBERS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """How a run came out the second time."""

    run: str
    """The run that was done again."""
    verdict: Literal["identical", "equivalent", "different"]
    """`identical`: every weight is bit for bit the same; `equivalent`: the final losses differ by at most 2 %."""
    largest_difference: float
    """Largest absolute difference between two weights of the adapters, or of the whole models, of the epoch that was kept."""
    loss: tuple[float, float]
    """Final loss then and now, nats a token."""
    machine: dict[str, tuple[Any, Any]]
    """What of the machine and its libraries is not what it was: name → (then, now)."""


def reproduce(
    ws: Workspace, task: Model, section: Config, run: TrainingRun, on_progress: Callable[[jobs.Job], None] | None = None
) -> Reproduction:
    """Train `run` again and compare; no version and no run is made of it. Raises UserError for a run that has no adapter,
    ArtifactError when the base or the dataset is not what it was, and what training itself raises."""
    require_extra()
    if "backend" in run.recipe:
        raise UserError(f"{run.id} was trained by {run.recipe['backend']['name']}, which alone could do it again")
    with ws.state.read() as tx:
        dataset = load_dataset(tx, run.dataset)
        parent = load_version(tx, run.parent) if run.parent else None
        made = load_version(tx, run.version) if run.version else None
    learned = None if made is None else made.checkpoint or made.adapter
    if learned is None or run.final_loss is None:
        what = "model" if run.recipe.get("method") == "full" else "adapter"
        raise UserError(f"{run.id} has no {what} to compare with: it is {run.state}", fix="tunekeeper train ls")
    if dataset.digest != run.dataset_digest:
        raise ArtifactError(f"{run.dataset} is {dataset.digest} now; {run.id} learned {run.dataset_digest}")
    order, base = order_again(ws, task, section, dataset, parent, run)
    learned_on = {name: getattr(run, name) or getattr(made, name) for name in base.digests}  # the version has what old runs lack
    base.refuse_changed(learned_on, run.id)
    job = jobs.wait(ws, _begun(ws, order, task.name).id, on_progress)
    outcome = harvest.of(job)
    if job.state != "done" or outcome is None or outcome.learned is None or job.output is None:
        jobs.reraise(job)
    then = ws.blobs.checkout_folder(learned, ws.path("work", f"learned-{learned[7:31]}"), link=True)
    again = outcome.learned if run.epoch is None else learned_of(job.work, run.epoch)
    apart = largest_difference(then, again)
    losses = (run.final_loss, outcome.curve["loss"][: len(run.loss)][-1])  # one that was cancelled had not come to its end
    machine = {
        name: (run.machine.get(name), value)
        for name, value in job.output["machine"].items()
        if run.machine and name != ENERGY and run.machine.get(name) != value  # what was cancelled did not always say
    }
    harvest.clear(job)
    return Reproduction(run=run.id, verdict=verdict(apart, losses), largest_difference=apart, loss=losses, machine=machine)


def _begun(ws: Workspace, order: dict[str, Any], model: str) -> jobs.Job:
    """The job that does a run again: one that a cut-off command left, else a new one. What came out of those that were compared
    is cleared away."""
    for time in itertools.count(1):
        job = jobs.ensure(ws, "train", order | {"time": time}, model=model, again=True)
        if job.state != "done" or (job.work / EPOCHS).is_dir():
            break
    return job


def verdict(largest_difference: float, loss: tuple[float, float]) -> Literal["identical", "equivalent", "different"]:
    """What the differences amount to."""
    if largest_difference == 0:
        return "identical"
    then, now = loss
    return "equivalent" if abs(now - then) <= CLOSE * max(abs(then), abs(now)) else "different"


def largest_difference(a: Path, b: Path) -> float:
    """Largest absolute difference between two weights of two adapter or checkpoint folders; infinite where they hold other
    tensors. One tensor at a time is read."""
    import numpy as np

    first, second = (dict(_tensors(folder)) for folder in (a, b))
    if {name: entry["shape"] for name, (_, entry) in first.items()} != {name: e["shape"] for name, (_, e) in second.items()}:
        return float("inf")
    return max((float(np.max(np.abs(_numbers(*first[n]) - _numbers(*second[n])), initial=0.0)) for n in first), default=0.0)


def _tensors(folder: Path) -> Iterator[tuple[str, tuple[Path, dict[str, Any]]]]:
    """Each tensor of a folder's safetensors: name, its file and its entry in the header."""
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in tensor_header(file).items():
            yield name, (file, entry)


def _numbers(file: Path, entry: dict[str, Any]) -> Any:
    """A tensor's numbers in float64. numpy has no bfloat16, which is the upper half of a float32."""
    import numpy as np

    begin, end = entry["data_offsets"]
    data = file.stat().st_size - max(each["data_offsets"][1] for each in tensor_header(file).values())
    raw = np.fromfile(file, NUMBERS[entry["dtype"]], (end - begin) // BYTES[entry["dtype"]], offset=data + begin)
    return (raw.astype("<u4") << 16).view("<f4").astype("f8") if entry["dtype"] == "BF16" else raw.astype("f8")
