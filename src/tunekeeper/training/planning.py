"""Before a run: how many tokens it trains, how much memory, time and money it takes. Estimates say what they rest on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.store.ledgers.runs import find_runs
from tunekeeper.training import memory
from tunekeeper.training.backends import trainer_of
from tunekeeper.training.base import parameters, talking_base
from tunekeeper.training.config import Config
from tunekeeper.training.encode import encode, fitting
from tunekeeper.training.memory import Room, adapter_parameters, learned_factor, method, need, suggestion
from tunekeeper.training.orders import base_folder, rows_file
from tunekeeper.training.previewing import codec_of
from tunekeeper.training.recipe import resolve, warnings
from tunekeeper.training.rows import read_rows
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run would take."""

    rows: int
    """Rows that fit `max_tokens`."""
    left_out: int
    """Rows that are longer."""
    tokens: int
    """Tokens of one epoch."""
    learned_tokens: int
    """Those the loss counts, of one epoch."""
    longest: int
    """Longest row, in tokens."""
    steps: int
    """Steps in all."""
    base_parameters: int
    """Numbers in the base."""
    adapter_parameters: int
    """Numbers that are learned."""
    memory_bytes: int
    """Estimate: weights, optimizer, activations and libraries, times what earlier runs made of it."""
    memory_runs: int
    """How many earlier runs of this base that rests on; 0: the formula alone."""
    device: str
    """`cpu`, or the GPU that would train."""
    device_bytes: int
    """Memory it has."""
    free_bytes: int
    """Memory of it that is free now."""
    fits: bool
    """Whether the run fits into what the device has; one that does not is refused."""
    suggestion: str | None
    """The gentlest change of the recipe that makes it fit into what is free; None where none is needed or helps."""
    method: str
    """What the recipe learns of the base, and what tuning all of it would take, in one sentence."""
    seconds: float | None
    """Estimate of the loop; None when no run of this base on this machine says how fast it is."""
    seconds_from: str | None
    """The run whose speed it rests on."""
    cost_usd: float | None
    """`seconds` at the configured rate; None without either."""
    warnings: tuple[str, ...]
    """What is unusual about the recipe."""


def plan(
    ws: Workspace,
    task: Model,
    section: Config,
    dataset: DatasetVersion,
    *,
    continued: bool = False,
    recipe: dict[str, Any] | None = None,
    room: Callable[[], Room] = memory.room,
) -> Plan:
    """The plan of training `dataset`. `room`: what the device that would train has. Raises ConfigError, ArtifactError and
    DataError as the run itself would, but not for what does not fit."""
    chosen = resolve(section, recipe, continued=continued)
    trainer = trainer_of(section)
    if section.backend != "local":
        trainer.ask(ws, task, section, dataset, None, chosen)  # refuses what another trainer cannot do, and begins nothing
    base = talking_base(base_folder(ws, task))
    codec = codec_of(base.folder)
    rows, left_out = fitting((encode(codec, row) for row in read_rows(rows_file(ws, dataset, "train"))), chosen.max_tokens)
    tokens = sum(len(row.ids) for row in rows)
    longest = max((len(row.ids) for row in rows), default=0)
    most = max((sum(row.learned) for row in rows), default=0)
    with ws.state.read() as tx:
        done = find_runs(tx, model=task.name, state="done", newest_first=True)
    by = trainer.recorded(section, chosen).get("backend")
    before = [run for run in done if run.recipe.get("backend") == by]
    speed = measured_speed(before, base.digest)
    seconds = None if speed is None else tokens * chosen.epochs / (speed.tokens_per_second or 1)
    rate = section.rate_usd_per_hour
    there = room()
    factor, seen = learned_factor(before, base.digest)
    needed = need(base.folder, chosen, longest, gpu=there.device != "cpu", factor=factor, learned=most).total
    tight = replace(there, total=there.free)
    return Plan(
        rows=len(rows),
        left_out=left_out,
        tokens=tokens,
        learned_tokens=sum(sum(row.learned) for row in rows),
        longest=longest,
        steps=chosen.epochs * math.ceil(len(rows) / chosen.batch),
        base_parameters=parameters(base.folder),
        adapter_parameters=adapter_parameters(base.folder, chosen),
        memory_bytes=needed,
        memory_runs=seen,
        device=there.device,
        device_bytes=there.total,
        free_bytes=there.free,
        fits=needed <= there.total,
        suggestion=suggestion(base.folder, chosen, longest, tight, factor, most) if needed > there.free else None,
        method=method(base.folder, chosen, there),
        seconds=seconds,
        seconds_from=None if speed is None else speed.id,
        cost_usd=None if seconds is None or rate is None else seconds / 3600 * rate,
        warnings=warnings(chosen),
    )


def measured_speed(runs: Iterable[TrainingRun], base_digest: str) -> TrainingRun | None:
    """The newest finished run of this base that knows its speed; `runs` newest first. Pure."""
    return next((run for run in runs if run.base_digest == base_digest and run.tokens_per_second), None)


def as_json(found: Plan) -> dict[str, Any]:
    """The plan as JSON values."""
    from dataclasses import asdict

    value: dict[str, Any] = json.loads(json.dumps(asdict(found)))
    return value
