"""Our own GGUF writer: a checkpoint, with or without an adapter merged in, or an adapter alone. numpy only, a tensor at a time.

The yardstick is transformers: the written file, run by llama.cpp, gives the same token ids and the same log-probabilities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment import rope
from tunekeeper.deployment.adapter import Adapter, Part
from tunekeeper.deployment.checkpoint import Checkpoint, Shape, expected_tensors
from tunekeeper.deployment.differences import PATTERNS
from tunekeeper.deployment.publish import whole_or_absent
from tunekeeper.deployment.tokens import Tokens, tokens_of
from tunekeeper.text.tokenizers import read_tokenizer

Array = NDArray[Any]
FLOATS = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16, "bf16": gguf.LlamaFileType.MOSTLY_BF16}
_TOP = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "model.final_layernorm": "output_norm",
}  # fmt: skip
_BLOCK = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
    "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
}  # fmt: skip
_FOUR_NORMS = {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
"""Of the families that normalise before and after attention and feed-forward layers."""
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A file that was written."""

    tensors: int
    """How many tensors it holds."""
    notes: tuple[str, ...] = ()
    """What its server must be told or cannot do."""


def gguf_name(name: str, shape: Shape) -> str:
    """llama.cpp's name of a tensor of a checkpoint of this shape. Raises KeyError for one outside the supported families."""
    match = _LAYER.fullmatch(name)
    if match:
        names = _BLOCK | _FOUR_NORMS if shape.family in PATTERNS else _BLOCK
        return f"blk.{match[1]}.{names[match[2]]}.{match[3]}"
    stem, _, kind = name.rpartition(".")
    return f"{_TOP[stem]}.{kind}"


