"""The rotary embedding of a checkpoint: what config.json says of it, and how GGUF says the same.

llama.cpp knows linear scaling and YaRN with the paper's constants by name. Everything else that changes each frequency once
and for all (Llama 3.1, YaRN with other constants) is written as one divisor a frequency, which its Llamas read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.differences import INSTEAD

if TYPE_CHECKING:
    from tunekeeper.deployment.checkpoint import Shape

RIGHT = "put back the config.json that came with the weights"
"""What to do with numbers that no model has."""
KINDS = ("default", "linear", "llama3", "yarn", "longrope")
"""Kinds of scaling that can be converted, by transformers' names."""
_YARN = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": 1.0}
"""YaRN's constants, which llama.cpp has built in for most models."""
_KEYS: dict[str, set[str]] = {
    "default": set(),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings", "attention_factor", "mscale", "mscale_all_dim", *_YARN},
    "longrope": {"factor", "original_max_position_embeddings", "attention_factor"},
}
_NEEDED = {"linear": _KEYS["linear"], "llama3": _KEYS["llama3"]}
"""What a kind cannot do without."""
_ORIGINAL = {"phi3": 4096}
"""What transformers takes for the original context of a family where config.json names none."""
_BASE = {"gemma3": 1_000_000.0}
"""The same of the rotary base; 10,000 for the others."""
_HARMLESS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


def _given(config: dict[str, Any], family: str) -> dict[str, Any]:
    """As transformers reads it: the older name counts where both are there, as where YaRN was added by hand."""
    given, older = (dict(config.get(name) or {}) for name in ("rope_parameters", "rope_scaling"))
    if family == "gemma3":  # whose sliding layers have one of their own
        return dict(given.get("full_attention", given)) | older
    return older or given


def short_factors(config: dict[str, Any], family: str) -> tuple[float, ...]:
    """longrope's divisors of the frequencies within the original context. Raises KeyError where there are none."""
    return tuple(float(factor) for factor in _given(config, family)["short_factor"])


def part_of(config: dict[str, Any], family: str) -> float:
    """Share of a head that is rotated, as transformers reads it."""
    usual = 0.5 if family == "phi2" else 1.0
    return float(_given(config, family).get("partial_rotary_factor") or config.get("partial_rotary_factor") or usual)


def read_rope(config: dict[str, Any], family: str, where: Path) -> tuple[str, dict[str, float], float]:
    """Its kind, its parameters and its base. Raises ArtifactError, naming `where`, for what has no place in GGUF."""
    given = _given(config, family)
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in KINDS:
        raise ArtifactError(f"{where}: RoPE of type {kind!r} is not supported; supported: {', '.join(KINDS)}", fix=INSTEAD)
    known = _KEYS[kind] | _HARMLESS | ({"short_factor", "long_factor"} if kind == "longrope" else set())
    extra = sorted(key for key in set(given) - known if given[key] is not None)
    if kind == "default":
        extra = [key for key in extra if key != "original_max_position_embeddings"]
    partial = part_of(config, family) != 1.0 and family not in ("phi2", "phi3")
    if extra or partial:
        raise ArtifactError(f"{where}: RoPE settings {extra or ['partial_rotary_factor']} have no place in GGUF", fix=INSTEAD)
    values = {key: float(given[key]) for key in _KEYS[kind] if given.get(key) is not None}
    if kind in ("llama3", "yarn", "longrope") and (own := config.get("original_max_position_embeddings", _ORIGINAL.get(family))):
        values["original_max_position_embeddings"] = float(own)
    if kind in ("yarn", "longrope"):
        values.setdefault("original_max_position_embeddings", float(config["max_position_embeddings"]))
    if kind == "llama3" and family not in ("llama", "mistral"):
        raise ArtifactError(f"{where}: RoPE of type llama3 cannot be told llama.cpp's {family}", fix=INSTEAD)
    if kind == "yarn":
        values.setdefault("factor", config["max_position_embeddings"] / values["original_max_position_embeddings"])
        odd = sorted(key for key in _YARN if _constant(values, key) != _YARN[key])
        if odd and family not in ("llama", "mistral"):
            raise ArtifactError(f"{where}: YaRN's {', '.join(odd)} cannot be told llama.cpp's {family}", fix=INSTEAD)
    theta = given.get("rope_theta", config.get("rope_theta"))
    values_and_base = values | {"rope_theta": _BASE.get(family, 10_000.0) if theta is None else float(theta)}
    _refuse_impossible(kind, values_and_base, where)
    return kind, values, values_and_base["rope_theta"]


