"""Nouns of stage 2: training runs and the versions they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """One attempt to learn a dataset with a recipe: state, loss curve, cost, how it ended."""

    id: str
    """`run_…`."""
    model: str
    """The model."""
    dataset: str
    """Id of the dataset version."""
    dataset_digest: str
    """Its digest."""
    recipe: dict[str, Any]
    """Every hyperparameter, resolved; nothing implied."""
    recipe_digest: str
    """Digest of the recipe."""
    base: str
    """Folder or name of the base."""
    base_digest: str
    """Digest of the base's weights."""
    tokenizer_digest: str | None = None
    """Digest of its tokenizer.json; None where it stays at a provider."""
    template_digest: str | None = None
    """Digest of its chat template's text; None where it stays at a provider."""
    parent: str | None = None
    """Version whose adapter it continued from."""
    job: str | None = None
    """Id of the job that runs it."""
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    """Where it stands."""
    ended: str | None = None
    """Why it ended, in one line."""
    loss: tuple[float, ...] = ()
    """Mean loss per logged interval, first to last."""
    final_loss: float | None = None
    """The last of them."""
    eval_loss: tuple[float, ...] = ()
    """Loss on held-out rows after each epoch; never an acceptance metric."""
    task: tuple[float | None, ...] = ()
    """Share of the sample answered right after each epoch, 0 to 1; None where it was not asked."""
    epoch: int | None = None
    """Epoch whose adapter was kept, from 1."""
    kept: str | None = None
    """Why that one, in one sentence."""
    warnings: tuple[str, ...] = ()
    """What is unusual about the recipe or the curve, one sentence each."""
    rows: int | None = None
    """Rows it learned from: fewer than the dataset's when it replays only a part."""
    adapter: str | None = None
    """Digest of the adapter folder's manifest in blobs; None where every number was tuned (`checkpoint` of the version)."""
    transcript: str | None = None
    """Digest of the reference transcript."""
    seconds: float | None = None
    """Wall seconds of the loop."""
    whole_seconds: float | None = None
    """Wall seconds of all of it, loading and answering too: what the machine is paid for."""
    cpu_seconds: float | None = None
    """CPU seconds of the child."""
    tokens_per_second: float | None = None
    """Trained tokens a wall second."""
    cost_usd: float | None = None
    """Hours times the configured rate; None when no rate is set."""
    version: str | None = None
    """Version it made."""
    estimated_seconds: float | None = None
    """What a plan would have said of these tokens before the run: its `seconds`; None where no earlier run told the speed."""
    memory: dict[str, int] = field(default_factory=dict)
    """`estimated` and `peak` bytes of the device that trained; what the next estimate learns from."""
    machine: dict[str, Any] = field(default_factory=dict)
    """What it ran on: device, processor, python, the libraries' versions, ours, and `energy_wh` where it could be read."""
    created: datetime | None = None
    """When it began."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """An immutable candidate: base, adapter, template, dataset, run, number and name."""

    id: str
    """`<model>@<name>`."""
    model: str
    """The model."""
    name: str
    """E.g. `v2.3-2026-02-26-2104examples`; never reused."""
    major: int
    """Grows when the base changes."""
    minor: int
    """Grows with each run."""
    base: str
    """Folder or name of the base."""
    base_digest: str
    """Digest of the base's weights."""
    tokenizer_digest: str | None = None
    """Digest of tokenizer.json."""
    template_digest: str | None = None
    """Digest of the chat template's text."""
    adapter: str | None = None
    """Digest of the adapter folder's manifest; None for a prompted base, a hosted model or a tuned checkpoint."""
    checkpoint: str | None = None
    """Digest of the manifest of a checkpoint folder whose every number was tuned; None otherwise."""
    system: str | None = None
    """System prompt of a prompted base."""
    messages: tuple[dict[str, Any], ...] = ()
    """Few-shot messages of a prompted base."""
    dataset: str | None = None
    """Dataset version it learned."""
    run: str | None = None
    """Training run that made it."""
    transcript: str | None = None
    """Digest of the reference transcript."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Where it came from, when imported."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves; a version is saved once."""
