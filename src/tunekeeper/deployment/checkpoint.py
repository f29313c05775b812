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
from tunekeeper.deployment.differences import INSTEAD, PATTERNS, refuse_differences
from tunekeeper.deployment.rope import RIGHT, part_of, read_rope, refuse_longrope, short_factors
from tunekeeper.deployment.safetensors import Weights, open_folder, weight_files

MAX_CONFIG = 4 << 20
FAMILIES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "PhiForCausalLM": "phi2",
    "Phi3ForCausalLM": "phi3",
}
_HEADS = {"gemma": 256, "gemma2": 256, "gemma3": 256, "qwen3": 128}
"""Width of a head where config.json says nothing of it, as transformers has it; of the others what the heads share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The dimensions of a checkpoint."""

    family: str
    """A value of `FAMILIES`."""
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
    """Of the norms."""
    theta: float
    """Base of the rotary embedding."""
    rope: str
    """One of `rope.KINDS`."""
    rope_values: dict[str, float]
    """Its parameters."""
    tied: bool
    """Whether the output layer is the embedding."""
    attention_bias: bool
    """Whether the attention projections have biases."""
    mlp_bias: bool
    """Whether the feed-forward projections have biases."""
    window: int | None = None
    """Tokens that every other layer (Gemma 2), or five of six (Gemma 3), looks back at most; None: all layers see everything."""
    caps: tuple[float | None, float | None] = (None, None)
    """What attention scores and final logits are softly capped at; None: not."""
    rope_factors: tuple[float, ...] = ()
    """Divisors of the rotary frequencies within the original context (longrope); empty for other kinds."""
    part: float = 1.0
    """Share of a head that is rotated (Phi-4-mini: three quarters)."""

    @property
    def rotary(self) -> int:
        """Width of a head that is rotated."""
        return int(self.head * self.part)

    @property
    def gemma(self) -> bool:
        """Whether norms store their weight less one, as all Gemmas do."""
        return self.family.startswith("gemma")

    @property
    def phi(self) -> bool:
        """Whether it is Phi 1 to 2: layer norms with biases, attention and feed-forward layers side by side."""
        return self.family == "phi2"

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

    @property
    def tied(self) -> bool:
        """Whether the output layer is the embedding."""
        return self.shape.tied

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """What an adapter can change: name → dimensions. A tied output layer has a name of its own."""
        output = {"lm_head.weight": (self.shape.vocab, self.shape.hidden)}
        return expected_tensors(self.shape) | (output if self.tied else {})


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a checkpoint. Raises ArtifactError for what is unknown, missing, misshapen or would answer differently."""
    config = read_json(folder / "config.json")
    shape = shape_of(config, folder)
    weights = open_folder(folder)
    _check_tensors(folder, shape, weights)
    refuse_two_outputs(folder, weights, tied=shape.tied)
    return Checkpoint(folder=folder, shape=shape, weights=weights, eos=ends_of(config, folder))


def ends_of(config: dict[str, Any], folder: Path) -> tuple[int, ...]:
    """Ids that end an answer, from generation_config.json, else from config.json. Raises ArtifactError."""
    generation = folder / "generation_config.json"
    eos = (read_json(generation) if generation.exists() else {}).get("eos_token_id", config.get("eos_token_id"))
    ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    if not all(type(id) is int for id in ids):
        raise ArtifactError(f"{folder}: eos_token_id {eos!r} is no number and no list of numbers")
    return tuple(ids)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of at most 4 MiB. Raises ArtifactError naming the file."""
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise ArtifactError(f"{path}: larger than {MAX_CONFIG >> 20} MiB")
        value = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror})", fix=f"name the folder that holds {path.name}"
        ) from error
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
        rope, values, theta = read_rope(config, family, folder / "config.json")
        shape = Shape(
            family=family, vocab=int(config["vocab_size"]), hidden=hidden, inner=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]), heads=heads, kv_heads=int(config.get("num_key_value_heads") or heads),
            head=int(config.get("head_dim") or _HEADS.get(family, hidden // heads)), context=context,
            epsilon=float(config["layer_norm_eps" if family == "phi2" else "rms_norm_eps"]),
            theta=theta, rope=rope, rope_values=values, tied=_tied(config, family),
            attention_bias=family in ("qwen2", "phi2") or bool(config.get("attention_bias")),
            mlp_bias=family == "phi2" or bool(config.get("mlp_bias")),
            window=int(config["sliding_window"]) if family in PATTERNS else None, caps=_caps(config, family),
            rope_factors=short_factors(config, family) if rope == "longrope" else (), part=part_of(config, family),
        )  # fmt: skip
        _check_sizes(shape, folder)
        refuse_differences(config, shape, folder)
        refuse_longrope(shape, folder / "config.json")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ArtifactError(f"{folder / 'config.json'}: {type(error).__name__} at {error}", fix=RIGHT) from error
    return shape


def _tied(config: dict[str, Any], family: str) -> bool:
    told = config.get("tie_word_embeddings")
    if told not in (None, True, False):
        raise ValueError(f"tie_word_embeddings {told!r}, which is neither true nor false")
    return family.startswith("gemma") if told is None else bool(told)


def _check_sizes(shape: Shape, folder: Path) -> None:
    sizes = (
        shape.vocab, shape.hidden, shape.inner, shape.layers, shape.heads, shape.kv_heads, shape.head, shape.context,
    )  # fmt: skip
    odd = shape.head % 2 or shape.rotary % 2 or not 0 < shape.part <= 1
    if min(sizes) < 1 or max(sizes) > 1 << 31 or shape.heads % shape.kv_heads or odd:
        raise ArtifactError(f"{folder / 'config.json'}: impossible dimensions {sizes}", fix=RIGHT)
    if not 0 <= shape.epsilon < 1:
        raise ArtifactError(f"{folder / 'config.json'}: a norm's epsilon of {shape.epsilon:g} is impossible", fix=RIGHT)


def _family(config: dict[str, Any], folder: Path) -> str:
    told = config.get("architectures")
    name = told[0] if isinstance(told, list) and told and isinstance(told[0], str) else "(none)"
    if config.get("auto_map"):
        advice = "use a checkpoint without custom code"
        if name in FAMILIES:
            advice = "take auto_map out of a copy: this architecture needs no code"
        raise ArtifactError(f"{folder / 'config.json'}: auto_map, the checkpoint brings its own code", fix=advice)
    if config.get("quantization_config"):
        raise ArtifactError(
            f"{folder / 'config.json'}: quantization_config, the weights are already quantized",
            fix="use the full-precision checkpoint",
        )
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ArtifactError(f"{folder / 'config.json'}: architecture {name} is not supported; supported: {known}", fix=INSTEAD)
    return FAMILIES[name]


def _caps(config: dict[str, Any], family: str) -> tuple[float | None, float | None]:
    if family not in PATTERNS:
        return None, None
    usual = {"attn": 50.0, "final": 30.0} if family == "gemma2" else {"attn": None, "final": None}
    found = [config.get(f"{name}_logit_softcapping", usual[name]) for name in ("attn", "final")]
    return (None if found[0] is None else float(found[0])), (None if found[1] is None else float(found[1]))


def expected_tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor such a checkpoint has, with its dimensions."""
    query, key = shape.heads * shape.head, shape.kv_heads * shape.head
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab, shape.hidden),
        ("model.final_layernorm.weight" if shape.phi else "model.norm.weight"): (shape.hidden,),
    }
    if not shape.tied:
        found["lm_head.weight"] = (shape.vocab, shape.hidden)
    if shape.phi:
        found |= {"model.final_layernorm.bias": (shape.hidden,), "lm_head.bias": (shape.vocab,)}
    linear = {
        "self_attn.q_proj": (query, shape.hidden),
        "self_attn.k_proj": (key, shape.hidden),
        "self_attn.v_proj": (key, shape.hidden),
        "self_attn.o_proj": (shape.hidden, query),
        "mlp.gate_proj": (shape.inner, shape.hidden),
        "mlp.up_proj": (shape.inner, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.inner),
    }
    if shape.phi:
        linear = {name: size for name, size in linear.items() if name[-6:] in ("q_proj", "k_proj", "v_proj")}
        linear |= {"self_attn.dense": (shape.hidden, query)}
        linear |= {"mlp.fc1": (shape.inner, shape.hidden), "mlp.fc2": (shape.hidden, shape.inner)}
    if shape.family == "phi3":
        linear = {name: size for name, size in linear.items() if name in ("self_attn.o_proj", "mlp.down_proj")}
        linear |= {"self_attn.qkv_proj": (query + 2 * key, shape.hidden), "mlp.gate_up_proj": (2 * shape.inner, shape.hidden)}
    for layer in range(shape.layers):
        stem = f"model.layers.{layer}."
        other = "input_layernorm.bias" if shape.phi else "post_attention_layernorm.weight"
        found[stem + "input_layernorm.weight"] = found[stem + other] = (shape.hidden,)
        if shape.family in PATTERNS:
            found[stem + "pre_feedforward_layernorm.weight"] = (shape.hidden,)
            found[stem + "post_feedforward_layernorm.weight"] = (shape.hidden,)
        if shape.family in ("qwen3", "gemma3"):
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
        raise ArtifactError(f"{folder}: {len(missing)} tensors are missing, first {missing[0]}", fix=RIGHT)
    ignored = {"lm_head.weight"} if shape.tied else set()
    extra = [
        name for name in weights if name not in expected and name not in ignored and not name.endswith("rotary_emb.inv_freq")
    ]
    if extra:
        raise ArtifactError(f"{folder}: tensor {extra[0]} has no place in {shape.family} ({len(extra)} such)", fix=RIGHT)
    for name, size in expected.items():
        if weights.shape(name) != size:
            raise ArtifactError(f"{folder}: tensor {name} is {weights.shape(name)}, config.json asks for {size}", fix=RIGHT)


def refuse_two_outputs(folder: Path, weights: Weights, *, tied: bool) -> None:
    """Raise ArtifactError for weights with an output layer of their own where config.json says that it is the embedding:
    transformers 5 takes the layer, older ones and most servers the embedding."""
    output, embedding = "lm_head.weight", "model.embed_tokens.weight"
    if not tied or output not in weights or embedding not in weights or weights.alike(output, embedding):
        return
    raise ArtifactError(
        f"{folder}: config.json ties the output layer to the embedding, and the weights hold another {output}",
        fix=f"set tie_word_embeddings to false in a copy, or take {output} out of its weights, as it was trained",
    )


def weights_digest(folder: Path) -> str:
    """Digest of a base's weights: the file's own, for several files the digest of the JSON {file name: digest}.

    It is what `training` writes into an adapter's sidecar. Raises ArtifactError when there are none.
    """
    files = weight_files(folder)
    digests = {path.name: digest_file(path) for path in files}
    return digests[files[0].name] if len(files) == 1 else digest_json(digests)
