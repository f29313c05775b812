from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deployment.test_compare import copied
from tunekeeper.deployment import gguf as ours
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.fields import coarser, computes, described, tokenizer
from tunekeeper.deployment.quantize import quantize_file
from tunekeeper.text.tokenizers import read_tokenizer

ROPE = (
    "llama3-rope", "llama-linear-bf16", "qwen2-yarn", "llama-yarn", "gemma", "gemma2", "gemma3", "phi3-longrope",
    "phi4-mini", "phi2",
)  # fmt: skip


def written(made: Path, name: str, out: Path, **metadata: str) -> Path:
    ours.write_model(open_checkpoint(made / name / "base"), None, out, "f16", name="m", metadata=metadata)
    return out


def changing(key: str, value: Any) -> Any:
    """A field of another value."""
    return lambda name, old: old if name != key else value(old) if callable(value) else value


@pytest.mark.parametrize("name", ROPE)
def test_a_file_that_was_written_here_says_what_the_checkpoint_says(made: Path, tmp_path: Path, name: str) -> None:
    checkpoint = open_checkpoint(made / name / "base")
    file = written(made, name, tmp_path / "m.gguf", base_digest="sha256:0")
    assert "rope.freq_base" in described(checkpoint.shape)
    assert computes(file, checkpoint.shape) == ""
    assert tokenizer(file, checkpoint.shape, read_tokenizer(checkpoint.folder), checkpoint.eos) == ""
    assert coarser(file) == ""


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("qwen2-yarn", "qwen2.rope.freq_base", 1e6, "qwen2.rope.freq_base is 1e+06, the checkpoint has 10000"),
        ("qwen2-yarn", "qwen2.rope.scaling.factor", 2.0, "qwen2.rope.scaling.factor is 2, the checkpoint has 4"),
        ("gemma2", "gemma2.attention.sliding_window", 4096, "gemma2.attention.sliding_window is 4096, the checkpoint has 24"),
        ("phi2", "phi2.attention.layer_norm_epsilon", 0.1, "phi2.attention.layer_norm_epsilon is 0.1"),
    ],
)
def test_a_field_by_which_it_computes_otherwise_is_named(
    made: Path, tmp_path: Path, name: str, key: str, value: Any, said: str
) -> None:
    file = copied(written(made, name, tmp_path / "f.gguf"), tmp_path / "m.gguf", changing(key, value))
    assert said in computes(file, open_checkpoint(made / name / "base").shape)


def test_what_llama_cpp_obeys_and_the_checkpoint_has_not_is_named(made: Path, tmp_path: Path) -> None:
    """A scaling without a type, or a tensor that its architecture may have: such a file loads and computes otherwise."""

    def found(name: str, **extra: Any) -> str:
        file = written(made, name, tmp_path / "f.gguf")
        with_more = copied(file, tmp_path / "m.gguf", lambda key, old: old, **extra)
        return computes(with_more, open_checkpoint(made / name / "base").shape)

    scaling = "llama.rope.scaling.factor"
    assert found("llama", fields={scaling: 2.0}) == f"{scaling} is 2, the checkpoint has none"
    assert found("llama", fields={scaling: 1.0}) == ""
    divisors = {"rope_freqs.weight": np.full(8, 4.0, np.float32)}
    assert found("llama", tensors=divisors) == "the file has a tensor rope_freqs.weight, the checkpoint has none"
    assert found("llama", tensors={"blk.1.attn_q.bias": np.ones(64, np.float32)}).startswith(
        "the file has a tensor blk.1.attn_q.b"
    )


def test_an_entry_of_the_tokenizer_that_differs_is_named(made: Path, tmp_path: Path) -> None:
    def found(name: str, key: str, value: Any, **metadata: str) -> str:
        checkpoint = open_checkpoint(made / name / "base")
        source = written(made, name, tmp_path / "f.gguf", **metadata)
        file = copied(source, tmp_path / "m.gguf", changing(f"tokenizer.ggml.{key}", value))
        return tokenizer(file, checkpoint.shape, read_tokenizer(checkpoint.folder), checkpoint.eos)

    swapped = found("qwen2-yarn", "merges", lambda old: [old[1], old[0], *old[2:]])
    assert swapped.startswith("tokenizer.ggml.merges has ")
    assert found("qwen2-yarn", "merges", lambda old: old[:-1]).startswith("tokenizer.ggml.merges has ")
    assert "entries, in training" in found("qwen2-yarn", "merges", lambda old: old[:-1])
    # Others write scores and names of their own, which do the same: only what was written here is compared in full.
    assert found("gemma", "scores", lambda old: [*old[:-1], 7.0]) == ""
    assert "tokenizer.ggml.scores has 7.0" in found("gemma", "scores", lambda old: [*old[:-1], 7.0], base_digest="sha256:0")
    said = found("gemma", "add_space_prefix", True, base_digest="sha256:0")
    assert said == "tokenizer.ggml.add_space_prefix is True, in training False"


def test_a_tensor_in_fewer_bits_than_the_file_says_is_named(made: Path, tmp_path: Path) -> None:
    plain = written(made, "wide", tmp_path / "f.gguf")
    for kind in ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"):
        quantize_file(plain, tmp_path / f"{kind}.gguf", kind)
        assert coarser(tmp_path / f"{kind}.gguf") == ""
    told = copied(tmp_path / "Q4_K_M.gguf", tmp_path / "m.gguf", changing("general.file_type", 7))
    assert "token_embd.weight is Q6_K, and 14 more" in coarser(told)
    assert "the file says that it is Q8_0, which has at least Q8_0 there" in coarser(told)
    unknown = copied(tmp_path / "Q4_K_M.gguf", tmp_path / "n.gguf", changing("general.file_type", 99))
    assert coarser(unknown) == "", "nothing is known of a type that is not one of ours"
