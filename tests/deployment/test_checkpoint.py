from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import GEMMA3, LONG, edit_json
from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.checkpoint import open_checkpoint, weights_digest

Copy = Callable[[str], Path]
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("qwen2-dora", {"architectures": ["GptOssForCausalLM"]}, "GptOssForCausalLM is not supported"),
        ("qwen2-dora", {"architectures": None}, "is not supported"),
        ("qwen2-dora", {"auto_map": {"AutoModel": "m.py"}}, "its own code"),
        ("qwen2-dora", {"quantization_config": {"bits": 4}}, "already quantized"),
        ("qwen2-dora", {"hidden_act": "gelu"}, "hidden_act"),
        ("qwen2-dora", {"hidden_size": 128}, "config.json asks for"),
        ("qwen2-dora", {"num_hidden_layers": 3}, "tensors are missing"),
        ("qwen2-dora", {"num_hidden_layers": 1}, "has no place"),
        ("qwen2-dora", {"num_attention_heads": 0}, "config.json"),
        ("qwen2-dora", {"vocab_size": "many"}, "config.json"),
        ("qwen2-dora", {"use_sliding_window": True, "sliding_window": 8}, "sliding_window 8"),
        ("mistral-rslora", {"sliding_window": 8}, "sliding_window 8"),
        ("qwen3-head", {"attention_bias": True}, "attention_bias"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "RoPE of type 'dynamic'"),
        ("llama", {"rope_parameters": {**YARN, "attention_factor": 2.0}}, "attention_factor"),
        ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("llama", {"rope_parameters": LONG}, "longrope of llama"),
        ("phi3-longrope", {"original_max_position_embeddings": 128, "rope_parameters": LONG}, "beyond 128 tokens"),
        ("phi3-longrope", {"rope_parameters": {**LONG, "short_factor": [1.0]}}, "with 1 factors"),
        ("phi3-longrope", {"rope_parameters": {**LONG, "attention_factor": 1.2}}, "attention_factor"),
        ("phi3", {"sliding_window": 100}, "sliding_window 100"),
        ("gemma", {"hidden_activation": "gelu"}, "computes gelu_pytorch_tanh"),
        ("gemma", {"tie_word_embeddings": False}, "an output layer of its own"),
        ("gemma2", {"query_pre_attn_scalar": 256}, "query_pre_attn_scalar"),
        ("gemma2", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("gemma3", {"sliding_window": None}, "config.json"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "capped logits"),
        ("gemma3", {"use_bidirectional_attention": True}, "looks back only"),
        ("gemma3", {"rope_parameters": GEMMA3["rope_parameters"] | {"sliding_attention": {"rope_theta": 5e4}}}, "other RoPE"),
        ("gemma3", {"attention_bias": True}, "attention_bias"),
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


def test_a_broken_or_missing_file_is_named(copy: Copy) -> None:
    base = copy("llama/base")
    (base / "config.json").write_text('{"a": ')
    with pytest.raises(ArtifactError, match=r"config\.json: not JSON"):
        open_checkpoint(base)
    (base / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"config\.json: cannot be read"):
        open_checkpoint(base)


def test_the_digest_of_a_base_is_its_weights_alone(made: Path, copy: Copy) -> None:
    base = copy("llama/base")
    before = weights_digest(base)
    edit_json(base / "config.json", note="another text")

    assert weights_digest(base) == before == digest_file(made / "llama" / "base" / "model.safetensors")


@pytest.mark.parametrize("name", ["llama", "gemma3", "phi3-longrope"])
def test_an_odd_value_anywhere_in_the_configuration_is_refused_in_one_line_or_means_nothing(copy: Copy, name: str) -> None:
    base = copy(f"{name}/base")
    right = json.loads((base / "config.json").read_text())

    for key in [*right, "rope_scaling", "hidden_activation", "sliding_window", "layer_types", "eos_token_id"]:
        for odd in ("x", -1, 1e999, [], ["x"], [[]], {"a": {}}, True, 10**30):
            (base / "config.json").write_text(json.dumps({**right, key: odd}))
            why = ""
            try:
                open_checkpoint(base)
            except ArtifactError as error:
                why = str(error)
            assert len(why.splitlines()) <= 1
