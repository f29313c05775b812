"""Training without a project: a checkpoint folder, a chat JSONL file and a recipe in, a PEFT or checkpoint folder out."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.clock import SystemClock
from tunekeeper.core.errors import Busy, TunekeeperError, UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.jobs.folder import take
from tunekeeper.store.ledgers.jobs import find_jobs
from tunekeeper.training.base import talking_base
from tunekeeper.training.config import Config
from tunekeeper.training.memory import refuse_unknown_targets
from tunekeeper.training.orders import require_extra
from tunekeeper.training.recipe import Recipe, resolve
from tunekeeper.training.rows import read_rows
from tunekeeper.workspace import Workspace, create_workspace


def train_folder(
    checkpoint: Path,
    data: Path,
    out: Path,
    *,
    recipe: dict[str, Any] | None = None,
    on_progress: Callable[[jobs.Job], None] | None = None,
) -> dict[str, Any]:
    """Train on `data` (OpenAI chat JSONL) and write a PEFT folder to `out`, or in full tuning a checkpoint, whole or not at all.

    Returns {run, version, state, seconds, cpu_seconds, tokens_per_second, loss, loss_curve, rows, left_out, notes, adapter,
    checkpoint}; run and version are None, and of the last two the one that was not written. `left_out`: those longer than
    `max_tokens`; `notes`: what is to be said of the others, a sentence each.
    What was killed is gone on with where it was, when the same is asked for again. Raises UserError when `out` exists, Busy when
    another training is about to write it, and what the run itself raises.
    """
    _refuse_taken(out)
    require_extra()
    chosen = resolve(Config(), recipe)
    base = talking_base(checkpoint.resolve())
    refuse_unknown_targets(base.folder, chosen)
    read_rows(data)
    work: dict[str, Any] = {
        "base": str(base.folder),
        **base.digests,
        "train": str(data.resolve()),
        "eval": None,
        "dataset_digest": digest_file(data),
        "recipe": chosen.as_json(),
        "transcript": 0,
        "answer_tokens": 1,
        "threads": chosen.threads,
    }
    with _scratch(out) as ws:
        job = jobs.ensure(ws, "train", work, again=True)
        if job.state == "failed":  # what a killed command left has ended, or was killed too often: now it is asked for anew
            job = jobs.ensure(ws, "train", work, again=True)
        _end_jobs(ws, but=job.id)
        job = jobs.wait(ws, job.id, on_progress)
        if job.state != "done" or job.output is None:
            jobs.reraise(job)
        _refuse_taken(out)
        (job.work / job.output["adapter"]).replace(out)
        return summary(job.output, cpu_seconds=job.cpu_seconds) | written_as(chosen, out)


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Workspace]:
    """A workspace beside `out`, removed at the end: that of a command that was killed, where there is one. Raises Busy."""
    folder = out.resolve().parent / f".{out.name}-training"
    folder.mkdir(parents=True, exist_ok=True)
    lock = take(folder)
    if lock is None:
        raise Busy(f"{out}: another training is about to write it", fix="wait for that one, or name another folder")
    try:
        yield create_workspace(folder / "workspace", clock=SystemClock())
    finally:
        with contextlib.suppress(TunekeeperError):  # a full disk may be what ended it: nothing is left there all the same
            _end_jobs(create_workspace(folder / "workspace", clock=SystemClock()))
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _end_jobs(ws: Workspace, but: str | None = None) -> None:
    """End what goes on, also what a killed command left running that was asked for something else."""
    with ws.state.read() as tx:
        left = find_jobs(tx, state=("queued", "running"))
    for row in left:
        if row.id != but:
            jobs.cancel(ws, row.id)


def _refuse_taken(out: Path) -> None:
    """Raise UserError when `out` exists."""
    if out.exists():
        raise UserError(f"{out}: exists already", fix="name a folder that does not exist")


def written_as(recipe: Recipe, out: Path) -> dict[str, str | None]:
    """{adapter, checkpoint}: what `out` is by this recipe, and None for what it is not."""
    whole = recipe.method == "full"
    return {"adapter": None if whole else str(out), "checkpoint": str(out) if whole else None}


def summary(output: dict[str, Any], *, cpu_seconds: float | None) -> dict[str, Any]:
    """A job's output in the shape of `train run --json`."""
    return {
        "run": None,
        "version": None,
        "state": "done",
        "seconds": output["seconds"],
        "cpu_seconds": output["cpu_seconds"] if cpu_seconds is None else cpu_seconds,
        "tokens_per_second": output["tokens_per_second"],
        "loss": output["final_loss"],
        "loss_curve": output["loss"],
        "rows": output["rows"],
        "left_out": output["left_out"],
        "notes": output["notes"],
    }
