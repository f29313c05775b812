"""Adapter folders: PEFT's two files and our sidecar `tunekeeper.json`, and whether one may be continued. No libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, ConfigError
from tunekeeper.core.ids import digest_file
from tunekeeper.training.base import Base, read_json
from tunekeeper.training.header import tensor_header
from tunekeeper.training.memory import is_target, shapes
from tunekeeper.training.recipe import Recipe

SIDECAR = "tunekeeper.json"
WEIGHTS = "adapter_model.safetensors"
SETTINGS = "adapter_config.json"


def write_sidecar(folder: Path, base: Base, recipe: Recipe, *, dataset: str, parent: str | None) -> None:
    """Say beside an adapter, or a tuned checkpoint, what it was trained on: PEFT's own `revision` is usually null and proves
    nothing."""
    value: dict[str, Any] = {
        "schema": 1,
        "base_digest": base.digest,
        "tokenizer_digest": base.tokenizer_digest,
        "template_digest": base.template_digest,
        "dataset_digest": dataset,
        f"parent_{'checkpoint' if recipe.method == 'full' else 'adapter'}_digest": parent,
        "recipe": recipe.as_json(),
        "recipe_digest": recipe.digest,
    }
    if recipe.method == "full":
        files = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name != SIDECAR)
        value["files"] = {path.name: digest_file(path) for path in files}
    (folder / SIDECAR).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


def settle(folder: Path) -> None:
    """Put the layers that PEFT's settings of an adapter name in order: it writes them as a set has them, in another order in
    each process, and equal adapters would have other digests."""
    file = folder / SETTINGS
    settings = read_json(file)
    for name, value in settings.items():
        if name in ("target_modules", "modules_to_save", "exclude_modules") and isinstance(value, list):
            settings[name] = sorted(value)
    file.write_text(json.dumps(settings, indent=2, sort_keys=True), "utf-8")


def read_sidecar(folder: Path) -> dict[str, Any] | None:
    """The sidecar of an adapter folder, None without one."""
    return read_json(folder / SIDECAR) if (folder / SIDECAR).is_file() else None


def refuse_other(folder: Path, sidecar: dict[str, Any], base: Base) -> None:
    """Raise ArtifactError where an adapter's sidecar names another base, tokenizer or chat template than those of `base`."""
    if sidecar.get("base_digest") != base.digest:
        raise ArtifactError(
            f"{folder}: its {SIDECAR} names base {sidecar.get('base_digest')}, not {base.folder} ({base.digest})",
            fix="use the base it was trained on",
        )
    for what, here in (("tokenizer", base.tokenizer_digest), ("template", base.template_digest)):
        told = sidecar.get(f"{what}_digest")
        if told and told != here:
            raise ArtifactError(
                f"{folder}: its {SIDECAR} names {what} {told}, that of {base.folder} is {here}",
                fix=f"put the {what} back that it was trained with",
            )


def check_parent(folder: Path, base: Base, recipe: Recipe, claimed: str | None = None) -> None:
    """Refuse to continue an adapter that belongs to another base, tokenizer or chat template, or has another shape.

    `claimed`: base digest that a ledger holds for this adapter, for one without a sidecar. Raises ArtifactError naming both
    digests, or ConfigError naming the recipe value that differs from the adapter's.
    """
    tensors = tensor_header(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else _missing(folder)
    settings = read_json(folder / SETTINGS)
    sidecar = read_sidecar(folder)
    own = sidecar["base_digest"] if sidecar and isinstance(sidecar.get("base_digest"), str) else claimed
    if own is None:
        raise ArtifactError(
            f"{folder}: no {SIDECAR} says which base this adapter was trained on",
            fix="tunekeeper model import --adapter FOLDER --base FOLDER --model M",
        )
    if own != base.digest:
        raise ArtifactError(
            f"{folder}: this adapter belongs to base {own}, not to {base.folder} ({base.digest})",
            fix="leave out --from, or set `base` to what it was trained on",
        )
    refuse_other(folder, {**(sidecar or {}), "base_digest": own}, base)
    shape = {"rank": settings.get("r"), "alpha": settings.get("lora_alpha")}
    shape |= {name: settings.get(f"use_{name}") or False for name in ("dora", "rslora")}
    for name, there in shape.items():
        if (wanted := getattr(recipe, name)) != there:
            raise ConfigError(
                f"recipe: {name} is {json.dumps(wanted)}, the adapter to continue has {json.dumps(there)}",
                fix=f"write `{name}: {json.dumps(there)}` or start from the base",
            )
    _refuse_other_layers(sidecar or {}, tensors, base, recipe)


def _refuse_other_layers(sidecar: dict[str, Any], tensors: dict[str, Any], base: Base, recipe: Recipe) -> None:
    """Refuse a recipe whose `targets` are other layers than an adapter has: it would go on with its own, and the record would
    say what was not learned."""
    told = sidecar.get("recipe")
    if isinstance(told, dict) and isinstance(told.get("targets"), list) and set(told["targets"]) == set(recipe.targets):
        return
    there = {name.partition(".lora_")[0].rpartition(".")[2] for name in tensors if ".lora_" in name}
    modules = (name for name, shape in shapes(base.folder) if len(shape) == 2 and is_target(name, recipe.targets))
    wanted = {name.removesuffix(".weight").rpartition(".")[2] for name in modules}
    if wanted != there:
        named = json.dumps(sorted(there))
        raise ConfigError(
            f"recipe: targets is {json.dumps(list(recipe.targets))}, the adapter to continue has {named}",
            fix=f"write `targets: {named}` or start from the base",
        )


def _missing(folder: Path) -> dict[str, Any]:
    raise ArtifactError(f"{folder}: holds no {WEIGHTS}")
