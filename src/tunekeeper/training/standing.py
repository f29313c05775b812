"""Where a training that still goes on stands: step, loss, speed, time left, and what its finished epochs scored on the sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training import selection
from tunekeeper.workspace import Workspace

TOLD = ("step", "steps", "epoch", "loss", "tokens_per_second", "eta_seconds")
"""What a training tells of itself while it goes on."""


@dataclass(slots=True)
class Watch:
    """Looks at one training's job again and again; an epoch's answers are scored once, when it has finished."""

    scored: int = 0
    """Epochs that `task` is about."""
    task: tuple[float | None, ...] = ()
    """Share of the sample answered right after each of them, 0 to 1; None where it was not asked."""

    def sentence(self, job: jobs.Job) -> str:
        """What the job told last, `loss 0.412, 1,530 tokens/s, sample 41% 67%`; empty before it said anything."""
        told, found = job.detail or {}, []
        if told.get("loss") is not None:
            found.append(f"loss {told['loss']:.3f}")
        if told.get("tokens_per_second"):
            found.append(f"{told['tokens_per_second']:,.0f} tokens/s")
        shares = [f"{share:.0%}" for share in self.shares(job) if share is not None]
        return ", ".join([*found, *([f"sample {' '.join(shares)}"] if shares else [])])

    def shares(self, job: jobs.Job) -> tuple[float | None, ...]:
        """Share of the sample that each finished epoch answered right; empty for a job that asks none."""
        asked = job.input.get("sample")
        finished = len(selection.finished(job.work)) if asked else 0
        if asked and finished > self.scored:
            self.task = selection.shares(job.work, Path(asked), job.input["scorers"], finished)
            self.scored = finished
        return self.task


def of(ws: Workspace, run: TrainingRun) -> dict[str, Any] | None:
    """How far a run is: {progress, step, steps, epoch, loss, tokens_per_second, eta_seconds, task, said}, what is not known yet
    None; None for a run that has ended."""
    if run.state != "running" or run.job is None:
        return None
    job, watch = jobs.look(ws, run.job), Watch()
    told = {name: (job.detail or {}).get(name) for name in TOLD}
    return {"progress": job.progress, **told, "task": watch.shares(job), "said": said(job, watch)}


def said(job: jobs.Job, watch: Watch) -> str:
    """How far a job is, in one line."""
    told = job.detail or {}
    share = "" if job.progress is None else f" {job.progress:.0%}"
    doing = f", {told['note']}" if told.get("note") else ""  # at a provider: that it is queued there
    step = f", step {told['step']} of {told['steps']}" if "step" in told else doing
    left = f", {told['eta_seconds']:,.0f} s left" if told.get("eta_seconds") is not None else ""
    more = watch.sentence(job)
    return f"{job.state}{share}{step}{left}{', ' + more if more else ''}"
