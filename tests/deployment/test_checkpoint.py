from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.deployment.checkpoints import edit_json
from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.checkpoint import open_checkpoint, weights_digest
from tunekeeper.deployment.source import open_source

Copy = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("qwen2-dora", {"architectures": ["GptOssForCausalLM"]}, "GptOssForCausalLM is not supported"),
        ("qwen2-dora", {"architectures": None}, "is not supported"),
        ("qwen2-dora", {"auto_map": {"AutoModel": "m.py"}}, "its own code"),
        ("qwen2-dora", {"quantization_config": {"bits": 4}}, "already quantized"),
        ("qwen2-dora", {"intermediate_size": 64}, "config.json asks for"),
        ("qwen3-head", {"head_dim": None}, r"asks for \(128,\)"),
        ("qwen2-dora", {"num_hidden_layers": 3}, "tensors are missing"),
        ("qwen2-dora", {"num_hidden_layers": 1}, "has no place"),
        ("qwen2-dora", {"num_attention_heads": 0}, "config.json"),
        ("qwen2-dora", {"vocab_size": "many"}, "config.json"),
        ("qwen2-dora", {"tie_word_embeddings": "maybe"}, "tie_word_embeddings 'maybe'"),
        ("qwen2-dora", {"rms_norm_eps": float("nan")}, "epsilon of nan"),
        ("qwen2-dora", {"rms_norm_eps": -1.0}, "epsilon of -1"),
        ("qwen2-dora", {"rms_norm_eps": 1e308}, r"epsilon of 1e\+308"),
    ],
)
def test_a_checkpoint_that_is_not_what_its_configuration_says_is_refused(
    copy: Copy, name: str, changes: dict[str, Any], why: str
) -> None:
    base = copy(f"{name}/base")
    edit_json(base / "config.json", **changes)

    with pytest.raises(ArtifactError, match=why):
        open_checkpoint(base)


@pytest.mark.parametrize("louder", [1.0, 1.5], ids=["the same", "another"])
def test_an_output_layer_of_its_own_beside_tied_embeddings_is_refused_where_it_is_another(copy: Copy, louder: float) -> None:
    base = copy("qwen2-dora/base")
    tensors = load_file(base / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * np.float32(louder)
    save_file(tensors, base / "model.safetensors", {"format": "pt"})

    if louder == 1.0:
        assert open_checkpoint(base).tied
        assert open_source(base).tied
        return
    for open_it in (open_checkpoint, open_source):
        with pytest.raises(ArtifactError, match=r"another lm_head\.weight.*set tie_word_embeddings to false"):
            open_it(base)
    edit_json(base / "config.json", tie_word_embeddings=False)
    assert not open_checkpoint(base).tied


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
