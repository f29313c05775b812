"""Which layer a wrong tensor of a quantized file is blamed on, by its values alone: no server is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deployment.test_compare import copied
from tunekeeper.deployment.adapter import Adapter, Part
from tunekeeper.deployment.checkpoint import Checkpoint, open_checkpoint
from tunekeeper.deployment.gguf import write_model
from tunekeeper.deployment.parity import Compared, Limits, Measured, decide
from tunekeeper.deployment.quantize import quantize_file
from tunekeeper.deployment.weights import Served, weigh

UP = "model.layers.1.mlp.up_proj.weight"
IN_FILE = "blk.1.ffn_up.weight"
Change = Callable[[Part], Part]


@pytest.fixture(scope="module")
def base(made: Path) -> Checkpoint:
    return open_checkpoint(made / "wide" / "base")


@pytest.fixture(scope="module")
def dora(base: Checkpoint) -> Adapter:
    """A DoRA adapter whose magnitudes have moved by some hundredths, as training moves them."""
    chance, parts = np.random.default_rng(11), {}
    for name in (UP, UP.replace("layers.1", "layers.0")):
        weight = np.asarray(base.weights[name], np.float32)
        a, b = (chance.standard_normal(shape).astype(np.float32) for shape in ((4, weight.shape[1]), (weight.shape[0], 4)))
        scale = 0.1 * float(weight.std())
        norms = np.linalg.norm(weight + scale * b @ a, axis=1)
        moved = 0.985 + 0.03 * chance.standard_normal(norms.shape).astype(np.float32)
        parts[name] = Part(weight=name, a=a, b=b, scale=scale, magnitude=norms * moved)
    return Adapter(folder=Path("dora"), parts=parts, replaced={}, alpha=8, rank=4, scale=2.0, base_digest=None)


def written(base: Checkpoint, adapter: Adapter, kind: str, folder: Path) -> Path:
    write_model(base, adapter, folder / "f32.gguf", "f32", name="m")
    quantize_file(folder / "f32.gguf", folder / f"{kind}.gguf", kind)
    return folder / f"{kind}.gguf"


def blamed(file: Path, base: Checkpoint, adapter: Adapter) -> str | None:
    """The layer that parity names when everything but the weights is right."""
    same = Compared(n=4)
    weighed = weigh(Served(model=file), base, adapter)
    return decide(Measured(template=same, stop=same, tokenizer=same, plain=None, weighed=weighed, sampling=same), Limits()).layer


@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K"])
@pytest.mark.parametrize(
    "change",
    [
        lambda part: replace(part, scale=0.0),
        lambda part: replace(part, scale=2 * part.scale),
        lambda part: replace(part, scale=-part.scale),
        lambda part: replace(part, magnitude=None),
        lambda part: replace(part, magnitude=np.roll(part.magnitude, 3)),
        lambda part: replace(part, a=np.roll(part.a, 7, axis=1), magnitude=np.roll(part.magnitude, 3)),
    ],
    ids=["no product", "twice", "subtracted", "no magnitudes", "magnitudes of other rows", "another adapter"],
)
def test_dora_that_was_merged_otherwise_is_a_merging_fault_under_quantization_too(
    base: Checkpoint, dora: Adapter, tmp_path: Path, change: Change, kind: str
) -> None:
    wrong = replace(dora, parts={**dora.parts, UP: change(dora.parts[UP])})

    assert blamed(written(base, wrong, kind, tmp_path), base, dora) == "merge"


@pytest.fixture(scope="module")
def right(base: Checkpoint, dora: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(base, dora, "Q8_0", tmp_path_factory.mktemp("right"))


def test_the_right_dora_file_passes(base: Checkpoint, dora: Adapter, right: Path) -> None:
    assert blamed(right, base, dora) is None


def zeroed(data: Any, chance: np.random.Generator) -> Any:
    data[:16] = 0
    return data


def flipped(data: Any, chance: np.random.Generator) -> Any:
    flat = data.reshape(-1)
    flat[chance.integers(0, flat.size, flat.size // 200)] ^= 8
    return data


def moved(data: Any, chance: np.random.Generator) -> Any:
    data[:16] = np.roll(data[:16], 34, axis=1)
    return data


def louder(data: Any, chance: np.random.Generator) -> Any:
    blocks = data.reshape(-1, 34)
    blocks[:, :2] = (blocks[:, :2].copy().view(np.float16) * np.float16(1.05)).view(np.uint8)
    return data


@pytest.mark.parametrize("damage", [zeroed, flipped, moved, louder])
@pytest.mark.parametrize("plain", [True, False], ids=["lora", "dora"])
def test_damage_of_a_few_rows_or_blocks_is_a_quantization_fault_though_it_has_few_directions(
    base: Checkpoint, dora: Adapter, tmp_path: Path, damage: Callable[[Any, np.random.Generator], Any], plain: bool
) -> None:
    parts = {name: replace(part, magnitude=None) if plain else part for name, part in dora.parts.items()}
    adapter, chance = replace(dora, parts=parts), np.random.default_rng(5)
    source = written(base, adapter, "Q8_0", tmp_path)

    file = copied(source, tmp_path / "m.gguf", lambda name, old: damage(old, chance) if name == IN_FILE else old)

    assert blamed(file, base, adapter) == "quantization"
