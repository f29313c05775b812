"""A project on the example's tiny base, a small dataset of real tickets, and a context for jobs run in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import jobs
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.demo.world import WORLD_1, conversation
from tunekeeper.store.ledgers.datasets import save_dataset
from tunekeeper.store.ledgers.jobs import find_jobs
from tunekeeper.training.config import Config
from tunekeeper.workspace import Workspace, create_workspace

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"
SMALL = Config(rank=4, alpha=16, epochs=2, learning_rate=2e-3, batch=8, max_tokens=256, transcript=4, answer_tokens=32)


def chat_lines(count: int, seed: int = 5) -> list[str]:
    """`count` lines of chat JSONL with different tickets."""
    tickets = WORLD_1.tickets(random.Random(seed), "known")
    return [json.dumps({"messages": conversation(next(tickets)), "metadata": {"id": f"r{i}"}}) + "\n" for i in range(count)]


@dataclass
class Local:
    """A job's context in this process; `watch` sees every progress."""

    work: Path
    watch: Callable[[dict[str, Any]], None] = lambda fields: None
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """As of a workspace that this is the only job of."""
        return self.work.parent

    def progress(self, fraction: float | None, **fields: Any) -> None:
        self.told.append({"fraction": fraction, **fields})
        self.watch(self.told[-1])


@pytest.fixture
def task() -> Model:
    return Model(name="desk", base=str(BASE), system="Triage the ticket. Answer with JSON.")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """A new workspace; jobs that still run at the end are cancelled."""
    workspace = create_workspace(tmp_path / "data", project=tmp_path, clock=ManualClock())
    yield workspace
    with workspace.state.read() as tx:
        left = find_jobs(tx, state=("queued", "running"))
    for row in left:
        jobs.cancel(workspace, row.id)


def freeze(ws: Workspace, train: list[str], held: list[str], number: int = 1) -> DatasetVersion:
    """A frozen dataset of these lines, as stage 1 leaves one."""
    manifest = ws.rows.put({"train": [line.encode() for line in train], "eval": [line.encode() for line in held]})
    version = DatasetVersion(
        id=f"desk/d{number}",
        model="desk",
        number=number,
        digest=manifest,
        examples=len(train) + len(held),
        train=len(train),
        eval=len(held),
        manifest=manifest,
    )
    with ws.state.write(by="data") as tx:
        return save_dataset(tx, version)


@pytest.fixture
def dataset(ws: Workspace) -> DatasetVersion:
    lines = chat_lines(54)
    return freeze(ws, lines[:48], lines[48:])


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's headers in the shape of a 7B model, without its weights: a sparse file."""
    folder = tmp_path_factory.mktemp("large")
    shape = {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008, "vocab_size": 32000}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **shape}))
    header, at = {}, 0
    for layer in range(32):
        for name, rows, columns in (
            *((f"self_attn.{p}_proj", 4096, 4096) for p in "qkvo"),
            *((f"mlp.{p}_proj", 11008, 4096) for p in ("gate", "up")),
            ("mlp.down_proj", 4096, 11008),
        ):
            size = 2 * rows * columns
            key = f"model.layers.{layer}.{name}.weight"
            header[key] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return folder
