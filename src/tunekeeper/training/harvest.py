"""What a training job left behind: the epoch to keep, what it learned, its curve. Of a cancelled one too, as far as it came."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunekeeper import jobs
from tunekeeper.training import selection
from tunekeeper.training.base import parameters
from tunekeeper.training.device import processor
from tunekeeper.training.memory import BYTES
from tunekeeper.training.selection import Kept
from tunekeeper.training.workfolder import BEGUN, CHECKPOINT, EPOCHS, MODEL, TRL_CHECKPOINTS
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Harvest:
    """The best of a job."""

    state: Literal["done", "cancelled"]
    """Whether the job came to its end."""
    ended: str
    """How it ended, in one line."""
    kept: Kept | None
    """The epoch that was chosen; None where the trainer left one adapter only."""
    task: tuple[float | None, ...]
    """Share of the sample answered right after each epoch, 0 to 1."""
    learned: Path | None
    """Folder of that epoch's adapter, or of the whole model; None where it stays at a provider."""
    transcript: Path | None
    """Its reference transcript, where the child wrote it."""
    curve: dict[str, Any]
    """The loop's curve: loss, eval_loss, seconds, cpu_seconds."""
    tokens_per_second: float | None
    """Trained tokens a wall second; None where nobody says."""
    rows: int | None
    """Rows learned; None where the job did not come to tell."""
    memory: dict[str, int]
    """`estimated` and `peak` bytes; empty where the job did not come to tell."""
    machine: dict[str, Any]
    """What it ran on; empty where the job did not come to tell."""
    cost_usd: float | None = None
    """What a provider says it cost."""
    left_out: int = 0
    """Conversations that were longer than `max_tokens`."""
    notes: tuple[str, ...] = ()
    """What the child had to say of the rows."""
    whereabouts: dict[str, Any] = field(default_factory=dict)
    """Of what was trained elsewhere: by whom, and where a model that stayed there answers."""


def of(job: jobs.Job) -> Harvest | None:
    """What an ended job left; None when it is not worth keeping: it failed, or was cancelled in its first epoch."""
    told = job.output if job.state == "done" else None
    epochs = selection.finished(job.work) if job.state in ("done", "cancelled") else []
    if not epochs:
        return None if told is None or not _says_all(job, told) else _whole(job, told)
    last, asked_for = epochs[-1], job.input["recipe"]["epochs"]
    curve = selection.curve_of(job.work, last)
    sample = job.input.get("sample")
    task = selection.shares(job.work, Path(sample), job.input["scorers"], last) if sample else ()
    kept = selection.choose(task or (None,) * last, curve["eval_loss"], job.input["recipe"]["keep"])
    transcript = selection.transcript_of(job.work, kept.epoch)
    if told is not None and told["transcript"]:
        transcript = job.work / told["transcript"]
    known = told or _begun(job.work)
    ended = "finished" if last == asked_for else f"stopped early after epoch {last} of {asked_for}"
    return Harvest(
        state="cancelled" if told is None else "done",
        ended=f"cancelled after epoch {last} of {asked_for}; the best finished one is kept" if told is None else ended,
        kept=kept,
        task=task,
        learned=selection.learned_of(job.work, kept.epoch),
        transcript=transcript if transcript.is_file() else None,
        curve=curve,
        tokens_per_second=curve["tokens"] / max(curve["seconds"], 1e-9),
        rows=known.get("rows"),
        memory=known.get("memory", {}),
        machine=known.get("machine", {}),
        left_out=known.get("left_out", 0),
        notes=tuple(known.get("notes", ())),
    )


def _begun(work: Path) -> dict[str, Any]:
    """What the child knew when it began to learn: rows, left_out, notes, machine; nothing of a run of an earlier version."""
    file = work / BEGUN
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found


def transcribing(ws: Workspace, job: jobs.Job, outcome: Harvest) -> jobs.Job | None:
    """The job that writes the reference transcript of what a cancelled run left, where the run had none yet: one that learns on
    other numbers than its base's files writes it at its end. None where there is nothing to write, or no memory for the base."""
    asked = job.input
    missing = outcome.state == "cancelled" and outcome.transcript is None and outcome.learned is not None
    if not missing or not asked.get("eval") or not asked.get("transcript") or asked["recipe"].get("method") == "full":
        return None
    if parameters(Path(asked["base"])) * BYTES["float32"] > processor().free:
        return None
    wanted = {"base": asked["base"], "adapter": str(outcome.learned), "prompts": asked["eval"], "count": asked["transcript"]}
    return jobs.ensure(
        ws, "reference-transcript", {**wanted, "answer_tokens": asked["answer_tokens"], "threads": asked["threads"]}
    )


def transcribed(job: jobs.Job | None) -> Path | None:
    """What such a job wrote."""
    return job.work / job.output["transcript"] if job is not None and job.state == "done" and job.output is not None else None


def _says_all(job: jobs.Job, told: dict[str, Any]) -> bool:
    """Whether a trainer that ended in order left what it should: its answer's fields, and the files that it names."""
    if not {"adapter", "tokens_per_second", "rows"} <= told.keys():
        return False
    return (not told["adapter"] or (job.work / told["adapter"]).is_dir()) and (
        not told.get("transcript") or (job.work / told["transcript"]).is_file()
    )


def _whole(job: jobs.Job, told: dict[str, Any]) -> Harvest:
    """What a trainer left that keeps no epochs apart: its one adapter."""
    return Harvest(
        state="done",
        ended="finished",
        kept=None,
        task=(),
        learned=job.work / told["adapter"] if told["adapter"] else None,
        transcript=job.work / told["transcript"] if told.get("transcript") else None,
        curve=told,
        tokens_per_second=told["tokens_per_second"],
        rows=told["rows"],
        memory=told.get("memory") or {},
        machine=told.get("machine") or {},
        cost_usd=told.get("cost_usd"),
        whereabouts=told.get("whereabouts") or {},
    )


def clear(job: jobs.Job) -> None:
    """Remove what nobody needs once the version stands: the checkpoints, the other epochs, a whole model beside its blobs."""
    (job.work / CHECKPOINT).unlink(missing_ok=True)
    for folder in (EPOCHS, TRL_CHECKPOINTS, MODEL):
        shutil.rmtree(job.work / folder, ignore_errors=True)
