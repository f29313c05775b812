"""What the ways of changing a model cost beside each other."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.device import Room
from tunekeeper.training.memory import targeted
from tunekeeper.training.recipe import from_json
from tunekeeper.training.tradeoffs import Facts, about_qlora, advice, cost_of_full, guard, notes, ways

from .conftest import BASE

RECIPE = from_json({})
FULL = replace(RECIPE, method="full")
FACTS = Facts(
    folder=BASE,
    there=Room(device="cpu", total=8 << 30, free=4 << 30),
    longest=64,
    learned=16,
    factor=1.0,
    beside_seconds=0.0,
    lora_seconds=60.0,
    speed_of="run_1",
    rate=3.6,
)
CARD = Room(device="A card", total=24 << 30, free=24 << 30, bfloat16=True)


def test_full_tuning_is_begun_with_its_cost_and_an_adapter_without_a_word() -> None:
    assert notes(BASE, RECIPE, FACTS.there) == ()
    memory, disk, work = cost_of_full(BASE, replace(RECIPE, method="full"), FACTS.there)
    assert "learns every number: 32.3 MB for weights, gradients and moments" in memory, "16 bytes for each of 2,018,560 numbers"
    assert "a LoRA of rank 16 learns 9.74% of them" in memory
    assert "a whole model of 8.1 MB on the disk" in disk
    assert "1.5 times the work" in work
    assert len(notes(BASE, replace(RECIPE, method="full", learning_rate=2e-4, epochs=9), FACTS.there)) == 5


def test_a_rank_that_no_layer_can_have_is_begun_with_a_word() -> None:
    sides = max(min(shape) for shape in targeted(BASE, RECIPE))
    assert notes(BASE, replace(RECIPE, rank=64, alpha=128), FACTS.there) == ()
    said = notes(BASE, replace(RECIPE, rank=4096, alpha=8192), FACTS.there)
    assert said[-1] == f"rank 4096 is more than {sides}, all that the widest layer it adapts can have: {sides} learns the same"
    assert notes(BASE, replace(RECIPE, rank=sides), FACTS.there)[1:] == ()


def test_four_bits_on_a_processor_are_begun_with_a_word_of_their_price() -> None:
    four = replace(RECIPE, qlora=True)
    lacking = (
        [] if find_spec("bitsandbytes") else ["qlora needs bitsandbytes, which is not installed: pip install 'tunekeeper[qlora]'"]
    )
    assert list(about_qlora(four, CARD)) == lacking
    assert about_qlora(four, FACTS.there)[-1].startswith("qlora without a GPU saves memory and takes longer")
    assert about_qlora(RECIPE, FACTS.there) == ()


def test_the_ways_stand_beside_each_other_with_the_source_of_every_figure() -> None:
    full, lora, qlora, prompting = ways(FACTS, RECIPE)
    assert [way.name for way in (full, lora, qlora, prompting) if way.chosen] == ["lora"]
    assert full.here["seconds"].value == 90.0
    assert "run_1, times 1.5" in full.here["seconds"].source
    assert lora.here["cost_usd"].value == 0.06
    assert full.here["disk_bytes"].value == 4 * 2_018_560
    memory = [way.here["memory_bytes"].value for way in (full, lora, qlora, prompting)]
    assert memory == sorted(memory, key=lambda value: -float(value or 0))
    assert (full.usual["cost"].value, prompting.usual["control"].value) == ("$10,000 and more", "limited, needs a fallback")
    assert "75 %" in qlora.usual["gpu_hours"].source
    for way in (full, lora, qlora, prompting):
        assert all(figure.source for figure in (*way.here.values(), *way.usual.values()))
    assert ways(FACTS, FULL)[0].chosen
    assert ways(FACTS, replace(RECIPE, qlora=True))[2].chosen


def test_nothing_is_made_up_before_a_run_was_measured() -> None:
    found = ways(replace(FACTS, lora_seconds=None, speed_of=None, rate=None), RECIPE)
    assert {way.here["seconds"].value for way in found[:-1]} == {None} == {way.here["cost_usd"].value for way in found[:-1]}
    assert found[0].here["seconds"].source == "not known before the first run of this base on this machine"


def test_full_tuning_is_guarded_by_what_adapters_did_on_the_same_data() -> None:
    assert guard(FACTS, RECIPE, [], "sha256:d") is None
    said = guard(FACTS, FULL, [], "sha256:d") or ""
    assert "80 to 90 % of the gain at under 10 % of the cost" in said
    assert "none was trained on this data yet: train one first" in said
    run = TrainingRun(
        id="r", model="m", dataset="d", dataset_digest="sha256:d", recipe={}, recipe_digest="", base="b", base_digest="sha256:b"
    )
    assert "r was trained on this data" in (guard(FACTS, FULL, [run], "sha256:d") or "")
    tried = [replace(run, task=(0.5, 0.9)), replace(run, task=(0.7,)), replace(run, task=(1.0,), recipe={"method": "full"})]
    assert "the best of 2 on this data scores 90.0% on the sample" in (guard(FACTS, FULL, tried, "sha256:d") or "")
    assert "none was trained on this data" in (guard(FACTS, FULL, tried, "sha256:other") or "")


def test_what_fits_and_the_size_of_the_base_say_which_way(large: Path) -> None:
    assert advice(FACTS, RECIPE) == ("a base of 2.0 million numbers on cpu: LoRA fits; full tuning fits as well, at its price")
    seven = replace(FACTS, folder=large, there=CARD, longest=512)
    assert "LoRA fits; full tuning does not fit" in advice(seven, replace(RECIPE, batch=1))
    tight = replace(seven, there=replace(CARD, total=8 << 30))
    assert "LoRA does not fit and QLoRA does: its base takes 3.3 GB in 4 bits in the place of 13.0 GB" in advice(
        tight, replace(RECIPE, batch=1, checkpointing=True)
    )
    assert "neither LoRA nor QLoRA fits" in advice(replace(seven, there=replace(CARD, total=2 << 30)), RECIPE)
