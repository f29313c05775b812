"""Training without a project: a checkpoint folder, a chat JSONL file and a recipe in, a PEFT or checkpoint folder out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.clock import SystemClock
from tunekeeper.core.errors import UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.training.base import talking_base
from tunekeeper.training.config import Config
from tunekeeper.training.memory import refuse_unknown_targets
from tunekeeper.training.orders import require_extra
from tunekeeper.training.recipe import Recipe, resolve
from tunekeeper.training.rows import read_rows
from tunekeeper.workspace import create_workspace


def train_folder(
    checkpoint: Path,
    data: Path,
    out: Path,
    *,
    recipe: dict[str, Any] | None = None,
    on_progress: Callable[[jobs.Job], None] | None = None,
) -> dict[str, Any]:
    """Train on `data` (OpenAI chat JSONL) and write a PEFT folder to `out`, or in full tuning a checkpoint, whole or not at all.

    Returns {run, version, state, seconds, cpu_seconds, tokens_per_second, loss, loss_curve, rows, left_out, adapter, checkpoint};
    run and version are None, and of the last two the one that was not written. `left_out`: those longer than `max_tokens`.
    Raises UserError when `out` exists, and what the run itself raises.
    """
    if out.exists():
        raise UserError(f"{out}: exists already", fix="name a folder that does not exist")
    require_extra()
    chosen = resolve(Config(), recipe)
    base = talking_base(checkpoint.resolve())
    refuse_unknown_targets(base.folder, chosen)
    read_rows(data)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix=f".{out.name}-") as scratch:
        ws = create_workspace(Path(scratch) / "workspace", clock=SystemClock())
        work: dict[str, Any] = {
            "base": str(base.folder),
            "base_digest": base.digest,
            "train": str(data.resolve()),
            "eval": None,
            "dataset_digest": digest_file(data),
            "recipe": chosen.as_json(),
            "transcript": 0,
            "answer_tokens": 1,
            "threads": chosen.threads,
        }
        job = jobs.ensure(ws, "train", work)
        try:
            job = jobs.wait(ws, job.id, on_progress)
        finally:
            jobs.cancel(ws, job.id)
        if job.state != "done" or job.output is None:
            jobs.reraise(job)
        shutil.move(job.work / job.output["adapter"], out)
        return summary(job.output, cpu_seconds=job.cpu_seconds) | written_as(chosen, out)


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
    }
