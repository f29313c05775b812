"""How long a text a base takes, whatever its config calls that; and what is said of rows that are longer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.training.places import beyond, context_of, places_of, refuse_beyond

from .conftest import BASE

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 4096, "sliding_window": 512}, 4096),
        ({"n_positions": 1024, "n_ctx": 512}, 1024),
        ({"n_ctx": 1024}, 1024),
        ({"max_seq_len": 2048}, 2048),
        ({"context_length": 1024}, 1024),
        ({"model_type": "mamba"}, None),
        ({"max_position_embeddings": "many"}, None),
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 4096),
        ({"max_position_embeddings": 32768, "rope_scaling": YARN}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": YARN}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": LLAMA_3}, 131072),
        (
            {
                "model_type": "gemma3_text",
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            131072,
        ),
        ({"max_position_embeddings": 4096, "rope_parameters": {"full_attention": {"rope_type": "default"}}}, 4096),
    ],
)
def test_the_longest_text_is_found_whatever_the_config_calls_it(tmp_path: Path, config: dict[str, Any], expected: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_of(tmp_path) == expected


def test_a_base_that_works_places_out_takes_longer_rows_and_they_are_named() -> None:
    assert (places_of(BASE), context_of(BASE)) == (None, 1024)
    refuse_beyond(BASE, 5000)
    assert beyond(BASE, [12, 1024]) == ()
    (said,) = beyond(BASE, [12, 1025, 3000])
    assert said == (
        "2 conversations are longer than the 1,024 tokens that base was made for, up to 3,000: past that it answers badly, and"
        " servers cut; `max_tokens: 1024` leaves them out"
    )


def test_a_base_that_has_learned_its_places_refuses_what_has_more(tmp_path: Path) -> None:
    header = json.dumps({"transformer.wpe.weight": {"dtype": "F32", "shape": [6, 1], "data_offsets": [0, 24]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    shutil.copy(BASE / "tokenizer.json", tmp_path)
    for said, places in (({}, 6), ({"n_positions": 5}, 5), ({"max_position_embeddings": 9}, 6)):
        (tmp_path / "config.json").write_text(json.dumps(said))
        assert places_of(tmp_path) == places
    refuse_beyond(tmp_path, 6)
    with pytest.raises(DataError, match="a conversation has 7 tokens"):
        refuse_beyond(tmp_path, 7)
