"""Before a run: how many tokens it trains, how much memory, time and money it takes. Estimates say what they rest on."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.store.ledgers.runs import find_runs
from tunekeeper.training import device
from tunekeeper.training.backends import trainer_of
from tunekeeper.training.base import Base, parameters, talking_base
from tunekeeper.training.config import Config
from tunekeeper.training.device import Room
from tunekeeper.training.drivers import Drivers, drivers
from tunekeeper.training.encode import conversations
from tunekeeper.training.memory import (
    learned_factor,
    learned_parameters,
    method,
    need,
    refuse_unknown_targets,
    run_bytes,
    suggestion,
    version_bytes,
)
from tunekeeper.training.orders import base_folder, known_rows, parent_folder, rows_file, suite_of
from tunekeeper.training.pace import beside_loop, loop_seconds, measured_speed, method_of
from tunekeeper.training.places import beyond, refuse_beyond
from tunekeeper.training.previewing import codec_of
from tunekeeper.training.recipe import Recipe, idle, resolve
from tunekeeper.training.rows import nothing_fits, of_objective, read_rows, select
from tunekeeper.training.tradeoffs import Facts, Way, advice, guard, notes, ways
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
    """Numbers that are learned; all of them in full tuning."""
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
    """Whether the run fits into what the device and the disk have; one that does not is refused."""
    suggestion: str | None
    """The gentlest change of the recipe that makes it fit into what is free; None where none is needed or helps."""
    disk_bytes: int
    """What the version takes on the disk."""
    run_disk_bytes: int
    """Most that the run takes there while it goes."""
    free_disk_bytes: int
    """What is free there now; a run that needs more is refused."""
    method: str
    """What the recipe learns of the base, and what tuning all of it would take, in one sentence."""
    seconds: float | None
    """Estimate of the loop; None when no run of this base on this machine says how fast it is."""
    whole_seconds: float | None
    """Estimate of all of it: the loop, and the loading and answering that the run took beside its loop; None without it."""
    seconds_from: str | None
    """The run whose speed it rests on."""
    cost_usd: float | None
    """`whole_seconds` at the configured rate; None without either."""
    advice: str
    """Which way of tuning this machine suggests for this base."""
    guard: str | None
    """Why not to begin full tuning before an adapter was tried; None for an adapter."""
    ways: tuple[Way, ...]
    """Full tuning, LoRA, QLoRA and prompting beside each other, each figure with its source."""
    warnings: tuple[str, ...]
    """What is unusual about the recipe, and what full tuning costs."""
    drivers: Drivers
    """What the model cost so far: compute, data preparation, how often it is trained."""


def plan(
    ws: Workspace,
    task: Model,
    section: Config,
    dataset: DatasetVersion,
    *,
    parent: Version | None = None,
    recipe: dict[str, Any] | None = None,
    room: Callable[[], Room] = device.room,
    elsewhere: Room | None = None,
) -> Plan:
    """The plan of training `dataset`, continued from `parent`. `room`: what the device that would train has. `elsewhere`: another
    machine, of whose speed runs here say nothing. Raises ConfigError, ArtifactError and DataError as the run itself would, but
    not for what does not fit."""
    chosen = resolve(section, recipe, continued=parent is not None)
    trainer = trainer_of(section)
    if section.backend != "local":
        trainer.ask(ws, task, section, dataset, parent, chosen)  # refuses what another trainer cannot do, and begins nothing
    base = _base(ws, task, section, chosen, parent)
    rows = _rows(ws, base, dataset, chosen, parent)
    refuse_beyond(base.folder, rows.longest)
    with ws.state.read() as tx:
        every = find_runs(tx, model=task.name, newest_first=True)
        reviews = find_reviews(tx, model=task.name)
    done = [run for run in every if run.state == "done"]
    by = trainer.recorded(section, chosen).get("backend")
    before = [run for run in done if run.recipe.get("backend") == by]
    there = elsewhere or room()
    free_disk = shutil.disk_usage(ws.root).free
    plain = need(base.folder, chosen, rows.longest, there, learned=rows.most)
    factor, seen = learned_factor((run for run in before if method_of(run) == chosen.method), base.digest, plain.total)
    needed = replace(plain, factor=factor).total
    run_disk = run_bytes(base.folder, chosen, there)
    tight, rate = replace(there, total=there.free), section.rate_usd_per_hour
    speed = measured_speed(before, base.digest, chosen.method) if elsewhere is None else None
    tokens = rows.tokens * chosen.epochs
    lora = None if speed is None else loop_seconds(speed, tokens, "lora")
    seconds = None if speed is None else loop_seconds(speed, tokens, chosen.method)
    whole = None if speed is None or seconds is None else seconds + beside_loop(speed)
    facts = Facts(
        folder=base.folder, there=there, longest=rows.longest, learned=rows.most, factor=factor,
        beside_seconds=0.0 if speed is None else beside_loop(speed),
        lora_seconds=lora, speed_of=None if speed is None else speed.id, rate=rate,
    )  # fmt: skip
    return Plan(
        rows=rows.count,
        left_out=rows.left_out,
        tokens=rows.tokens,
        learned_tokens=rows.learned,
        longest=rows.longest,
        steps=chosen.epochs * max(1, math.ceil(rows.weight / chosen.batch)),
        base_parameters=parameters(base.folder),
        adapter_parameters=learned_parameters(base.folder, chosen),
        memory_bytes=needed,
        memory_runs=seen,
        device=there.device,
        device_bytes=there.total,
        free_bytes=there.free,
        fits=needed <= there.total and run_disk <= free_disk,
        suggestion=suggestion(base.folder, chosen, rows.longest, tight, factor, rows.most) if needed > there.free else None,
        disk_bytes=version_bytes(base.folder, chosen, there),
        run_disk_bytes=run_disk,
        free_disk_bytes=free_disk,
        method=method(base.folder, chosen, there),
        seconds=seconds,
        whole_seconds=whole,
        seconds_from=None if speed is None else speed.id,
        cost_usd=None if whole is None or rate is None else whole / 3600 * rate,
        advice=advice(facts, chosen),
        guard=guard(facts, chosen, done, dataset.digest),
        ways=ways(facts, chosen),
        warnings=(*notes(base.folder, chosen, there), *idle(chosen, held=dataset.eval > 0), *rows.said),
        drivers=drivers(every, reviews, section.people_usd_per_hour),
    )


def _base(ws: Workspace, task: Model, section: Config, recipe: Recipe, parent: Version | None) -> Base:
    """The base that a run would learn on, once suite, targets and parent are found to go with it."""
    suite_of(ws, section)
    base = talking_base(base_folder(ws, task))
    refuse_unknown_targets(base.folder, recipe)
    if parent is not None:
        parent_folder(ws, parent, base, recipe)
    return base


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """What a run would learn, in numbers."""

    count: int
    """Rows that fit `max_tokens`; of preferences, comparisons."""
    left_out: int
    """Conversations that are longer."""
    weight: float
    """Conversations that an epoch uses."""
    tokens: int
    """Tokens of one epoch."""
    learned: int
    """Those the loss counts."""
    longest: int
    """Tokens of the longest conversation."""
    most: int
    """Most tokens that a conversation learns."""
    said: tuple[str, ...]
    """What to say of those that are longer than the base was made for."""


def _rows(ws: Workspace, base: Base, dataset: DatasetVersion, recipe: Recipe, parent: Version | None) -> _Rows:
    """The rows as the training child takes them: replayed, compared, left out. Raises DataError where nothing is left."""
    codec, found = codec_of(base.folder), read_rows(rows_file(ws, dataset, "train"))
    known = known_rows(ws, recipe, parent) if parent is not None else None
    if known is not None and recipe.replay is not None:
        found, _ = select(found, read_rows(Path(known)), recipe.replay, recipe.seed)
    found = of_objective(found, recipe.objective)
    groups = [(place, group) for place, row in enumerate(found) for group in conversations(codec, row, recipe.objective)]
    kept = [(place, group) for place, group in groups if max(len(each.ids) for each in group) <= recipe.max_tokens]
    weight = sum(found[place].weight for place, _ in kept)
    if not weight:
        raise nothing_fits(len(found), recipe.max_tokens)
    every = [each for _, group in kept for each in group]
    return _Rows(
        count=len({place for place, _ in kept}),
        left_out=len(groups) - len(kept),
        weight=weight,
        tokens=sum(len(each.ids) for each in every),
        learned=sum(sum(each.learned) for each in every),
        longest=max(len(each.ids) for each in every),
        most=max(sum(each.learned) for each in every),
        said=beyond(base.folder, (len(each.ids) for each in every)),
    )


def as_json(found: Plan) -> dict[str, Any]:
    """The plan as JSON values."""
    from dataclasses import asdict

    value: dict[str, Any] = json.loads(json.dumps(asdict(found)))
    return value
