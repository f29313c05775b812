from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import LONG, ROPE3, edit_json
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import Shape, open_checkpoint
from tunekeeper.deployment.fields import described
from tunekeeper.deployment.rope import factors, in_factors, loudness

Copy = Callable[[str], Path]
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "RoPE of type 'dynamic'"),
        ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("qwen2-yarn", {"rope_parameters": ROPE3}, "llama3 cannot be told llama.cpp's qwen2"),
        ("qwen2-yarn", {"rope_scaling": {"type": "dynamic"}}, "RoPE of type 'dynamic'"),
        ("qwen2-yarn", {"rope_parameters": {**YARN, "beta_fast": 4.0}}, "beta_fast cannot be told llama.cpp's qwen2"),
        ("qwen2-yarn", {"rope_parameters": {**YARN, "truncate": False}}, "truncate cannot be told"),
        ("llama", {"rope_parameters": {**YARN, "loudness": 2.0}}, "loudness"),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, "RoPE of type linear lacks factor"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "lacks high_freq_factor, low_freq_factor, orig"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 0}}, "factor 0 of its RoPE is impossible"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": float("inf")}}, "factor inf"),
        ("llama", {"rope_parameters": ROPE3 | {"low_freq_factor": 0}}, "high_freq_factor of its RoPE must be above low"),
        ("llama", {"rope_parameters": ROPE3 | {"high_freq_factor": 1}}, "high_freq_factor of its RoPE must be above low"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": -5.0}}, "rope_theta -5"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}}, "rope_theta nan"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e308}}, r"rope_theta 1e\+308"),
    ],
)
def test_a_rotary_embedding_without_a_place_in_gguf_is_refused(copy: Copy, name: str, changes: dict[str, Any], why: str) -> None:
    base = copy(f"{name}/base")
    edit_json(base / "config.json", **changes)

    with pytest.raises(ArtifactError, match=why):
        open_checkpoint(base)


def shape(copy: Copy, **changes: Any) -> Shape:
    base = copy("qwen2-yarn/base")
    edit_json(base / "config.json", rope_parameters={**YARN, **changes})
    return open_checkpoint(base).shape


def test_the_papers_constants_may_be_spelled_out(copy: Copy) -> None:
    found = shape(copy, beta_fast=32, beta_slow=1, truncate=True)
    assert not in_factors(found)
    assert loudness(found) == 1.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"attention_factor": 1.5}, 1.5), ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0), ({"mscale": 0.7}, 1.138629)],
)
def test_llama_cpp_is_told_what_it_does_not_do_by_itself(copy: Copy, changes: dict[str, Any], told: float) -> None:
    assert loudness(shape(copy, **changes)) == pytest.approx(told / 1.138629, rel=1e-5)


def test_other_constants_become_one_divisor_a_frequency_between_none_and_the_whole_factor(made: Path) -> None:
    found = open_checkpoint(made / "llama-yarn" / "base").shape
    divisors = factors(found)
    assert in_factors(found)
    assert divisors.shape == (found.head // 2,)
    assert divisors.min() == pytest.approx(1.0)
    assert divisors.max() == pytest.approx(8.0)
    assert (divisors[1:] >= divisors[:-1]).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [({}, 1.0), ({"factor": 4.0}, 1.1055416), ({"factor": 0.5}, 1.0), ({"factor": 4.0, "attention_factor": 1.2}, 1.2)],
)
def test_longrope_is_as_loud_as_transformers_makes_it(copy: Copy, changes: dict[str, Any], told: float) -> None:
    base = copy("phi3-longrope/base")
    edit_json(base / "config.json", rope_parameters={**LONG, **changes})
    found = open_checkpoint(base).shape
    assert loudness(found) == pytest.approx(told, rel=1e-5)
    assert described(found).get("rope.scaling.attn_factor", 1.0) == pytest.approx(told, rel=1e-5)


def test_the_copy_that_is_advised_for_longrope_is_as_loud_as_the_original(copy: Copy) -> None:
    base = copy("phi3-longrope/base")
    edit_json(base / "config.json", original_max_position_embeddings=64)
    with pytest.raises(ArtifactError) as refused:
        open_checkpoint(base)
    assert str(refused.value.fix).endswith(
        "set max_position_embeddings to 64, and attention_factor of its RoPE to 1.22474487 as it is now"
    )
    edit_json(base / "config.json", max_position_embeddings=64, rope_parameters={**LONG, "attention_factor": 1.22474487})
    assert loudness(open_checkpoint(base).shape) == pytest.approx(1.5**0.5)


def test_the_keys_of_a_configuration_count_as_transformers_counts_them(copy: Copy) -> None:
    base = copy("llama3-rope/base")
    edit_json(base / "config.json", original_max_position_embeddings=32)
    assert open_checkpoint(base).shape.rope_values["original_max_position_embeddings"] == 32
    # YaRN added by hand, as the READMEs of Qwen say, to what a newer transformers wrote.
    edit_json(base / "config.json", rope_theta=5e5, rope_scaling={"rope_type": "linear", "factor": 2.0})
    found = open_checkpoint(base).shape
    assert (found.rope, found.rope_values, found.theta) == ("linear", {"factor": 2.0}, 5e5)
    gemma = copy("gemma3/base")
    edit_json(gemma / "config.json", rope_parameters=None, rope_scaling={"rope_type": "linear", "factor": 8.0})
    found = open_checkpoint(gemma).shape
    assert (found.rope, found.theta) == ("linear", 1e6)
