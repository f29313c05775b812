"""A Hugging Face checkpoint folder: its dimensions, and every tensor it must have, or a refusal that says why.

The yardstick is transformers. What llama.cpp would compute differently (sliding windows, dynamic RoPE, code that comes with
the checkpoint) is refused, never converted into a file that answers something else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file, digest_json
from tunekeeper.deployment.safetensors import Weights, open_folder

MAX_CONFIG = 4 << 20
FAMILIES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
ROPES = ("default", "linear", "llama3", "yarn")
ROPE_KEYS = {
    "default": set(),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings"},
}
_HARMLESS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The dimensions of a checkpoint."""

    family: str
    """llama, mistral, qwen2 or qwen3."""
    vocab: int
    """Rows of the embedding."""
    hidden: int
    """Width of the residual stream."""
    inner: int
    """Width of the feed-forward layers."""
    layers: int
    """Blocks."""
    heads: int
    """Query heads."""
    kv_heads: int
    """Key and value heads."""
    head: int
    """Width of one head."""
    context: int
    """Longest sequence it was made for, in tokens."""
    epsilon: float
    """Of the RMS norm."""
    theta: float
    """Base of the rotary embedding."""
    rope: str
    """default, linear, llama3 or yarn."""
    rope_values: dict[str, float]
    """Its parameters."""
    tied: bool
    """Whether the output layer is the embedding."""
    attention_bias: bool
    """Whether the attention projections have biases."""
    mlp_bias: bool
    """Whether the feed-forward projections have biases."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name: Mistral is a Llama there."""
        return "llama" if self.family == "mistral" else self.family


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A folder that can be converted."""

    folder: Path
    """Where it lies."""
    shape: Shape
    """Its dimensions."""
    weights: Weights
    """Its tensors, checked against the dimensions."""
    eos: tuple[int, ...]
    """Ids that end an answer, from generation_config.json or config.json."""


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a checkpoint. Raises ArtifactError for what is unknown, missing, misshapen or would answer differently."""
    config = read_json(folder / "config.json")
    shape = shape_of(config, folder)
    weights = open_folder(folder)
    _check_tensors(folder, shape, weights)
    generation = folder / "generation_config.json"
    eos = (read_json(generation) if generation.exists() else {}).get("eos_token_id", config.get("eos_token_id"))
    ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    return Checkpoint(folder=folder, shape=shape, weights=weights, eos=tuple(int(id) for id in ids))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of at most 4 MiB. Raises ArtifactError naming the file."""
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise ArtifactError(f"{path}: larger than {MAX_CONFIG >> 20} MiB")
        value = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: not an object")
    return value


def shape_of(config: dict[str, Any], folder: Path) -> Shape:
    """The dimensions that config.json gives. Raises ArtifactError naming the key that cannot be served as it is."""
    family = _family(config, folder)
    try:
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        context = int(config["max_position_embeddings"])
        rope, values, theta = _rope(config, folder)
        shape = Shape(
            family=family, vocab=int(config["vocab_size"]), hidden=hidden, inner=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]), heads=heads, kv_heads=int(config.get("num_key_value_heads") or heads),
            head=int(config.get("head_dim") or hidden // heads), context=context, epsilon=float(config["rms_norm_eps"]),
            theta=theta, rope=rope, rope_values=values, tied=bool(config.get("tie_word_embeddings", False)),
            attention_bias=family == "qwen2" or bool(config.get("attention_bias")), mlp_bias=bool(config.get("mlp_bias")),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ArtifactError(f"{folder / 'config.json'}: {type(error).__name__} at {error}") from error
    sizes = (shape.vocab, hidden, shape.inner, shape.layers, heads, shape.kv_heads, shape.head, context)
    if min(sizes) < 1 or max(sizes) > 1 << 31 or heads % shape.kv_heads or shape.head % 2:
        raise ArtifactError(f"{folder / 'config.json'}: impossible dimensions {sizes}")
    _refuse_differences(config, shape, folder)
    return shape


def _family(config: dict[str, Any], folder: Path) -> str:
    names = config.get("architectures") or ["(none)"]
    if config.get("auto_map"):
        raise ArtifactError(
            f"{folder / 'config.json'}: auto_map, the checkpoint brings its own code", fix="use a checkpoint without custom code"
        )
    if config.get("quantization_config"):
        raise ArtifactError(
            f"{folder / 'config.json'}: quantization_config, the weights are already quantized",
            fix="use the full-precision checkpoint",
        )
    if names[0] not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ArtifactError(f"{folder / 'config.json'}: architecture {names[0]} is not supported; supported: {known}")
    return FAMILIES[names[0]]


def _rope(config: dict[str, Any], folder: Path) -> tuple[str, dict[str, float], float]:
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in ROPES:
        raise ArtifactError(f"{folder / 'config.json'}: RoPE of type {kind!r} is not supported; supported: {', '.join(ROPES)}")
    extra = sorted(key for key in set(given) - ROPE_KEYS[kind] - _HARMLESS if given[key] is not None)
    if kind == "default":
        extra = [key for key in extra if key != "original_max_position_embeddings"]
    if extra or given.get("partial_rotary_factor", config.get("partial_rotary_factor")) not in (None, 1, 1.0):
        raise ArtifactError(f"{folder / 'config.json'}: RoPE settings {extra or ['partial_rotary_factor']} have no place in GGUF")
    values = {key: float(given[key]) for key in ROPE_KEYS[kind] if given.get(key) is not None}
    if kind == "yarn":
        values.setdefault("original_max_position_embeddings", float(config["max_position_embeddings"]))
    return kind, values, float(given.get("rope_theta") or config.get("rope_theta") or 10000.0)


def _refuse_differences(config: dict[str, Any], shape: Shape, folder: Path) -> None:
    where = folder / "config.json"
    if config.get("hidden_act", "silu") != "silu":
        raise ArtifactError(f"{where}: hidden_act {config['hidden_act']!r}; llama.cpp computes silu for {shape.family}")
    if shape.family == "qwen3" and config.get("attention_bias"):
        raise ArtifactError(f"{where}: attention_bias has no place in llama.cpp's qwen3")
    window = config.get("sliding_window")
    used = (
        shape.family == "mistral" or config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or ())
    )
    if used and window is not None and int(window) < shape.context:
        raise ArtifactError(
            f"{where}: sliding_window {window} is shorter than the context of {shape.context}; llama.cpp ignores it",
            fix=f"set max_position_embeddings to {window} in a copy of the checkpoint",
        )


def expected_tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor such a checkpoint has, with its dimensions."""
    query, key = shape.heads * shape.head, shape.kv_heads * shape.head
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab, shape.hidden),
        "model.norm.weight": (shape.hidden,),
    }
    if not shape.tied:
        found["lm_head.weight"] = (shape.vocab, shape.hidden)
    linear = {
        "self_attn.q_proj": (query, shape.hidden),
        "self_attn.k_proj": (key, shape.hidden),
        "self_attn.v_proj": (key, shape.hidden),
        "self_attn.o_proj": (shape.hidden, query),
        "mlp.gate_proj": (shape.inner, shape.hidden),
        "mlp.up_proj": (shape.inner, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.inner),
    }
    for layer in range(shape.layers):
        stem = f"model.layers.{layer}."
        found[stem + "input_layernorm.weight"] = found[stem + "post_attention_layernorm.weight"] = (shape.hidden,)
        if shape.family == "qwen3":
            found[stem + "self_attn.q_norm.weight"] = found[stem + "self_attn.k_norm.weight"] = (shape.head,)
        for name, size in linear.items():
            found[f"{stem}{name}.weight"] = size
            if _has_bias(shape, name):
                found[f"{stem}{name}.bias"] = size[:1]
    return found


