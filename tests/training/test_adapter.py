"""Which adapters may be continued."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError, ConfigError
from tunekeeper.training.adapter import check_parent, read_sidecar, settle, write_sidecar
from tunekeeper.training.base import Base, read_base
from tunekeeper.training.recipe import from_json

from .conftest import BASE

HERE = Base(folder=Path("base"), digest="sha256:here", tokenizer_digest="sha256:t", template_digest=None)
OTHER = Base(folder=Path("other"), digest="sha256:other", tokenizer_digest="sha256:t", template_digest=None)
RECIPE = from_json({"rank": 8, "alpha": 32})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 32}))
    write_sidecar(tmp_path, HERE, RECIPE, dataset="sha256:d", parent=None)
    return tmp_path


def test_the_sidecar_says_what_the_adapter_belongs_to(folder: Path) -> None:
    said = read_sidecar(folder)
    assert said is not None
    assert (said["base_digest"], said["dataset_digest"], said["recipe_digest"]) == ("sha256:here", "sha256:d", RECIPE.digest)
    check_parent(folder, HERE, RECIPE)


def test_the_layers_that_an_adapter_names_are_in_order_so_that_equal_ones_have_one_digest(folder: Path) -> None:
    file, found = folder / "adapter_config.json", set()
    for names in (["b", "a"], ["a", "b"]):
        file.write_text(json.dumps({"r": 8, "target_modules": names, "rank_pattern": {}, "modules_to_save": None}))
        settle(folder)
        found.add(file.read_text())
    assert len(found) == 1
    assert json.loads(found.pop()) == {"r": 8, "target_modules": ["a", "b"], "rank_pattern": {}, "modules_to_save": None}


def test_an_adapter_of_another_base_is_refused_naming_both_digests(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"sha256:here.*sha256:other"):
        check_parent(folder, OTHER, RECIPE)


def test_an_adapter_without_a_sidecar_needs_a_ledger_that_vouches_for_it(folder: Path) -> None:
    adapter_on(folder, "self_attn.q_proj")
    (folder / "tunekeeper.json").unlink()
    base, recipe = read_base(BASE), replace(RECIPE, targets=("q_proj",))
    with pytest.raises(ArtifactError, match="which base"):
        check_parent(folder, base, recipe)
    check_parent(folder, base, recipe, claimed=base.digest)
    with pytest.raises(ArtifactError, match="sha256:other"):
        check_parent(folder, base, recipe, claimed="sha256:other")


def test_a_recipe_of_another_shape_is_refused_with_the_adapters_value(folder: Path) -> None:
    with pytest.raises(ConfigError, match="rank is 16, the adapter to continue has 8"):
        check_parent(folder, HERE, from_json({"rank": 16}))
    with pytest.raises(ConfigError, match="alpha"):
        check_parent(folder, HERE, from_json({"rank": 8, "alpha": 16}))
    with pytest.raises(ConfigError, match="dora is true, the adapter to continue has false") as caught:
        check_parent(folder, HERE, from_json({"rank": 8, "alpha": 32, "dora": True}))
    assert "`dora: false`" in (caught.value.fix or "")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 32, "use_rslora": True}))
    with pytest.raises(ConfigError, match="rslora is false, the adapter to continue has true"):
        check_parent(folder, HERE, RECIPE)


@pytest.mark.parametrize(("part", "changed"), [("tokenizer", "sha256:u"), ("template", "sha256:new")])
def test_an_adapter_of_another_tokenizer_or_template_is_not_continued(folder: Path, part: str, changed: str) -> None:
    spoken = replace(HERE, template_digest="sha256:old")
    write_sidecar(folder, spoken, RECIPE, dataset="sha256:d", parent=None)
    check_parent(folder, spoken, RECIPE)
    with pytest.raises(ArtifactError, match=f"names {part} .* is {changed}") as caught:
        check_parent(folder, replace(spoken, **{f"{part}_digest": changed}), RECIPE)
    assert f"put the {part} back" in (caught.value.fix or "")


def adapter_on(folder: Path, *layers: str) -> None:
    """An adapter from elsewhere on these layers of the example's base, without a recipe of ours in its sidecar."""
    names = [f"base_model.model.model.layers.0.{layer}.lora_{half}.weight" for layer in layers for half in "AB"]
    header: dict[str, Any] = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4 * len(names))
    (folder / "tunekeeper.json").write_text(json.dumps({"base_digest": read_base(BASE).digest}))


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj"], ["q_proj", "v_proj", "o_proj"]])
def test_an_adapter_on_other_layers_than_the_recipe_names_is_not_continued(folder: Path, targets: Any) -> None:
    adapter_on(folder, "self_attn.q_proj", "self_attn.v_proj")
    base, plain = read_base(BASE), {"rank": 8, "alpha": 32}
    with pytest.raises(ConfigError, match=r'targets is .*the adapter to continue has \["q_proj", "v_proj"\]') as caught:
        check_parent(folder, base, from_json(plain | {"targets": targets}))
    assert '`targets: ["q_proj", "v_proj"]`' in (caught.value.fix or "")
    for same in (["v_proj", "q_proj"], ["self_attn.q_proj", "self_attn.v_proj"]):
        check_parent(folder, base, from_json(plain | {"targets": same}))


def test_an_adapter_on_every_layer_is_continued_by_all_linear_and_by_their_names(folder: Path) -> None:
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapter_on(folder, *names)
    for same in ("all-linear", names):
        check_parent(folder, read_base(BASE), from_json({"rank": 8, "alpha": 32, "targets": same}))


def test_a_truncated_or_missing_adapter_is_refused(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match="truncated"):
        check_parent(folder, HERE, RECIPE)
    weights.unlink()
    with pytest.raises(ArtifactError, match="holds no"):
        check_parent(folder, HERE, RECIPE)
