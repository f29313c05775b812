"""What llama.cpp would compute differently from transformers, refused with what to do instead.

A checkpoint that passes is one whose GGUF file answers as the checkpoint does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import ArtifactError

if TYPE_CHECKING:
    from tunekeeper.deployment.checkpoint import Shape

INSTEAD = "serve the checkpoint itself, with an engine that computes as transformers does (export vllm)"
"""What to do with a checkpoint that has no place in GGUF."""
PATTERNS = {"gemma2": 2, "gemma3": 6}
"""Family → every how many layers one sees everything; llama.cpp has it fixed."""
_LARGEST = {"gemma2": 46, "gemma3": 62}
"""Layers of the 27B models, whose attention llama.cpp scales by the width of the model and not of a head."""
_TANH = ("gelu_pytorch_tanh", "gelu_new")
"""Names of the one approximation of GELU that llama.cpp computes."""


def refuse_differences(config: dict[str, Any], shape: Shape, folder: Path) -> None:
    """Raises ArtifactError naming the setting of `config` that llama.cpp has no place for, and what to do."""
    where = folder / "config.json"
    act = config.get("hidden_activation") if shape.gemma else config.get("hidden_act", "gelu_new" if shape.phi else "silu")
    # The first Gemmas say "gelu" and mean the approximation, as transformers reads it.
    wanted = (*_TANH, None) if shape.gemma else _TANH[::-1] if shape.phi else ("silu",)
    if act not in wanted:
        raise ArtifactError(f"{where}: hidden_act {act!r}; llama.cpp computes {wanted[0]} for {shape.family}", fix=INSTEAD)
    if shape.family in ("qwen2", "phi2", "phi3") and shape.head * shape.heads != shape.hidden:
        wide = f"{shape.heads} heads of {shape.head} are not as wide together as the model ({shape.hidden})"
        raise ArtifactError(f"{where}: {wide}; llama.cpp's {shape.family} has no place for that", fix=INSTEAD)
    if shape.phi:
        _refuse_phis(config, shape, where)
    if shape.gemma:
        _refuse_gemmas(config, shape, where)
    if shape.family in ("qwen3", "gemma", "gemma2", "gemma3", "phi3") and config.get("attention_bias"):
        raise ArtifactError(f"{where}: attention_bias has no place in llama.cpp's {shape.family}", fix=INSTEAD)
    window = config.get("sliding_window")
    used = (
        shape.family in ("mistral", "phi3")
        or config.get("use_sliding_window")
        or "sliding_attention" in (config.get("layer_types") or ())
    )
    if used and shape.family not in PATTERNS and window is not None and int(window) < shape.context:
        raise ArtifactError(
            f"{where}: sliding_window {window} is shorter than the context of {shape.context}; llama.cpp ignores it",
            fix=f"set max_position_embeddings to {window} in a copy of the checkpoint",
        )


def _refuse_phis(config: dict[str, Any], shape: Shape, where: Path) -> None:
    if config.get("qk_layernorm"):
        raise ArtifactError(f"{where}: qk_layernorm has no place in llama.cpp's phi2", fix=INSTEAD)
    if shape.tied:
        raise ArtifactError(f"{where}: llama.cpp's phi2 has an output layer of its own", fix=INSTEAD)


def _refuse_gemmas(config: dict[str, Any], shape: Shape, where: Path) -> None:
    if not shape.tied and shape.family != "gemma3":
        raise ArtifactError(f"{where}: an output layer of its own; llama.cpp's {shape.family} uses the embedding", fix=INSTEAD)
    if shape.family not in PATTERNS:
        return
    every = PATTERNS[shape.family]
    kinds = ["full_attention" if (layer + 1) % every == 0 else "sliding_attention" for layer in range(shape.layers)]
    told, pattern = config.get("layer_types"), config.get("sliding_window_pattern", every)
    if (told or kinds) != kinds or (not told and shape.family == "gemma3" and pattern != every):
        raise ArtifactError(
            f"{where}: layer_types; llama.cpp lets one of {every} layers of {shape.family} see everything", fix=INSTEAD
        )
    if shape.family == "gemma2" and None in shape.caps:
        raise ArtifactError(
            f"{where}: attention or logits that are not capped; llama.cpp's gemma2 caps both",
            fix="put back attn_logit_softcapping and final_logit_softcapping if the model was trained with them, or serve the "
            "checkpoint itself (export vllm)",
        )
    scalar = shape.hidden // shape.heads if shape.layers == _LARGEST[shape.family] else shape.head
    if float(config.get("query_pre_attn_scalar", 256)) != scalar:
        raise ArtifactError(
            f"{where}: query_pre_attn_scalar {config.get('query_pre_attn_scalar')}; llama.cpp computes {scalar}", fix=INSTEAD
        )
    if config.get("use_bidirectional_attention"):
        raise ArtifactError(f"{where}: use_bidirectional_attention; llama.cpp looks back only", fix=INSTEAD)
    if shape.family == "gemma3":
        local = (config.get("rope_parameters") or {}).get("sliding_attention", {})
        theta = local.get("rope_theta") or config.get("rope_local_base_freq") or 10_000.0
        if float(theta) != 10_000.0 or local.get("rope_type", "default") != "default" or shape.caps != (None, None):
            raise ArtifactError(
                f"{where}: sliding layers with other RoPE than base 10000, or capped logits; llama.cpp has neither", fix=INSTEAD
            )