def permute(weight: Array, heads: int) -> Array:
    """Rows of a query or key projection in llama.cpp's rotary order (pairs side by side) from Hugging Face's (two halves)."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _ordered(shape: Shape, name: str, weight: Array) -> Array:
    if shape.architecture != "llama" or not re.search(r"[qk]_proj\.(weight|bias)$", name):
        return weight
    return permute(weight, shape.heads if ".q_proj" in name else shape.kv_heads)


def merged_tensors(checkpoint: Checkpoint, adapter: Adapter | None) -> Iterator[tuple[str, tuple[int, ...], Callable[[], Array]]]:
    """Every tensor of the GGUF file: its name, its dimensions and a function that makes it in float32."""
    shape, weights = checkpoint.shape, checkpoint.weights

    def make(name: str, source: str | None = None) -> Callable[[], Array]:
        def made() -> Array:
            value = weights[source or name]
            merged = value if adapter is None else adapter.apply(name, value)
            if shape.gemma and name.endswith("norm.weight"):
                merged = np.asarray(merged, np.float32) + 1
            return np.ascontiguousarray(_ordered(shape, name, np.asarray(merged, np.float32)))

        return made

    for name, size in expected_tensors(shape).items():
        yield gguf_name(name, shape), size, make(name)
    embedding = "model.embed_tokens.weight"
    if shape.tied and adapter is not None and (adapter.touches(embedding) or adapter.touches("lm_head.weight")):
        if shape.family in ("gemma", "gemma2"):
            raise ArtifactError(
                f"{adapter.folder}: it changes one side of tied embeddings; llama.cpp's {shape.family} has one tensor for both",
                fix="train without embed_tokens and lm_head, or serve a merged checkpoint (export merge)",
            )
        # The adapter changes one side of tied embeddings only, as PEFT computes it: the file carries both.
        yield "output.weight", (shape.vocab, shape.hidden), make("lm_head.weight", embedding)
    if rope.in_factors(shape):
        yield "rope_freqs.weight", (shape.head // 2,), lambda: rope.factors(shape)
    for length in ("long", "short") if shape.rope_factors else ():
        # Its context is the original one, so that the factors for longer texts are never due.
        yield f"rope_factors_{length}.weight", (shape.rotary // 2,), lambda: np.asarray(shape.rope_factors, np.float32)


def write_model(
    checkpoint: Checkpoint,
    adapter: Adapter | None,
    path: Path,
    kind: str,
    *,
    name: str,
    metadata: dict[str, str] | None = None,
    rows: Iterable[tuple[str, ...]] = (),
) -> Written:
    """Write the checkpoint, with `adapter` merged in, as one GGUF file of `kind` f32, f16 or bf16; whole or not at all.

    `name`: general.name of the file. `metadata`: further keys `tunekeeper.<key>`. `rows`: see `tokens_of`. Raises
    ArtifactError or DiskFull.
    """
    files = read_tokenizer(checkpoint.folder)
    tokens = tokens_of(files, checkpoint.shape.vocab, checkpoint.eos, rows)
    with whole_or_absent(path) as part:
        writer = gguf.GGUFWriter(part, checkpoint.shape.architecture)
        try:
            _describe(writer, checkpoint.shape, kind, _called(name, tokens.stripped), metadata or {})
            _add_tokens(writer, tokens)
            count = write_tensors(writer, [(n, s, _encoder(n, s, kind), m) for n, s, m in merged_tensors(checkpoint, adapter)])
        finally:
            writer.close()
    return Written(tensors=count, notes=tokens.notes)


def _called(name: str, stripped: bool) -> str:
    """general.name: where it says phi-3, llama.cpp expects its special tokens and drops white space after them."""
    plain = re.sub(r"(?i)phi-?3", "phi_3", name)
    return f"{plain} phi-3" if stripped else plain


Encoder = tuple[gguf.GGMLQuantizationType, int, Callable[[Array], Array]]
Planned = tuple[str, tuple[int, ...], Encoder, Callable[[], Array]]


def write_tensors(writer: gguf.GGUFWriter, plan: Sequence[Planned]) -> int:
    """Write header, metadata and tensors one at a time: `(name, dimensions, (type, bytes, encode), make)` each."""
    for name, shape, (kind, size, _), _make in plan:
        writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, _, (_, size, encode), make in plan:
        value = make()
        if not np.isfinite(value).all():
            raise ArtifactError(f"tensor {name} holds values that are not numbers", fix="train again with a lower learning rate")
        data = encode(value)
        if data.nbytes != size:
            raise ArtifactError(f"tensor {name} takes {data.nbytes} bytes where {size} were planned")
        writer.write_tensor_data(data)
    return len(plan)


def _encoder(name: str, shape: tuple[int, ...], kind: str) -> Encoder:
    count = int(np.prod(shape))
    if len(shape) == 1 or kind == "f32":
        return gguf.GGMLQuantizationType.F32, 4 * count, lambda value: value
    if kind == "f16":
        return gguf.GGMLQuantizationType.F16, 2 * count, lambda value: to_half(name, value)
    bf16 = gguf.GGMLQuantizationType.BF16
    return bf16, 2 * count, lambda value: gguf.quants.quantize(value, bf16)


def to_half(name: str, value: Array) -> Array:
    """The values in float16. Raises ArtifactError when one is too large for it, which would silently become infinite."""
    if value.size and max(float(value.max()), -float(value.min())) > 65504:
        raise ArtifactError(f"tensor {name} has values above 65504, which f16 cannot hold", fix="export with --quant bf16 or f32")
    return value.astype(np.float16)


def _describe(writer: gguf.GGUFWriter, shape: Shape, kind: str, name: str, metadata: dict[str, str]) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(FLOATS[kind])
    describe_shape(writer, shape)
    for key, value in metadata.items():
        writer.add_string(f"tunekeeper.{key}", value)


def describe_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """Add the fields that say how a model of this shape computes."""
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    (writer.add_layer_norm_eps if shape.phi else writer.add_layer_norm_rms_eps)(shape.epsilon)
    writer.add_rope_freq_base(shape.theta)
    writer.add_vocab_size(shape.vocab)
    writer.add_rope_dimension_count(shape.rotary)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    _describe_rope(writer, shape)
    if shape.window is not None:
        writer.add_sliding_window(shape.window)
    attention, final = shape.caps
    if attention is not None:
        writer.add_attn_logit_softcapping(attention)
    if final is not None:
        writer.add_final_logit_softcapping(final)


def _describe_rope(writer: gguf.GGUFWriter, shape: Shape) -> None:
    if shape.rope == "linear" or (shape.rope == "yarn" and not rope.in_factors(shape)):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR if shape.rope == "linear" else gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(shape.rope_values["factor"])
    if shape.rope not in ("yarn", "longrope"):
        return
    original = shape.context if shape.rope == "longrope" else int(shape.rope_values["original_max_position_embeddings"])
    writer.add_rope_scaling_orig_ctx_len(original)
    if (loudness := rope.loudness(shape)) != 1.0:
        writer.add_rope_scaling_attn_factors(loudness)


def _add_tokens(writer: gguf.GGUFWriter, tokens: Tokens) -> None:
    writer.add_tokenizer_model(tokens.model)
    writer.add_tokenizer_pre(tokens.pre)
    writer.add_token_list(tokens.texts)
    writer.add_token_types(tokens.types)
    if tokens.scores:
        writer.add_token_scores(tokens.scores)
        writer.add_add_space_prefix(tokens.space_prefix)
    else:
        writer.add_token_merges(tokens.merges)
    for key, id in tokens.special.items():
        writer.add_uint32(gguf.Keys.Tokenizer.PAD_ID if key == "pad" else f"tokenizer.ggml.{key}_token_id", id)
    writer.add_add_bos_token(tokens.add_bos)
    writer.add_add_eos_token(tokens.add_eos)
    if tokens.template is not None:
        writer.add_chat_template(tokens.template)
    if tokens.tool_template is not None:
        writer.add_string("tokenizer.chat_template.tool_use", tokens.tool_template)


def write_adapter(
    checkpoint: Checkpoint, adapter: Adapter, path: Path, kind: str, *, name: str, metadata: dict[str, str] | None = None
) -> Written:
    """Write the adapter alone as a GGUF file for llama.cpp, its scale folded in where ranks differ; whole or not at all.

    Raises ArtifactError for what only merging can express (DoRA, modules_to_save, embeddings).
    """
    if adapter.merge_only:
        raise ArtifactError(
            f"{adapter.folder}: {adapter.merge_only} cannot be an adapter file",
            fix="leave out --adapter-only, so that it is merged",
        )
    # llama.cpp multiplies with alpha / r of each pair; one alpha for all is right after B took up the difference.
    alpha = next(part.scale * part.a.shape[0] for part in adapter.parts.values()) or 1.0
    plan = []
    for weight, part in adapter.parts.items():
        for half, made in _halves(checkpoint.shape, weight, part, alpha):
            label = f"{gguf_name(weight, checkpoint.shape)}.lora_{half}"
            plan.append((label, made.shape, _encoder(label, made.shape, kind), partial(np.ascontiguousarray, made)))
    with whole_or_absent(path) as target:
        writer = gguf.GGUFWriter(target, checkpoint.shape.architecture)
        try:
            writer.add_type(gguf.GGUFType.ADAPTER)
            writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
            writer.add_name(name)
            writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
            for key, value in (metadata or {}).items():
                writer.add_string(f"tunekeeper.{key}", value)
            count = write_tensors(writer, plan)
        finally:
            writer.close()
    return Written(tensors=count)


def _halves(shape: Shape, weight: str, part: Part, alpha: float) -> Iterator[tuple[str, Array]]:
    a, b = np.asarray(part.a, np.float32), np.asarray(part.b, np.float32)
    factor = np.float32(part.scale * a.shape[0] / alpha)
    yield "a", np.ascontiguousarray(a)
    yield "b", np.ascontiguousarray(_ordered(shape, weight, b if factor == 1 else b * factor))