def _has_bias(shape: Shape, name: str) -> bool:
    if name.startswith("mlp."):
        return shape.mlp_bias
    return shape.attention_bias and not (shape.family == "qwen2" and name.endswith("o_proj"))


def _check_tensors(folder: Path, shape: Shape, weights: Weights) -> None:
    expected = expected_tensors(shape)
    missing = [name for name in expected if name not in weights]
    if missing:
        raise ArtifactError(f"{folder}: {len(missing)} tensors are missing, first {missing[0]}")
    ignored = {"lm_head.weight"} if shape.tied else set()
    extra = [
        name for name in weights if name not in expected and name not in ignored and not name.endswith("rotary_emb.inv_freq")
    ]
    if extra:
        raise ArtifactError(f"{folder}: tensor {extra[0]} has no place in {shape.family} ({len(extra)} such)")
    for name, size in expected.items():
        if weights.shape(name) != size:
            raise ArtifactError(f"{folder}: tensor {name} is {weights.shape(name)}, config.json asks for {size}")


def weights_digest(folder: Path) -> str:
    """Digest of a base's weights: the file's own, for several files the digest of the JSON {file name: digest}.

    It is what `training` writes into an adapter's sidecar. Raises ArtifactError when there are none.
    """
    files = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("adapter_"))
    if not files:
        raise ArtifactError(f"{folder}: no *.safetensors; other weight formats may run code and are refused")
    digests = {path.name: digest_file(path) for path in files}
    return digests[files[0].name] if len(files) == 1 else digest_json(digests)
