"""A PEFT LoRA adapter folder: whether it fits a base, and what it adds to each weight.

Scales follow PEFT: alpha / r, or alpha / sqrt(r) for rsLoRA, with rank_pattern and alpha_pattern per module. DoRA,
modules_to_save and trained biases change more than a low-rank product, so they can only be merged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import re2
from numpy.typing import NDArray

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file, digest_json
from tunekeeper.deployment.checkpoint import Checkpoint, read_json, weights_digest
from tunekeeper.deployment.safetensors import Weights
from tunekeeper.deployment.source import Source
from tunekeeper.text.tokenizers import read_tokenizer

Array = NDArray[Any]
_PREFIX = "base_model.model."
_LORA = re.compile(r"(.+)\.lora_(?:(A|B)\.weight|(embedding_A|embedding_B)|(magnitude_vector))")
_EXACT_INIT = (True, False, "gaussian", "eva", "orthogonal")
_UNKNOWN = (
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "megatron_config",
    "loftq_config",
    "arrow_config",
    "lora_bias",
    "alora_invocation_tokens",
)
_LIKE_A_KIND = re.compile(r"use_\w+|\w+_config")
"""How PEFT names what makes an adapter of another kind; new versions bring new ones."""
_HARMLESS_KINDS = ("use_rslora", "use_dora", "eva_config", "corda_config", "lora_ga_config", "runtime_config")
"""Such names that say nothing, that are read here, or that speak of the start alone, which `init_lora_weights` names as well."""
SIDECAR = "tunekeeper.json"
ANOTHER, AGAIN = "use the base it was trained on", "save the adapter again with PEFT"
MERGED = "merge it with PEFT and export the merged checkpoint"
"""What to do with an adapter of another base, with a broken one, and with a kind that has no place here."""
UNMERGED = "train it without them: what works from some token of a text on can neither be merged nor put on here"
"""And with the one kind that is none of its base's weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What the adapter does to one weight."""

    weight: str
    """Name of the base's tensor."""
    a: Array
    """Down projection, r × in."""
    b: Array
    """Up projection, out × r."""
    scale: float
    """Factor of the product."""
    magnitude: Array | None = None
    """DoRA's row norms; None for plain LoRA."""
    embedding: bool = False
    """Whether the weight is an embedding, whose product is stored transposed."""

    def merged(self, base: Array) -> Array:
        """The base's weight with this part added, in float32. DoRA: magnitude times the row-normalised sum (PEFT `dora.py`)."""
        weight = np.asarray(base, np.float32)
        product = self.b.astype(np.float32) @ self.a.astype(np.float32)
        total = weight + np.float32(self.scale) * (product.T if self.embedding else product)
        if self.magnitude is None:
            return total
        norms = np.linalg.norm(total, axis=1, keepdims=True)
        merged: Array = np.asarray(self.magnitude, np.float32).reshape(-1, 1) / norms * total
        return merged


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """An adapter that fits its base."""

    folder: Path
    """Where it lies."""
    parts: dict[str, Part]
    """Base tensor name → low-rank part."""
    replaced: dict[str, Array]
    """Base tensor name → whole new weight (modules_to_save) or bias."""
    alpha: float
    """lora_alpha of the configuration."""
    rank: int
    """r of the configuration, from which patterns may depart."""
    scale: float
    """Factor that alpha and r give, before patterns."""
    base_digest: str | None
    """Digest of the weights it was trained on, from its sidecar or the base it names; None when nothing says so."""

    def apply(self, name: str, base: Array) -> Array:
        """The merged weight `name`; `base` itself where the adapter leaves it alone."""
        if name in self.replaced:
            base = self.replaced[name]
        part = self.parts.get(name)
        return base if part is None else part.merged(base)

    def touches(self, name: str) -> bool:
        """Whether the adapter changes this weight."""
        return name in self.parts or name in self.replaced

    @property
    def merge_only(self) -> str | None:
        """Why it cannot be written as an adapter file of its own; None when it can."""
        if self.replaced:
            first = min(self.replaced, key=lambda name: (name.endswith(".bias"), name))
            return f"a trained bias ({first})" if first.endswith(".bias") else f"modules_to_save ({first})"
        if any(part.magnitude is not None for part in self.parts.values()):
            return "DoRA"
        embedding = next((name for name in self.parts if name in ("model.embed_tokens.weight", "lm_head.weight")), None)
        return f"a part on {embedding}" if embedding else None


