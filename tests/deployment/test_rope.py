from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import LONG, edit_json
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import Shape, open_checkpoint
from tunekeeper.deployment.rope import factors, in_factors, loudness

Copy = Callable[[str], Path]
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "RoPE of type 'dynamic'"),
        ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("phi3-longrope", {"rope_parameters": {**LONG, "attention_factor": 1.2}}, "attention_factor"),
        ("qwen2-yarn", {"rope_parameters": {**YARN, "beta_fast": 4.0}}, "beta_fast cannot be told llama.cpp's qwen2"),
        ("qwen2-yarn", {"rope_parameters": {**YARN, "truncate": False}}, "truncate cannot be told"),
        ("llama", {"rope_parameters": {**YARN, "loudness": 2.0}}, "loudness"),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, "RoPE of type linear lacks factor"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "lacks high_freq_factor, low_freq_factor, orig"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 0}}, "factor 0 of its RoPE is impossible"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": float("inf")}}, "factor inf"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": -5.0}}, "rope_theta -5"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}}, "rope_theta nan"),
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
