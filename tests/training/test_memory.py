"""What a run takes, what there is, and what makes it fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.base import parameters
from tunekeeper.training.memory import (
    Room,
    full_bytes,
    gpus,
    learned_factor,
    method,
    need,
    refuse_too_large,
    room,
    smaller,
    tokens_at_once,
)
from tunekeeper.training.recipe import from_json

from .conftest import BASE

RECIPE = from_json({"batch": 16})


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's headers in the shape of a 7B model, without its weights: a sparse file."""
    folder = tmp_path_factory.mktemp("large")
    shape = {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008, "vocab_size": 32000}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **shape}))
    header, at = {}, 0
    for layer in range(32):
        for name, rows, columns in (
            *((f"self_attn.{p}_proj", 4096, 4096) for p in "qkvo"),
            *((f"mlp.{p}_proj", 11008, 4096) for p in ("gate", "up")),
            ("mlp.down_proj", 4096, 11008),
        ):
            size = 2 * rows * columns
            key = f"model.layers.{layer}.{name}.weight"
            header[key] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return folder


def test_a_model_of_seven_billion_numbers_takes_what_people_know_it_takes(large: Path) -> None:
    plain = need(large, replace(RECIPE, batch=1, checkpointing=True), 512, gpu=True)
    assert 13e9 < plain.total < 17e9, "LoRA on a 7B base in bfloat16 fits a 24 GB card"
    assert need(large, replace(RECIPE, batch=1, checkpointing=True, qlora=True), 512, gpu=True).total < 7e9
    assert need(large, replace(RECIPE, batch=16), 2048, gpu=True).total > 40e9


def test_parts_and_recomputing_need_less_and_pairs_need_more() -> None:
    whole = need(BASE, RECIPE, 256, gpu=False)
    assert need(BASE, replace(RECIPE, accumulation=4), 256, gpu=False).activations == whole.activations // 4
    assert need(BASE, replace(RECIPE, checkpointing=True), 256, gpu=False).activations < whole.activations
    assert tokens_at_once(replace(RECIPE, objective="dpo"), 100) == 2 * tokens_at_once(RECIPE, 100) == 3200
    assert tokens_at_once(replace(RECIPE, packing=True, max_tokens=512), 100) == 512


def test_what_cannot_fit_is_refused_with_the_change_that_makes_it_fit(large: Path) -> None:
    card = Room(device="A card", total=24 << 30, free=24 << 30)
    with pytest.raises(ConfigError, match=r"needs about [0-9.]+ GB and A card has 25.8 GB .*accumulation: 16") as refused:
        refuse_too_large(large, RECIPE, 2048, card)
    written = str(refused.value.fix).split("`")[1]
    changes = dict(part.split(": ") for part in written.split(", "))
    values = RECIPE.as_json() | {key: {"true": True}.get(value) or int(value) for key, value in changes.items()}
    assert refuse_too_large(large, from_json(values), 2048, card).total <= card.total
    with pytest.raises(ConfigError, match="take a smaller base"):
        refuse_too_large(large, RECIPE, 2048, replace(card, total=1 << 30))


def test_the_output_head_takes_room_for_what_is_learned(large: Path) -> None:
    whole, some = (need(large, RECIPE, 2048, gpu=True, learned=learned) for learned in (None, 100))
    words = json.loads((large / "config.json").read_text())["vocab_size"]
    assert whole.activations - some.activations == RECIPE.batch * (2048 - 100) * 3 * words * 4
    assert need(large, RECIPE, 2048, gpu=True, learned=9999) == whole


def test_a_plan_says_what_tuning_everything_would_take(large: Path) -> None:
    card = Room(device="A card", total=24 << 30, free=24 << 30)
    said = method(large, RECIPE, card)
    gigabytes = full_bytes(large) / 1e9
    assert full_bytes(large) == 16 * parameters(large)
    assert f"about {gigabytes:,.1f} GB before activations, more than A card has; " in said
    assert said.startswith("LoRA learns ")
    assert method(large, replace(RECIPE, qlora=True), card).startswith("QLoRA learns ")
    assert method(large, RECIPE, replace(card, total=1 << 50)).endswith("which A card has")


def test_the_gentlest_change_is_proposed_first() -> None:
    ways = [written for written, _ in smaller(replace(RECIPE, batch=4, rank=16))]
    assert ways == [
        "accumulation: 2",
        "accumulation: 4",
        "accumulation: 4, checkpointing: true",
        "accumulation: 4, checkpointing: true, qlora: true",
        "accumulation: 4, checkpointing: true, qlora: true, rank: 8",
        "accumulation: 4, checkpointing: true, qlora: true, rank: 4",
    ]


def test_estimates_learn_from_the_runs_of_the_same_base() -> None:
    run = TrainingRun(
        id="r", model="m", dataset="d", dataset_digest="", recipe={}, recipe_digest="", base="b", base_digest="sha256:b"
    )
    seen = [replace(run, memory={"estimated": 100, "peak": peak}) for peak in (120, 150, 400)]
    assert learned_factor([*seen, run], "sha256:b") == (1.5, 3)
    assert learned_factor(seen, "sha256:other") == (1.0, 0)
    assert learned_factor([replace(run, memory={"estimated": 1, "peak": 100})], "sha256:b") == (4.0, 1)


def test_the_answer_of_nvidia_smi_is_read_and_anything_else_passed_over() -> None:
    found = list(gpus("NVIDIA H100, 81559, 80000\nNo devices were found\nA, [N/A], 3\n"))
    assert found == [Room(device="NVIDIA H100", total=81559 << 20, free=80000 << 20)]


def test_there_is_room_on_the_machine_that_runs_this() -> None:
    assert 0 < room().free <= room().total
