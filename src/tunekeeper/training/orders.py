"""What is asked of a training job: recipe, base, start, rows and sample, checked before anything is begun."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ConfigError, MissingExtra, NotFound
from tunekeeper.core.ids import canonical_json
from tunekeeper.core.nouns.data import DatasetVersion, Split
from tunekeeper.core.nouns.evaluation import Suite
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.scoring import load_suite
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.training import selection
from tunekeeper.training.adapter import check_parent
from tunekeeper.training.base import Base, talking_base
from tunekeeper.training.checkpoint import check_tuned_parent
from tunekeeper.training.config import Config
from tunekeeper.training.memory import refuse_unknown_targets
from tunekeeper.training.recipe import Recipe, resolve
from tunekeeper.training.rows import read_rows
from tunekeeper.workspace import Workspace

NEEDED = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One training, checked and ready to be asked for."""

    recipe: Recipe
    """The recipe, resolved."""
    base: Base
    """The checkpoint."""
    parent: Version | None
    """Version that is continued."""
    parent_folder: Path | None
    """Folder of its adapter, or of its checkpoint in full tuning."""
    known: str | None
    """File of the rows that the parent has learned, where a part of them is replayed."""


def order_of(
    ws: Workspace, task: Model, section: Config, dataset: DatasetVersion, parent: Version | None, changes: dict[str, Any] | None
) -> Order:
    """The order for a training. Raises ConfigError, ArtifactError (a parent of another base), MissingExtra."""
    recipe = resolve(section, changes, continued=parent is not None)
    if recipe.qlora:
        require_extra(("bitsandbytes",), "qlora")
    base = talking_base(base_folder(ws, task))
    refuse_unknown_targets(base.folder, recipe)
    if parent is None:
        return Order(recipe=recipe, base=base, parent=None, parent_folder=None, known=None)
    folder = parent_folder(ws, parent, base, recipe)
    return Order(recipe=recipe, base=base, parent=parent, parent_folder=folder, known=known_rows(ws, recipe, parent))


def learned_by(version: Version, recipe: Recipe) -> str | None:
    """Digest of what of a version a recipe of this method can go on from; None where it has nothing of the kind. Pure."""
    return version.checkpoint if recipe.method == "full" else version.adapter


def parent_folder(ws: Workspace, parent: Version, base: Base, recipe: Recipe) -> Path:
    """Folder of what is continued. Raises ConfigError when the version was learned by the other method, or not at all, or in
    another shape; ArtifactError when it is of another base."""
    digest = learned_by(parent, recipe)
    if digest is None:
        raise _nothing_to_continue(parent)
    if recipe.method == "full":
        folder = ws.blobs.checkout_folder(digest, ws.path("work", f"checkpoint-{digest[7:31]}"), link=True)
        check_tuned_parent(folder, base)
    else:
        folder = ws.blobs.checkout_folder(digest, ws.path("work", f"adapter-{digest[7:31]}"))
        check_parent(folder, base, recipe, parent.base_digest)
    return folder


def _nothing_to_continue(parent: Version) -> ConfigError:
    if parent.checkpoint is not None:
        why, fix = "is a whole model, and an adapter on it would have another base", "write `method: full`, or leave out --from"
    elif parent.adapter is not None:
        why, fix = "is an adapter, and method: full goes on from a whole model", "write `method: lora`, or leave out --from"
    else:
        why, fix = "has no adapter to continue", "leave out --from"
    return ConfigError(f"{parent.name} {why}", fix=fix)


def known_rows(ws: Workspace, recipe: Recipe, parent: Version) -> str | None:
    """Path of the rows the parent has learned; needed only when a part of them is replayed."""
    if recipe.replay is None or parent.dataset is None:
        return None
    with ws.state.read() as tx:
        learned = load_dataset(tx, parent.dataset)
    return str(rows_file(ws, learned, "train"))


def rows_file(ws: Workspace, dataset: DatasetVersion, side: Split) -> Path:
    """A JSONL file of one side of a dataset. Raises NotFound when its rows are not in this workspace, ArtifactError, DiskFull."""
    if dataset.manifest is None:
        raise NotFound(f"{dataset.id} holds no rows")
    return ws.rows.file(dataset.manifest, side)


def job_input(ws: Workspace, task: Model, section: Config, dataset: DatasetVersion, order: Order) -> dict[str, Any]:
    """What the training child is given, see `job.run`."""
    held = rows_file(ws, dataset, "eval") if dataset.eval else None
    return {
        "base": str(order.base.folder),
        **order.base.digests,
        "train": str(rows_file(ws, dataset, "train")),
        "eval": str(held) if held else None,
        "dataset_digest": dataset.digest,
        "recipe": order.recipe.as_json(),
        "parent": str(order.parent_folder) if order.parent_folder else None,
        "parent_base": order.parent.base_digest if order.parent else None,
        "parent_digest": learned_by(order.parent, order.recipe) if order.parent else None,
        "known": order.known,
        **_sample(ws, task, section, order.recipe, held),
        "transcript": section.transcript,
        "answer_tokens": section.answer_tokens,
        "threads": order.recipe.threads,
    }


def suite_of(ws: Workspace, section: Config) -> Suite | None:
    """The suite whose cases are answered after each epoch; None without one. Raises ConfigError."""
    return load_suite((ws.project or ws.root) / section.suite) if section.suite else None


def _sample(ws: Workspace, task: Model, section: Config, recipe: Recipe, held: Path | None) -> dict[str, Any]:
    """The questions that are answered after each epoch, and the scorers that judge the answers."""
    if recipe.keep != "task" or recipe.epochs < 2 or section.sample <= 0:
        return {"sample": None, "scorers": {}}
    suite = suite_of(ws, section)
    asked, scorers = selection.sample(suite, read_rows(held) if held else (), section.sample, task.system)
    if not asked:
        return {"sample": None, "scorers": {}}
    lines = b"".join(canonical_json(line) + b"\n" for line in asked)
    return {"sample": str(ws.blobs.path(ws.blobs.put_bytes(lines))), "scorers": scorers}


def order_again(
    ws: Workspace, task: Model, section: Config, dataset: DatasetVersion, parent: Version | None, run: TrainingRun
) -> tuple[dict[str, Any], Base]:
    """The job input that does `run` again, as work of its own, and the base it would be done on now. Nothing is asked after its
    epochs: which of them was kept stands in the record, whatever the suite says by now."""
    recipe = {"method": "lora"} | run.recipe  # what was trained before there was a choice
    order = order_of(ws, task, section, dataset, parent, recipe)
    silent = replace(section, sample=0, transcript=0)
    return job_input(ws, task, silent, dataset, order) | {"reproduces": run.id, "epoch": run.epoch}, order.base


def base_folder(ws: Workspace, task: Model) -> Path:
    """Where the model's base checkpoint lies. Raises ConfigError when the model names none."""
    if not task.base:
        raise ConfigError(f"models/{task.name}.yaml: base is empty", fix="set `base` to the folder of a checkpoint")
    return ((ws.project or ws.root) / task.base).resolve()


def require_extra(names: tuple[str, ...] = NEEDED, extra: str = "train") -> None:
    """Raise MissingExtra naming the first package of `names` that is not installed, and the `extra` of ours that brings it."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(
                f"training needs the package {name}, which is not installed", fix=f"pip install 'tunekeeper[{extra}]'"
            )
