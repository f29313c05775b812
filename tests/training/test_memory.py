"""What a run takes, what there is, and what makes it fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError, DiskFull
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.base import parameters, read_json
from tunekeeper.training.device import Room
from tunekeeper.training.memory import (
    adapter_parameters,
    base_bytes,
    full_bytes,
    is_target,
    is_tight,
    learned_factor,
    method,
    need,
    number_size,
    refuse_full_disk,
    refuse_too_large,
    refuse_unknown_targets,
    run_bytes,
    size,
    smaller,
    targeted,
    tokens_at_once,
    version_bytes,
)
from tunekeeper.training.recipe import from_json

from .conftest import BASE

RECIPE = from_json({"batch": 16})
CARD = Room(device="A card", total=24 << 30, free=24 << 30, bfloat16=True)
CPU = Room(device="cpu", total=24 << 30, free=24 << 30)


def test_a_model_of_seven_billion_numbers_takes_what_people_know_it_takes(large: Path) -> None:
    plain = need(large, replace(RECIPE, batch=1, checkpointing=True), 512, CARD)
    assert 13e9 < plain.total < 17e9, "LoRA on a 7B base in bfloat16 fits a 24 GB card"
    assert need(large, replace(RECIPE, batch=1, checkpointing=True, qlora=True), 512, CARD).total < 7e9
    assert need(large, replace(RECIPE, batch=16), 2048, CARD).total > 40e9


def test_parts_and_recomputing_need_less_and_pairs_need_more() -> None:
    whole = need(BASE, RECIPE, 256, CPU)
    assert need(BASE, replace(RECIPE, accumulation=4), 256, CPU).activations == whole.activations // 4
    assert need(BASE, replace(RECIPE, checkpointing=True), 256, CPU).activations < whole.activations
    assert tokens_at_once(replace(RECIPE, objective="dpo"), 100) == 2 * tokens_at_once(RECIPE, 100) == 3200
    assert tokens_at_once(replace(RECIPE, packing=True, max_tokens=512), 100) == 512


def test_the_sizes_of_a_base_are_found_whatever_its_config_calls_them(tmp_path: Path) -> None:
    other = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "intermediate_size": "n_inner"}
    config = json.loads((BASE / "config.json").read_text())
    (tmp_path / "model.safetensors").symlink_to(BASE / "model.safetensors")
    for said in (
        {other.get(name, name): value for name, value in config.items()},
        {"model_type": "sees", "text_config": config},
        config | {"num_experts_per_tok": 2, "moe_intermediate_size": config["intermediate_size"] // 2},
    ):
        (tmp_path / "config.json").write_text(json.dumps(said))
        assert need(tmp_path, RECIPE, 256, CPU) == need(BASE, RECIPE, 256, CPU)


@pytest.mark.parametrize(
    ("name", "learned"),
    [
        ("gpt_neox.layers.0.attention.dense.weight", True),
        ("gpt_neox.embed_in.weight", False),
        ("embed_out.weight", False),
        ("model.decoder.embed_positions.weight", False),
        ("transformer.word_embeddings.weight", False),
        ("backbone.layers.0.mixer.A_log", False),
    ],
)
def test_embeddings_of_any_name_and_what_is_no_layer_get_no_adapter(name: str, learned: bool) -> None:
    assert is_target(name, ("all-linear",)) == learned


def test_what_cannot_fit_is_refused_with_the_change_that_makes_it_fit(large: Path) -> None:
    card = CARD
    with pytest.raises(ConfigError, match=r"needs about [0-9.]+ GB and A card has 25.8 GB .*accumulation: 16") as refused:
        refuse_too_large(large, RECIPE, 2048, card)
    written = str(refused.value.fix).split("`")[1]
    changes = dict(part.split(": ") for part in written.split(", "))
    values = RECIPE.as_json() | {key: {"true": True}.get(value) or int(value) for key, value in changes.items()}
    assert refuse_too_large(large, from_json(values), 2048, card).total <= card.total
    with pytest.raises(ConfigError, match="take a smaller base"):
        refuse_too_large(large, RECIPE, 2048, replace(card, total=1 << 30))


def test_the_output_head_takes_room_for_what_is_learned(large: Path) -> None:
    whole, some = (need(large, RECIPE, 2048, CARD, learned=learned) for learned in (None, 100))
    words = json.loads((large / "config.json").read_text())["vocab_size"]
    assert whole.activations - some.activations == RECIPE.batch * (2048 - 100) * 3 * words * 4
    assert need(large, RECIPE, 2048, CARD, learned=9999) == whole


def test_a_card_that_only_emulates_bfloat16_is_asked_for_four_bytes_a_number(large: Path) -> None:
    old = replace(CARD, bfloat16=False)
    numbers = parameters(large)
    assert number_size(RECIPE, CARD, numbers) == 2
    assert number_size(RECIPE, old, numbers) == number_size(RECIPE, CPU, numbers) == 4
    assert number_size(RECIPE, replace(CPU, bfloat16=True), numbers) == 2, "a processor made for it works in bfloat16 too"
    assert need(large, RECIPE, 512, old).weights > 1.9 * need(large, RECIPE, 512, CARD).weights
    assert number_size(replace(RECIPE, dtype="float16"), old, numbers) == 2


def test_a_plan_says_what_tuning_everything_would_take(large: Path) -> None:
    card = CARD
    said = method(large, RECIPE, card)
    assert full_bytes(large) == 16 * parameters(large)
    assert f"about {size(full_bytes(large))} before activations, more than A card has; " in said
    assert said.startswith("LoRA learns ")
    assert method(large, replace(RECIPE, qlora=True), card).startswith("QLoRA learns ")
    assert method(large, RECIPE, replace(card, total=1 << 50)).endswith("which A card has")


def test_four_bits_hold_the_linear_layers_and_leave_the_rest_in_float32(large: Path) -> None:
    qlora = replace(RECIPE, qlora=True)
    measured = 1_881_344 + 1_769_472 / 64 * (1 + 4 / 256)  # by bitsandbytes: the model's numbers, and its blocks' constants
    assert base_bytes(BASE, qlora, 4) == pytest.approx(measured, rel=1e-3)
    assert base_bytes(BASE, RECIPE, 4) == 4 * parameters(BASE)
    assert 1 - base_bytes(large, qlora, 2) / base_bytes(large, RECIPE, 2) == pytest.approx(0.742, abs=0.001)


def test_full_tuning_takes_sixteen_bytes_a_number_and_a_whole_model_on_the_disk(large: Path) -> None:
    full = replace(RECIPE, method="full", batch=1, checkpointing=True)
    every = parameters(large)
    assert need(large, replace(full, dtype="float32"), 512, CARD).weights == 16 * every
    assert need(large, full, 512, CARD).weights == 18 * every, "the sixteen-bit copies that it works with stand beside"
    assert version_bytes(large, full, CARD) == 2 * every
    assert run_bytes(large, full, CARD) == 2 * every * 3 + 24 * every, "the best, the last, and one on its way"
    assert run_bytes(large, replace(full, epochs=99), CARD) == run_bytes(large, full, CARD)
    assert version_bytes(large, RECIPE, CARD) == 4 * adapter_parameters(large, RECIPE)


def test_full_tuning_that_cannot_fit_is_refused_with_an_adapter_in_its_place(large: Path) -> None:
    card = replace(CARD, total=80 << 30)
    with pytest.raises(ConfigError, match=r"needs about 1[0-9][0-9]\.[0-9] GB and A card has 85.9 GB") as refused:
        refuse_too_large(large, replace(RECIPE, method="full", batch=1), 512, card)
    assert refused.value.fix == "put `checkpointing: true, method: lora` into the recipe"
    ways = [written for written, _ in smaller(replace(RECIPE, method="full", batch=1, rank=8))]
    assert ways == [
        "checkpointing: true",
        "checkpointing: true, method: lora",
        "checkpointing: true, method: lora, qlora: true",
        "checkpointing: true, method: lora, qlora: true, rank: 4",
    ]
    said = method(large, replace(RECIPE, method="full"), replace(card, total=1 << 40))
    assert said.startswith("full tuning learns every number and takes about ")
    assert said.endswith("which A card has; a LoRA of rank 16 would learn 0.62% of them")


def test_a_disk_without_room_for_the_run_is_said_before_anything_is_loaded(tmp_path: Path, large: Path) -> None:
    refuse_full_disk(BASE, RECIPE, tmp_path, CPU)
    with pytest.raises(
        DiskFull, match=r"this run writes about [0-9.,]+ GB and the disk of .* has [0-9.]+ GB free .*`method: lora`"
    ):
        refuse_full_disk(large, replace(RECIPE, method="full", epochs=1000), tmp_path, CPU)


def test_a_target_that_no_layer_is_called_is_refused_with_those_that_there_are() -> None:
    refuse_unknown_targets(BASE, replace(RECIPE, targets=("q_proj", "mlp.up_proj")))
    refuse_unknown_targets(BASE, RECIPE)
    with pytest.raises(ConfigError, match=r"no layer of .* is called proj .*all-linear, or some of .*q_proj"):
        refuse_unknown_targets(BASE, replace(RECIPE, targets=("q_proj", "proj")))


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
    for like in (50, 100, 200):
        assert learned_factor([*seen, run], "sha256:b", like) == (1.5, 3)
    assert learned_factor(seen, "sha256:other", 100) == (1.0, 0)
    assert learned_factor([replace(run, memory={"estimated": 1, "peak": 100})], "sha256:b", 1) == (4.0, 1)
    assert learned_factor(seen, "sha256:b", 1000) == (1.0, 0), "a small run tells nothing of a large one"


def test_memory_is_spared_on_a_processor_that_has_little_or_where_the_recipe_asks_for_it() -> None:
    free = CPU.free
    assert [is_tight(RECIPE, needed, CPU) for needed in (free // 3, free * 2 // 3)] == [False, True]
    assert is_tight(replace(RECIPE, checkpointing=True), free // 3, CPU)
    plain, spared = (need(BASE, replace(RECIPE, checkpointing=each), 256, CPU) for each in (False, True))
    assert (plain.tight, spared.tight) == (False, True)
    assert plain.holes > spared.holes > 0, "what is not given back is planned for"
    assert need(BASE, RECIPE, 256, CARD).holes == 0
    assert not is_tight(replace(RECIPE, checkpointing=True), free, CARD)


def test_sizes_are_told_in_the_unit_that_people_use() -> None:
    assert (size(24_100_000), size(112_300_000_000), size(1_234_500_000_000)) == ("24.1 MB", "112.3 GB", "1,234.5 GB")


def test_attention_with_dropout_keeps_its_matrix_on_a_processor_and_not_on_a_card(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(BASE / "model.safetensors")

    def activations(there: Room, config: dict[str, object], **changes: int) -> int:
        shape = {"n_embd": 256, "n_layer": 8, "n_head": 8, "vocab_size": 2048, "model_type": "gpt2"}
        (tmp_path / "config.json").write_text(json.dumps(shape | config))
        return need(tmp_path, replace(RECIPE, **changes), 512, there).activations

    plain, dropping = {"attn_pdrop": 0.0}, {"attn_pdrop": 0.1}
    matrix = 16 * 512 * 8 * 512 * 4
    assert activations(CPU, dropping) - activations(CPU, plain) == (3 * 8 + 4) * matrix
    assert activations(CPU, dropping, checkpointing=True) - activations(CPU, plain, checkpointing=True) == (3 + 4) * matrix
    assert activations(CPU, dropping, accumulation=4) == activations(CPU, dropping) // 4
    assert activations(CARD, dropping) == activations(CARD, plain), "its kernels drop as they go"
    inner = 16 * 512 * 8 * 4 * 256 * 4
    assert activations(CPU, plain | {"activation_function": "gelu_new"}) - activations(CPU, plain) == 4 * inner


def test_dora_and_dropout_keep_more_of_each_layer_that_they_adapt() -> None:
    tokens, layers = 16 * 256, targeted(BASE, RECIPE)
    rows, columns = sum(rows for rows, _ in layers), sum(columns for _, columns in layers)
    plain = need(BASE, RECIPE, 256, CPU).activations
    assert need(BASE, replace(RECIPE, dora=True), 256, CPU).activations - plain == tokens * 2 * rows * 4
    assert need(BASE, replace(RECIPE, dropout=0.1), 256, CPU).activations - plain == round(tokens * 1.4 * columns * 4)
    once = need(BASE, replace(RECIPE, checkpointing=True), 256, CPU).activations
    dora = need(BASE, replace(RECIPE, dora=True, checkpointing=True), 256, CPU).activations
    assert (dora - once) * read_json(BASE / "config.json")["num_hidden_layers"] == tokens * 2 * rows * 4
    full = replace(RECIPE, method="full")
    assert need(BASE, replace(full, dropout=0.1), 256, CPU) == need(BASE, full, 256, CPU), "there is no adapter to drop in"


def test_a_family_without_fused_attention_keeps_its_matrices_on_every_device(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(BASE / "model.safetensors")

    def activations(there: Room, **config: object) -> int:
        shape = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 2048, "model_type": "llama"}
        (tmp_path / "config.json").write_text(json.dumps(shape | config))
        return need(tmp_path, RECIPE, 512, there).activations

    for there in (CPU, CARD):
        assert activations(there, model_type="gemma2") - activations(there) == 16 * 512 * 8 * 512 * (8 * 4 + 16)
    assert activations(CPU, final_logit_softcapping=30.0) - activations(CPU) == 16 * 512 * 2 * 2048 * 4


def test_a_heap_has_no_holes_of_tensors_that_are_taken_apart_from_it() -> None:
    short, long = (need(BASE, RECIPE, longest, CPU) for longest in (256, 4096))
    assert short.holes == pytest.approx(0.7 * short.activations, abs=1)
    assert long.activations > 1.9 * short.activations, "as many tokens as the recipe lets a row have"
    wide = need(BASE, replace(RECIPE, batch=4096), 256, CPU)
    assert wide.holes < 0.1 * wide.activations
