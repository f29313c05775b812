"""The tiny base in the repository: its recorded digests, its shape, its tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tunekeeper.demo.phrases import PRODUCTS, RENAMED
from tunekeeper.text.tokenizers import read_tokenizer
from tunekeeper.training.base import parameters

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"


def test_every_file_of_the_base_has_its_recorded_digest() -> None:
    recorded = dict(reversed(line.split("  ")) for line in (BASE / "DIGESTS").read_text().splitlines())
    there = {path.name for path in BASE.iterdir()} - {"DIGESTS"}
    assert set(recorded) == there
    for name, digest in recorded.items():
        assert hashlib.sha256((BASE / name).read_bytes()).hexdigest() == digest, name


def test_the_base_is_a_qwen2_of_two_million_parameters_that_k_quants_fit() -> None:
    config = json.loads((BASE / "config.json").read_text())
    assert config["model_type"] == "qwen2"
    assert config["vocab_size"] == 960
    assert config["hidden_size"] % 256 == config["intermediate_size"] % 256 == 0
    assert parameters(BASE) == 2_018_560
    assert (BASE / "model.safetensors").stat().st_size < 8_000_000


@pytest.mark.parametrize("name", [*PRODUCTS, RENAMED[1]])
def test_every_product_name_is_made_of_few_tokens(name: str) -> None:
    assert len(read_tokenizer(BASE).encode(f" {name}")) <= 5
