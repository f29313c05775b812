"""Doing a run again, to see whether it comes out the same: the same base, data, recipe and start, in a job of its own."""

from __future__ import annotations

from collections.abc import Callable
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
from tunekeeper.training.config import Config
from tunekeeper.training.orders import order_again, require_extra
from tunekeeper.workspace import Workspace

CLOSE = 0.02
"""Largest relative difference of the final loss at which another machine's result still counts as equivalent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """How a run came out the second time."""

    run: str
    """The run that was done again."""
    verdict: Literal["identical", "equivalent", "different"]
    """`identical`: every weight is bit for bit the same; `equivalent`: the final losses differ by at most 2 %."""
    largest_difference: float
    """Largest absolute difference between two weights of the adapters."""
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
    if run.adapter is None or run.final_loss is None:
        raise UserError(f"{run.id} has no adapter to compare with: it is {run.state}", fix="tunekeeper train ls")
    with ws.state.read() as tx:
        dataset = load_dataset(tx, run.dataset)
        parent = load_version(tx, run.parent) if run.parent else None
    if dataset.digest != run.dataset_digest:
        raise ArtifactError(f"{run.dataset} is {dataset.digest} now; {run.id} learned {run.dataset_digest}")
    order, base_digest = order_again(ws, task, section, dataset, parent, run)
    if base_digest != run.base_digest:
        raise ArtifactError(f"the base of {task.name} is {base_digest} now; {run.id} learned on {run.base_digest}")
    job = jobs.ensure(ws, "train", order, model=task.name, again=True)
    job = jobs.wait(ws, job.id, on_progress)
    outcome = harvest.of(job)
    if job.state != "done" or outcome is None or outcome.adapter is None or job.output is None:
        jobs.reraise(job)
    then = ws.blobs.checkout_folder(run.adapter, ws.path("work", f"adapter-{run.adapter[7:31]}"))
    apart = largest_difference(then, outcome.adapter)
    losses = (run.final_loss, float(job.output["final_loss"]))
    machine = {
        name: (run.machine.get(name), value) for name, value in job.output["machine"].items() if run.machine.get(name) != value
    }
    harvest.clear(job)
    return Reproduction(run=run.id, verdict=verdict(apart, losses), largest_difference=apart, loss=losses, machine=machine)


def verdict(largest_difference: float, loss: tuple[float, float]) -> Literal["identical", "equivalent", "different"]:
    """What the differences amount to."""
    if largest_difference == 0:
        return "identical"
    then, now = loss
    return "equivalent" if abs(now - then) <= CLOSE * max(abs(then), abs(now)) else "different"


def largest_difference(a: Path, b: Path) -> float:
    """Largest absolute difference between two weights of two adapter folders; infinite where they hold other tensors."""
    import numpy as np
    from safetensors import safe_open

    with (
        safe_open(a / "adapter_model.safetensors", framework="numpy") as first,
        safe_open(b / "adapter_model.safetensors", framework="numpy") as second,
    ):
        names = set(first.keys())
        if names != set(second.keys()):
            return float("inf")
        found = 0.0
        for name in names:
            x, y = first.get_tensor(name), second.get_tensor(name)
            if x.shape != y.shape:
                return float("inf")
            found = max(found, float(np.max(np.abs(x.astype(np.float64) - y.astype(np.float64)), initial=0.0)))
    return found
