"""Adapters from outside: every tensor must change a weight that our base has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import BASE
from tests.training.hosted.conftest import SETTINGS, STEM, adapter_files
from tunekeeper.core.errors import ArtifactError
from tunekeeper.training.base import read_base
from tunekeeper.training.outside import admit

A, B = f"{STEM}.lora_A.weight", f"{STEM}.lora_B.weight"


def folder(tmp_path: Path, shapes: dict[str, tuple[int, ...]], settings: dict[str, Any] | None = None) -> Path:
    where = tmp_path / "lora"
    where.mkdir()
    for name, content in adapter_files(shapes).items():
        (where / name).write_bytes(content)
    (where / "adapter_config.json").write_text(json.dumps({**SETTINGS, **(settings or {})}))
    return where


def test_what_fits_is_copied_without_the_rest_of_the_folder(tmp_path: Path) -> None:
    lora = folder(tmp_path, {A: (2, 256), B: (256, 2)})
    (lora / "optimizer.pt").write_text("x")
    (lora / "LICENSE").write_text("MIT")
    base = read_base(BASE)
    taken = admit(lora, tmp_path / "taken", base)
    names = {path.name for path in taken.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "LICENSE", "tunekeeper.json"}
    assert json.loads((taken / "tunekeeper.json").read_text())["base_digest"] == base.digest


@pytest.mark.parametrize(
    ("shapes", "settings", "said"),
    [
        ({A: (2, 512), B: (256, 2)}, {}, "this base's weight is"),
        ({A: (2, 256), B: (512, 2)}, {}, "this base's weight is"),
        ({A: (2, 256)}, {}, "lacks its other half"),
        ({A.replace("layers.0", "layers.99"): (2, 256), B.replace("layers.0", "layers.99"): (256, 2)}, {}, "another base"),
        ({A: (2, 256), B: (256, 2)}, {"r": 8}, "has rank 2, adapter_config.json says 8"),
        ({A: (2, 256), B: (256, 2)}, {"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({f"{STEM}.base_layer.weight": (3, 3)}, {}, "another base"),
        ({}, {}, "holds no tensor"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_tensor(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArtifactError) as refused:
        admit(folder(tmp_path, shapes, settings), tmp_path / "taken", read_base(BASE))
    assert said in refused.value.message
    assert not (tmp_path / "taken").exists()


def test_a_sidecar_of_another_base_is_believed(tmp_path: Path) -> None:
    lora = folder(tmp_path, {A: (2, 256), B: (256, 2)})
    (lora / "tunekeeper.json").write_text(json.dumps({"base_digest": "sha256:other"}))
    with pytest.raises(ArtifactError, match="names base sha256:other"):
        admit(lora, tmp_path / "taken", read_base(BASE))