def open_adapter(folder: Path, checkpoint: Checkpoint | Source, *, base_digest: str | None = None) -> Adapter:
    """Read an adapter and check that it fits the base `checkpoint`.

    `base_digest`: digest of the base at hand; an adapter whose sidecar names another one is refused, and so is one that was
    trained with another tokenizer or chat template; None compares nothing but shapes. Raises ArtifactError.
    """
    config = read_json(folder / "adapter_config.json")
    _refuse_kinds(config, folder)
    _refuse_odd_numbers(config, folder)
    sidecar = read_json(folder / SIDECAR) if (folder / SIDECAR).exists() else {}
    trained_on = str(sidecar.get("base_digest") or "") or _named_digest(config, base_digest)
    if base_digest and trained_on and trained_on != base_digest:
        raise ArtifactError(
            f"{folder}: the adapter was trained on base {trained_on[:19]}…, this base is {base_digest[:19]}…",
            fix="use the base it was trained on, or train again",
        )
    if base_digest:
        _refuse_other_texts(folder, sidecar, checkpoint.folder)
    weights, expected = _adapter_weights(folder), checkpoint.tensors
    pieces, whole, copies = _sorted_tensors(folder, weights)
    for name, key in copies.items():
        source = "model.embed_tokens.weight" if checkpoint.tied and name == "lm_head.weight" else name
        if source not in checkpoint.weights or not np.array_equal(weights[key], checkpoint.weights[source]):
            raise ArtifactError(f"{folder}: it was trained on a base with another {name}", fix=ANOTHER)
    parts = {name: _part(folder, config, name, found, weights, expected) for name, found in pieces.items()}
    replaced = {name: _whole(folder, name, key, weights, expected) for name, key in whole.items()}
    if not parts and not replaced:
        raise ArtifactError(f"{folder}: the adapter has no tensors", fix=AGAIN)
    if bool(config.get("use_dora")) != any(p.magnitude is not None for p in parts.values()):
        raise ArtifactError(f"{folder}: use_dora and the magnitude vectors contradict each other", fix=AGAIN)
    if checkpoint.tied and any(name in replaced for name in ("model.embed_tokens.weight", "lm_head.weight")):
        raise ArtifactError(
            f"{folder}: modules_to_save replaces one half of tied embeddings",
            fix=MERGED,
        )
    alpha, rank = float(config.get("lora_alpha") or 0), int(config.get("r") or 0)
    scale = _scale(config, alpha, rank) if rank > 0 else 0.0
    return Adapter(
        folder=folder, parts=parts, replaced=replaced, alpha=alpha, rank=rank, scale=scale, base_digest=trained_on
    )  # fmt: skip


