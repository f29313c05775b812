"""Before a run: how many tokens it trains, how much memory, time and money it takes. Estimates say what they rest on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.store.ledgers.runs import find_runs
from tunekeeper.training.base import parameters, read_base, read_json, tensor_header, weight_files
from tunekeeper.training.config import Config
from tunekeeper.training.encode import encode, fitting
from tunekeeper.training.previewing import codec_of
from tunekeeper.training.recipe import Recipe, resolve, warnings
from tunekeeper.training.rows import read_rows
from tunekeeper.training.verbs import base_folder
from tunekeeper.workspace import Workspace

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 4}
FOUR_BIT = 0.56
"""Bytes a number takes in NF4 with double quantization."""
ADAM = 16
"""Bytes a learned number takes: weight, gradient and two moments in float32."""


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
    """Estimate: weights, optimizer and activations, on CPU or GPU alike; the libraries themselves add about 1 GB."""
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
) -> Plan:
    """The plan of training `dataset`. Raises ConfigError, ArtifactError and DataError as the run itself would."""
    chosen = resolve(section, recipe, continued=continued)
    base = read_base(base_folder(ws, task))
    codec = codec_of(base.folder)
    rows, left_out = fitting((encode(codec, row) for row in read_rows(ws.blobs.path(dataset.blobs["train"]))), chosen.max_tokens)
    tokens = sum(len(row.ids) for row in rows)
    longest = max((len(row.ids) for row in rows), default=0)
    with ws.state.read() as tx:
        before = find_runs(tx, model=task.name, state="done", newest_first=True)
    speed = measured_speed(before, base.digest)
    seconds = None if speed is None else tokens * chosen.epochs / (speed.tokens_per_second or 1)
    rate = section.rate_usd_per_hour
    learned = adapter_parameters(base.folder, chosen)
    return Plan(
        rows=len(rows),
        left_out=left_out,
        tokens=tokens,
        learned_tokens=sum(sum(row.learned) for row in rows),
        longest=longest,
        steps=chosen.epochs * math.ceil(len(rows) / chosen.batch),
        base_parameters=parameters(base.folder),
        adapter_parameters=learned,
        memory_bytes=memory(base.folder, chosen, learned, longest),
        seconds=seconds,
        seconds_from=None if speed is None else speed.id,
        cost_usd=None if seconds is None or rate is None else seconds / 3600 * rate,
        warnings=warnings(chosen),
    )


def measured_speed(runs: Iterable[TrainingRun], base_digest: str) -> TrainingRun | None:
    """The newest finished run of this base that knows its speed; `runs` newest first. Pure."""
    return next((run for run in runs if run.base_digest == base_digest and run.tokens_per_second), None)


def adapter_parameters(folder: Path, recipe: Recipe) -> int:
    """Numbers an adapter of this recipe has: rank x (rows + columns) of every targeted layer, from the headers alone."""
    total = 0
    for file in weight_files(folder):
        for name, entry in tensor_header(file).items():
            shape = entry["shape"]
            if len(shape) == 2 and is_target(name, recipe.targets):
                total += recipe.rank * (shape[0] + shape[1])
    return total


def is_target(name: str, targets: tuple[str, ...]) -> bool:
    """Whether a weight gets an adapter: with `all-linear` every layer but embeddings and the output head."""
    module = name.removesuffix(".weight")
    if targets == ("all-linear",):
        return not module.endswith(("embed_tokens", "lm_head", "wte", "wpe"))
    return module.endswith(targets)


def memory(folder: Path, recipe: Recipe, learned: int, longest: int) -> int:
    """Bytes of weights, optimizer and activations: about 16 hidden-sized and 4 inner-sized float32 values a token and layer."""
    config = read_json(folder / "config.json")
    hidden, layers = int(config.get("hidden_size") or 0), int(config.get("num_hidden_layers") or 0)
    inner, words = int(config.get("intermediate_size") or 4 * hidden), int(config.get("vocab_size") or 0)
    weight = FOUR_BIT if recipe.qlora else BYTES[recipe.dtype]
    tokens = recipe.batch * longest
    activations = tokens * (layers * (16 * hidden + 4 * inner) + 3 * words) * 4
    return round(parameters(folder) * weight) + learned * ADAM + activations


def as_json(found: Plan) -> dict[str, Any]:
    """The plan as JSON values."""
    from dataclasses import asdict

    value: dict[str, Any] = json.loads(json.dumps(asdict(found)))
    return value
