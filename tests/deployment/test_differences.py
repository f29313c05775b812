from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import GEMMA3, LONG, edit_json
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import open_checkpoint

Copy = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("qwen2-dora", {"hidden_act": "gelu"}, "hidden_act"),
        ("qwen2-dora", {"use_sliding_window": True, "sliding_window": 8}, "sliding_window 8"),
        ("mistral-rslora", {"sliding_window": 8}, "sliding_window 8"),
        ("qwen3-head", {"attention_bias": True}, "attention_bias"),
        ("phi3", {"sliding_window": 100}, "sliding_window 100"),
        ("gemma", {"hidden_activation": "gelu"}, "computes gelu_pytorch_tanh"),
        ("gemma", {"tie_word_embeddings": False}, "an output layer of its own"),
        ("gemma2", {"query_pre_attn_scalar": 256}, "query_pre_attn_scalar"),
        ("gemma2", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("gemma3", {"layer_types": None, "sliding_window_pattern": 3}, "layer_types"),
        ("qwen2-yarn", {"head_dim": 32}, r"4 heads of 32 are not as wide together as the model \(64\)"),
        ("gemma3", {"sliding_window": None}, "config.json"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "capped logits"),
        ("gemma3", {"use_bidirectional_attention": True}, "looks back only"),
        ("gemma3", {"attention_bias": True}, "attention_bias"),
        ("gemma3", {"rope_parameters": GEMMA3["rope_parameters"] | {"sliding_attention": {"rope_theta": 5e4}}}, "other RoPE"),
        ("llama", {"rope_parameters": LONG}, "longrope of llama"),
        ("phi3-longrope", {"original_max_position_embeddings": 128, "rope_parameters": LONG}, "beyond 128 tokens"),
        ("phi3-longrope", {"rope_parameters": {**LONG, "short_factor": [1.0]}}, "with 1 factors"),
        ("phi2", {"qk_layernorm": True}, "qk_layernorm"),
        ("phi2", {"hidden_act": "gelu"}, "computes gelu_new"),
        ("phi2", {"tie_word_embeddings": True}, "an output layer of its own"),
    ],
)
def test_what_llama_cpp_would_compute_differently_is_refused(copy: Copy, name: str, changes: dict[str, Any], why: str) -> None:
    base = copy(f"{name}/base")
    edit_json(base / "config.json", **changes)

    with pytest.raises(ArtifactError, match=why):
        open_checkpoint(base)


def test_a_sliding_window_as_long_as_the_context_is_no_difference(copy: Copy) -> None:
    base = copy("mistral-rslora/base")
    edit_json(base / "config.json", sliding_window=512)

    assert open_checkpoint(base).shape.family == "mistral"


def test_a_gemma_2_without_caps_is_refused_and_one_that_does_not_say_them_has_the_usual_ones(copy: Copy) -> None:
    base = copy("gemma2/base")
    edit_json(base / "config.json", attn_logit_softcapping=None, final_logit_softcapping=None)
    assert open_checkpoint(base).shape.caps == (50.0, 30.0)

    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"attn_logit_softcapping": None}))
    with pytest.raises(ArtifactError, match="not capped"):
        open_checkpoint(base)