def folder_digest(folder: Path) -> str:
    """Digest of a folder's content, as the store gives it to the same files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_json({"files": {path.relative_to(folder).as_posix(): digest_file(path) for path in files}})


def _refuse_other_texts(folder: Path, sidecar: Mapping[str, Any], base: Path) -> None:
    """Raise ArtifactError where the sidecar names another tokenizer or chat template than the base's: the weights would be right,
    and every prompt another than in training."""
    if not (sidecar.get("tokenizer_digest") or sidecar.get("template_digest")):
        return
    here = read_tokenizer(base)
    for what, found in (("tokenizer", here.digest), ("template", here.template_digest)):
        told = sidecar.get(f"{what}_digest")
        if told and told != found:
            raise ArtifactError(
                f"{folder}: the adapter was trained with {what} {str(told)[:19]}…, that of {base} is {str(found)[:19]}…",
                fix=f"put the {what} back that it was trained with, or train again",
            )


def _named_digest(config: Mapping[str, Any], wanted: str | None) -> str | None:
    """Digest of the base that adapter_config.json names, where that is a folder of this machine; else nothing is proven."""
    name = config.get("base_model_name_or_path")
    if wanted is None or not isinstance(name, str) or "\0" in name or not Path(name).is_dir():
        return None
    return weights_digest(Path(name)) if any(Path(name).glob("*.safetensors")) else None


def _adapter_weights(folder: Path) -> Weights:
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        pickled = next(
            (p.name for p in sorted(folder.glob("adapter_model.*")) if p.suffix in (".bin", ".pt", ".pth", ".pkl")), None
        )
        why = f"only {pickled}, a pickle that can run code when it is read" if pickled else "no adapter_model.safetensors"
        raise ArtifactError(f"{folder}: {why}", fix="save the adapter as safetensors")
    return Weights([path])


def _refuse_kinds(config: Mapping[str, Any], folder: Path) -> None:
    where = folder / "adapter_config.json"
    if config.get("peft_type") != "LORA":
        raise ArtifactError(f"{where}: peft_type {config.get('peft_type')!r}; only LORA can be exported", fix=MERGED)
    if config.get("auto_mapping") and not _of_transformers(config["auto_mapping"]):
        raise ArtifactError(f"{where}: auto_mapping, the adapter belongs to custom code", fix=MERGED)
    if config.get("fan_in_fan_out"):
        raise ArtifactError(f"{where}: fan_in_fan_out is for layers these families do not have", fix=MERGED)
    if config.get("init_lora_weights", True) not in _EXACT_INIT:
        raise ArtifactError(
            f"{where}: init_lora_weights {config['init_lora_weights']!r} changes the base itself",
            fix="convert it with PEFT's path_initial_model_for_weight_conversion",
        )
    kinds = [key for key in config if _LIKE_A_KIND.fullmatch(key) and key not in _HARMLESS_KINDS]
    unknown = next((key for key in (*_UNKNOWN, *kinds) if config.get(key)), None)
    if unknown:
        fix = UNMERGED if unknown == "alora_invocation_tokens" else MERGED
        raise ArtifactError(f"{where}: {unknown} cannot be exported", fix=fix)


def _of_transformers(mapping: object) -> bool:
    """Whether it is what PEFT writes for want of a `task_type`: the class of transformers that the base is."""
    library = mapping.get("parent_library") if isinstance(mapping, dict) else None
    return isinstance(library, str) and library.split(".")[0] == "transformers"


def _refuse_odd_numbers(config: Mapping[str, Any], folder: Path) -> None:
    """Raise ArtifactError naming a rank or an alpha that is no number."""
    where = folder / "adapter_config.json"
    told = [(key, config[key]) for key in ("r", "lora_alpha") if config.get(key) is not None]
    for key in ("rank_pattern", "alpha_pattern"):
        found = config.get(key) or {}
        if not isinstance(found, dict):
            raise ArtifactError(f"{where}: {key} holds {str(found)[:40]!r}, which names no modules", fix=AGAIN)
        told += [(key, value) for value in found.values()]
    for key, value in told:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ArtifactError(f"{where}: {key} holds {str(value)[:40]!r}, which is no number", fix=AGAIN)


def _sorted_tensors(folder: Path, weights: Weights) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, str]]:
    """Low-rank pairs, whole modules, and the copies of frozen embeddings that PEFT puts in; base name → tensor name."""
    pieces: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    copies: dict[str, str] = {}
    for key in weights:
        if not key.startswith(_PREFIX):
            raise ArtifactError(f"{folder}: tensor {key} is not of a PEFT adapter", fix=AGAIN)
        name = key.removeprefix(_PREFIX)
        match = _LORA.fullmatch(name)
        if match:
            pieces.setdefault(f"{match[1]}.weight", {})[match[2] or (match[3] or "magnitude").removeprefix("embedding_")] = key
            if match[3]:
                pieces[f"{match[1]}.weight"]["embedding"] = key
        elif "lora_" in name:
            raise ArtifactError(f"{folder}: tensor {key} is of a kind that cannot be exported", fix=MERGED)
        elif name.endswith(".base_layer.weight"):
            copies[name.replace(".base_layer", "")] = key
        else:
            # A whole module or a bias that was trained; PEFT writes it under its own name or with its wrapper's.
            whole[re.sub(r"\.modules_to_save(\.default)?|\.base_layer(?=\.bias$)", "", name)] = key
    return pieces, whole, copies


def _part(
    folder: Path,
    config: Mapping[str, Any],
    name: str,
    found: Mapping[str, str],
    weights: Weights,
    expected: Mapping[str, tuple[int, ...]],
) -> Part:
    if name not in expected:
        raise ArtifactError(f"{folder}: the adapter changes {name}, which this base does not have", fix=ANOTHER)
    if "A" not in found or "B" not in found:
        raise ArtifactError(f"{folder}: half of the pair for {name} is missing", fix=AGAIN)
    if len(expected[name]) != 2:
        raise ArtifactError(f"{folder}: the adapter adds a product to {name}, which is no matrix", fix=ANOTHER)
    rows, columns = expected[name]
    embedding = "embedding" in found
    a, b = weights[found["A"]], weights[found["B"]]
    rank = a.shape[0] if a.ndim == 2 else -1
    outer = (columns, rows) if embedding else (rows, columns)
    if a.shape != (rank, outer[1]) or b.shape != (outer[0], rank):
        raise ArtifactError(
            f"{folder}: {name} of this base is {expected[name]}, the adapter's pair is {a.shape} and {b.shape}: another base",
            fix=ANOTHER,
        )
    module = name.removesuffix(".weight")
    told, alpha = (
        _pattern(config, "rank_pattern", module, config.get("r")),
        float(_pattern(config, "alpha_pattern", module, config.get("lora_alpha"))),
    )
    if told != rank:
        raise ArtifactError(f"{folder}: {name} has rank {rank}, adapter_config.json says {told}", fix=AGAIN)
    magnitude = weights[found["magnitude"]] if "magnitude" in found else None
    if magnitude is not None and (magnitude.size != rows or embedding):
        raise ArtifactError(f"{folder}: the magnitude vector of {name} does not fit", fix=AGAIN)
    if not (np.isfinite(a).all() and np.isfinite(b).all() and (magnitude is None or np.isfinite(magnitude).all())):
        raise ArtifactError(f"{folder}: {name} holds values that are not numbers", fix="train again with a lower learning rate")
    return Part(weight=name, a=a, b=b, scale=_scale(config, alpha, rank), magnitude=magnitude, embedding=embedding)


def _scale(config: Mapping[str, Any], alpha: float, rank: int) -> float:
    return alpha / float(rank**0.5 if config.get("use_rslora") else rank)


def _pattern(config: Mapping[str, Any], key: str, module: str, default: Any) -> Any:
    # PEFT's rule (`get_pattern_key`): the first pattern that matches the end of the module's name.
    for pattern, value in (config.get(key) or {}).items():
        if _matcher(str(pattern))(module):
            return value
    if default is None:
        raise ArtifactError(f"adapter_config.json: {key} has no value for {module} and there is no default", fix=AGAIN)
    return default


def _matcher(pattern: str) -> Callable[[str], object]:
    if len(pattern) > 200:
        raise ArtifactError("adapter_config.json: a pattern of more than 200 characters", fix=AGAIN)
    if re.fullmatch(r"[\w.\\^$]+", pattern):
        return re.compile(rf"(.*\.)?({pattern})$").match
    # It comes from outside: an engine that takes linear time, whatever the pattern repeats.
    options = re2.Options()
    options.log_errors, options.max_mem = False, 1 << 20
    try:
        found: Callable[[str], object] = re2.compile(rf"(.*\.)?({pattern})$", options).match
    except re2.error as error:
        raise ArtifactError(f"adapter_config.json: pattern {pattern!r} cannot be followed", fix=AGAIN) from error
    return found


def _whole(folder: Path, name: str, key: str, weights: Weights, expected: Mapping[str, tuple[int, ...]]) -> Array:
    if name not in expected:
        raise ArtifactError(f"{folder}: the adapter replaces {name}, which this base does not have", fix=ANOTHER)
    if weights.shape(key) != expected[name]:
        raise ArtifactError(
            f"{folder}: {name} of this base is {expected[name]}, the adapter's is {weights.shape(key)}: another base", fix=ANOTHER
        )
    return weights[key]
