"""Adapters that somebody else trained: what of their folder is taken, and whether their tensors fit our base. No libraries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.training.adapter import SETTINGS, SIDECAR, WEIGHTS, read_sidecar, refuse_other
from tunekeeper.training.base import Base, read_json, weight_files
from tunekeeper.training.header import tensor_header

LICENSES = ("LICENSE", "README.md")
PREFIX = "base_model.model."


def admit(adapter: Path, target: Path, base: Base) -> Path:
    """A clean copy of the PEFT folder `adapter` as `target`, once each of its tensors is known to change a weight of `base`.

    Raises ArtifactError naming the file and the tensor: no safetensors, not LoRA, another base by its sidecar or its shapes.
    """
    fits(adapter, base)
    shutil.rmtree(target, ignore_errors=True)
    return clean_copy(adapter, target, base)


def fits(adapter: Path, base: Base) -> None:
    """Raise ArtifactError for an adapter whose tensors are not a LoRA of this base, pair by pair and shape by shape."""
    if not (adapter / WEIGHTS).is_file():
        raise ArtifactError(f"{adapter}: holds no {WEIGHTS}", fix="save the adapter as safetensors")
    settings = read_json(adapter / SETTINGS)
    if str(settings.get("peft_type", "LORA")).upper() != "LORA":
        raise ArtifactError(f"{adapter / SETTINGS}: peft_type is {settings['peft_type']!r}, only LORA can be merged and served")
    sidecar = read_sidecar(adapter)
    if sidecar is not None:
        refuse_other(adapter, sidecar, base)
    weights = {name: entry["shape"] for file in weight_files(base.folder) for name, entry in tensor_header(file).items()}
    found = tensor_header(adapter / WEIGHTS)
    if not found:
        raise ArtifactError(f"{adapter / WEIGHTS}: holds no tensor")
    for name, entry in found.items():
        _check(adapter, name, entry["shape"], weights, settings, set(found))


def clean_copy(adapter: Path, target: Path, base: Base) -> Path:
    """Settings, weights and licence of the adapter, nothing else of the folder, with a sidecar that says which base it needs."""
    target.mkdir()
    for name in (SETTINGS, WEIGHTS, *LICENSES):
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, target / name)
    if not (target / WEIGHTS).is_file():
        raise ArtifactError(f"{adapter}: holds no {WEIGHTS}", fix="save the adapter as safetensors")
    sidecar = read_sidecar(adapter) or {
        "schema": 1,
        "base_digest": base.digest,
        "tokenizer_digest": base.tokenizer_digest,
        "template_digest": base.template_digest,
    }
    (target / SIDECAR).write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n", "utf-8")
    return target


def _check(
    adapter: Path, name: str, shape: list[int], weights: dict[str, list[int]], settings: dict[str, Any], names: set[str]
) -> None:
    stem, _, half = name.removesuffix(".weight").rpartition(".lora_")
    if half not in ("A", "B"):
        _whole(adapter, name, shape, weights)
        return
    weight = weights.get(stem.removeprefix(PREFIX) + ".weight")
    other = name.replace(f".lora_{half}.", f".lora_{'B' if half == 'A' else 'A'}.")
    if weight is None:
        raise ArtifactError(f"{adapter}: tensor {name} changes nothing this base has: another base")
    if other not in names:
        raise ArtifactError(f"{adapter}: tensor {name} lacks its other half {other}")
    if len(shape) != 2 or len(weight) != 2 or shape[1 if half == "A" else 0] != weight[1 if half == "A" else 0]:
        raise ArtifactError(f"{adapter}: tensor {name} is {shape}, this base's weight is {weight}: another base")
    rank = shape[0 if half == "A" else 1]
    if not settings.get("rank_pattern") and settings.get("r") != rank:
        raise ArtifactError(f"{adapter}: tensor {name} has rank {rank}, {SETTINGS} says {settings.get('r')}")


def _whole(adapter: Path, name: str, shape: list[int], weights: dict[str, list[int]]) -> None:
    """A tensor beside the pairs: a magnitude of DoRA, or a module that was trained whole."""
    stem = name.removeprefix(PREFIX)
    if stem.endswith(".lora_magnitude_vector") or ".lora_embedding_" in stem:
        return
    weight = weights.get(stem.replace(".modules_to_save", "").replace(".base_layer", ""))
    if weight is None or weight != shape:
        raise ArtifactError(f"{adapter}: tensor {name} changes nothing this base has: another base")
