from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.training.conftest import BASE
from tunekeeper.core.errors import ArtifactError
from tunekeeper.training.base import read_base
from tunekeeper.training.importing import import_adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A rank-2 adapter of one layer, as PEFT writes it."""
    folder = tmp_path / "lora"
    folder.mkdir()
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = {f"{stem}.lora_A.weight": (2, 256), f"{stem}.lora_B.weight": (256, 2)}
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]})
    )
    return folder


def test_an_adapter_from_elsewhere_becomes_a_version_once(ws, task, adapter):
    made = import_adapter(ws, task, adapter, BASE)
    assert (made.name, made.run, made.metadata["rank"]) == ("v1.0-2026-01-05-0examples", None, 2)
    assert import_adapter(ws, task, adapter, BASE) == made
    kept = ws.blobs.checkout_folder(made.adapter, adapter.parent / "out")
    assert {path.name for path in kept.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "tunekeeper.json"}
    assert json.loads((kept / "tunekeeper.json").read_text())["base_digest"] == made.base_digest


def test_an_adapter_of_another_base_is_refused_with_both_digests(ws, task, adapter, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in BASE.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    weights = next(other.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"belongs to .*other \(sha256:.*is built on .*base \(sha256:"):
        import_adapter(ws, task, adapter, other)
    (adapter / "tunekeeper.json").write_text(json.dumps({"base_digest": "sha256:feed"}))
    with pytest.raises(ArtifactError, match="names base sha256:feed"):
        import_adapter(ws, task, adapter, BASE)


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_an_adapter_of_the_base_with_another_tokenizer_or_template_is_refused_with_both_digests(
    ws, task, adapter, tmp_path, name
):
    other = shutil.copytree(BASE, tmp_path / "other")
    (other / name).write_text((other / name).read_text() + "\n")
    with pytest.raises(ArtifactError, match=r"(tokenizer|chat template) \(sha256:.*is another than that of .*base \(sha256:"):
        import_adapter(ws, task, adapter, other)

    theirs = read_base(other)
    told = {"tokenizer_digest": theirs.tokenizer_digest, "template_digest": theirs.template_digest}
    (adapter / "tunekeeper.json").write_text(json.dumps({"base_digest": theirs.digest, **told}))
    with pytest.raises(ArtifactError, match=r"names (tokenizer|template) sha256:.*, that of .*base is sha256:"):
        import_adapter(ws, task, adapter, BASE)


def test_a_folder_without_safetensors_is_refused(ws, task, adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ArtifactError, match="save the adapter as safetensors"):
        import_adapter(ws, task, adapter, BASE)
