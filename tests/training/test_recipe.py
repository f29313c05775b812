"""Recipes: defaults, layers, near names, ranges, digests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.training.config import Config
from tunekeeper.training.recipe import from_json, read_changes, resolve, warnings


def test_the_product_defaults_are_rank_16_and_alpha_twice_that() -> None:
    recipe = resolve(Config())
    assert (recipe.rank, recipe.alpha, recipe.epochs) == (16, 32, 3)
    assert warnings(recipe) == ()


def test_a_recipe_survives_json_with_the_same_digest() -> None:
    recipe = resolve(Config(rank=8, targets=("q_proj", "v_proj"), replay=1.0))
    again = from_json(json.loads(json.dumps(recipe.as_json())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert from_json(recipe.as_json() | {"seed": 1}).digest != recipe.digest


def test_update_values_count_only_when_a_run_continues_and_changes_win() -> None:
    section = Config(epochs=4, learning_rate=2e-3, update={"epochs": 3.0, "learning_rate": 1e-3})
    assert resolve(section).epochs == 4
    assert resolve(section, continued=True).learning_rate == 1e-3
    assert resolve(section, {"epochs": 1}, continued=True).epochs == 1


def test_an_unknown_key_is_refused_with_the_near_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'learning_rat'.*learning_rate"):
        from_json({"learning_rat": 0.1})
    with pytest.raises(ConfigError, match=r"training\.update: unknown key 'epoch'"):
        resolve(Config(update={"epoch": 3}), continued=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank", 0),
        ("rank", "16"),
        ("rank", 1.5),
        ("rank", True),
        ("epochs", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", 2),
        ("dropout", 1),
        ("targets", []),
        ("targets", [1]),
        ("dtype", "int8"),
        ("qlora", 1),
        ("replay", -1),
        ("seed", -1),
    ],
)
def test_a_value_outside_its_range_or_type_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        from_json({key: value})


def test_whole_numbers_may_be_written_as_floats_and_one_target_as_text() -> None:
    recipe = from_json({"epochs": 3.0, "learning_rate": 1, "targets": "q_proj"})
    assert recipe.epochs == 3
    assert recipe.targets == ("q_proj",)


def test_many_epochs_and_odd_ranks_are_warned_about() -> None:
    said = " ".join(warnings(from_json({"epochs": 12, "rank": 2, "alpha": 64})))
    assert "12 epochs" in said
    assert "rank 2" in said
    assert "alpha 64" in said


def test_a_recipe_file_may_be_yaml_or_json_and_errors_name_it(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("rank: 8\nepochs: 4\n")
    (tmp_path / "r.json").write_text('{"rank": 8, "epochs": 4}')
    assert read_changes(tmp_path / "r.yaml") == read_changes(tmp_path / "r.json") == {"rank": 8, "epochs": 4}
    for name, text in (("list.yaml", "- 1"), ("broken.json", "{"), ("broken.yaml", "a: [")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match=name):
            read_changes(tmp_path / name)
    with pytest.raises(ConfigError, match="missing"):
        read_changes(tmp_path / "missing.yaml")


def test_a_refusal_names_where_the_value_stands_and_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("rank: 8\nepochs: 0\n")
    with pytest.raises(ConfigError, match=r"r\.yaml:2: epochs must be from 1 to 1000, not 0") as refused:
        read_changes(tmp_path / "r.yaml")
    assert refused.value.fix == "write epochs: 3"
    (tmp_path / "r.json").write_text('{"targets": 7}')
    with pytest.raises(ConfigError, match=r"r\.json:1: targets must be a list of module names, not 7") as refused:
        read_changes(tmp_path / "r.json")
    assert refused.value.fix == 'write targets: ["all-linear"]'
    with pytest.raises(ConfigError, match=r"^training: batch must be"):
        resolve(Config(batch=0), {"epochs": 2})
    with pytest.raises(ConfigError, match=r"^training\.update: epochs must be"):
        resolve(Config(update={"epochs": 0}), continued=True)
    with pytest.raises(ConfigError, match=r"^recipe: dtype must be one of") as refused:
        resolve(Config(batch=4), {"dtype": "int8"})
    assert refused.value.fix == "write dtype: auto"


def test_full_tuning_takes_a_rate_of_its_own_unless_one_is_named() -> None:
    assert resolve(Config(), {"method": "full"}).learning_rate == 2e-5
    assert resolve(Config(method="full")).learning_rate == 2e-5
    assert resolve(Config(), {"method": "full", "learning_rate": 2e-4}).learning_rate == 2e-4
    assert resolve(Config(learning_rate=1e-3), {"method": "full"}).learning_rate == 1e-3
    whole = resolve(Config(), {"method": "full", "learning_rate": 2e-4})
    assert resolve(Config(), whole.as_json()) == whole, "a recipe on record stays what it was"
    assert warnings(whole) == ("learning_rate 0.0002 is an adapter's; full tuning usually takes 1e-5 to 5e-5",)
    assert warnings(resolve(Config(), {"method": "full"})) == ()


@pytest.mark.parametrize(
    ("changes", "why", "fix"),
    [
        ({"method": "full", "rank": 8, "dropout": 0.1}, "rank belongs to an adapter", "leave out rank, dropout"),
        ({"method": "whole"}, "method must be one of lora, full", "write method: lora"),
        ({"method": "full", "dtype": "float16"}, "loses small gradients in float16", "set dtype to bfloat16 or float32"),
    ],
)
def test_what_makes_no_sense_beside_full_tuning_is_refused(changes: dict[str, object], why: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        resolve(Config(), changes)
    assert refused.value.fix == fix
    with pytest.raises(ConfigError, match="dora is a kind of adapter, and method: full has none"):
        resolve(Config(dora=True), {"method": "full"})


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("r.yaml", "epochs: 3\nepochs: 4\n", "key 'epochs' stands twice"),
        ("r.json", '{"epochs": 3, "epochs": 4}', "key 'epochs' stands twice"),
        ("r.yaml", "a: &a [x]\nrank: *a\n", r"alias \*a is not allowed"),
        ("r.json", "[" * 99_000, "recursion"),
        ("r.yaml", "# " + "x" * 100_000, "too many for a recipe"),
    ],
)
def test_a_recipe_file_that_says_two_things_or_too_much_is_refused(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=why):
        read_changes(tmp_path / name)


def test_a_rate_may_be_written_as_people_write_it(tmp_path: Path) -> None:
    for text in ("2e-5", "2E-05", "2.0e-5", "0.00002"):
        (tmp_path / "r.yaml").write_text(f"learning_rate: {text}\n")
        assert resolve(Config(), read_changes(tmp_path / "r.yaml")).learning_rate == 2e-5
    with pytest.raises(ConfigError, match="learning_rate must be float, not '2e-5x'"):
        resolve(Config(), {"learning_rate": "2e-5x"})


@pytest.mark.parametrize(
    "text", ["rank: !!bool maybe", "rank: !!int ''", "a: !!timestamp x", "rank: 0x" + "f" * 5000, "rank: " + "9" * 400]
)
def test_a_value_that_does_not_fit_its_tag_or_any_number_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"r\.yaml:?.*(does not fit its tag|not a huge number)"):
        read_changes(tmp_path / "r.yaml")