def refuse_longrope(shape: Shape, where: Path) -> None:
    """Raises ArtifactError, naming `where`, for a longrope that llama.cpp would compute otherwise."""
    if shape.rope != "longrope":
        return
    original = int(shape.rope_values["original_max_position_embeddings"])
    if shape.family != "phi3" or len(shape.rope_factors) != shape.rotary // 2:
        raise ArtifactError(
            f"{where}: longrope of {shape.family} with {len(shape.rope_factors)} factors has no place in GGUF", fix=INSTEAD
        )
    if shape.context > original:
        raise ArtifactError(
            f"{where}: longrope changes its factors beyond {original} tokens of a text, llama.cpp for all texts at once",
            fix=f"in a copy of the checkpoint set max_position_embeddings to {original}, and attention_factor of its RoPE to "
            f"{loudness(shape):.9g} as it is now",
        )


def _refuse_impossible(kind: str, values: dict[str, float], where: Path) -> None:
    """Raise ArtifactError for numbers that no rotary embedding has, and for one that lacks a number."""
    missing = sorted(_NEEDED.get(kind, set()) - values.keys())
    if missing:
        raise ArtifactError(f"{where}: RoPE of type {kind} lacks {', '.join(missing)}", fix=RIGHT)
    for name, value in values.items():
        # transformers takes 0 for "not set" in YaRN's own.
        least = 0.0 if name in ("factor", "rope_theta", "original_max_position_embeddings") else -1e-9
        if not least < value < 1e30:
            raise ArtifactError(f"{where}: {name} {value:g} of its RoPE is impossible", fix=RIGHT)
    if kind == "llama3" and not 0 < values["low_freq_factor"] < values["high_freq_factor"]:
        raise ArtifactError(f"{where}: high_freq_factor of its RoPE must be above low_freq_factor, and both above 0", fix=RIGHT)


def _constant(values: dict[str, float], key: str) -> float:
    # transformers takes 0 for "not set", except for `truncate`.
    return values.get(key, _YARN[key]) if key == "truncate" else values.get(key) or _YARN[key]


def in_factors(shape: Shape) -> bool:
    """Whether the scaling is written as one divisor a frequency, because llama.cpp has no name for it."""
    own = shape.rope == "yarn" and any(_constant(shape.rope_values, key) != usual for key, usual in _YARN.items())
    return own or shape.rope == "llama3"


def factors(shape: Shape) -> NDArray[np.float32]:
    """Divisors of the rotary frequencies, one a pair of a head's values."""
    frequencies = 1.0 / shape.theta ** (np.arange(0, shape.head, 2, dtype=np.float64) / shape.head)
    divisors = _llama3(shape.rope_values, frequencies) if shape.rope == "llama3" else _yarn(shape)
    return divisors.astype(np.float32)


def _llama3(values: dict[str, float], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of Llama 3.1 (transformers `_compute_llama3_parameters`)."""
    low, high, factor, original = (
        values[k] for k in ("low_freq_factor", "high_freq_factor", "factor", "original_max_position_embeddings")
    )
    waves = 2 * np.pi / frequencies
    smooth = (original / waves - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.asarray(np.where(waves < original / high, 1.0, np.where(waves > original / low, factor, between)))


def _yarn(shape: Shape) -> NDArray[np.float64]:
    """Of YaRN (transformers `_compute_yarn_parameters`)."""
    values, width = shape.rope_values, shape.head
    original, factor = values["original_max_position_embeddings"], values["factor"]
    fast, slow = (
        width * math.log(original / (_constant(values, key) * 2 * math.pi)) / (2 * math.log(shape.theta))
        for key in ("beta_fast", "beta_slow")
    )
    if _constant(values, "truncate"):
        fast, slow = math.floor(fast), math.ceil(slow)
    first, last = max(fast, 0), min(slow, width - 1)
    ramp = np.clip((np.arange(width // 2) - first) / (last - first if last != first else 0.001), 0, 1)
    return np.asarray(1 / (ramp / factor + 1 - ramp))


def loudness(shape: Shape) -> float:
    """What YaRN or longrope multiplies the rotated values by (transformers' `attention_factor`), less what llama.cpp does by
    itself."""
    values = shape.rope_values
    if shape.rope == "longrope":
        return values.get("attention_factor", _longer(shape))
    factor, both = values["factor"], (values.get("mscale"), values.get("mscale_all_dim"))
    told = values.get("attention_factor")
    if told is None:
        told = _scale(factor, both[0]) / _scale(factor, both[1]) if both[0] and both[1] else _scale(factor, 1.0)
    return told if in_factors(shape) else told / _scale(factor, 1.0)


def _longer(shape: Shape) -> float:
    """longrope's own, by how many times its context is the original one."""
    original = shape.rope_values["original_max_position_embeddings"]
    factor = shape.rope_values.get("factor", shape.context / original)
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))


def _scale(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0
