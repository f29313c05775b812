from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deployment.checkpoints import edit_json
from tests.deployment.ollama import BASE
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.source import EMBEDDING, OUTPUT, open_source


def test_it_offers_an_adapter_what_the_checkpoint_has() -> None:
    source, checkpoint = open_source(BASE), open_checkpoint(BASE)
    assert (source.tensors, source.tied, source.eos) == (checkpoint.tensors, checkpoint.tied, checkpoint.eos)


def test_a_tied_output_layer_has_a_name_of_its_own(made: Path) -> None:
    source = open_source(made / "qwen2-tied" / "base")
    assert source.tied
    assert OUTPUT not in source.weights
    assert source.tensors[OUTPUT] == source.tensors[EMBEDDING]
    assert source.tensors == open_checkpoint(made / "qwen2-tied" / "base").tensors


def test_any_family_is_read_but_no_code_and_no_quantized_weights(tmp_path: Path) -> None:
    base = Path(shutil.copytree(BASE, tmp_path / "base"))
    edit_json(base / "config.json", architectures=["BrandNewForCausalLM"], tie_word_embeddings=None)
    assert open_source(base).tied is (OUTPUT not in open_source(base).weights)
    for key, why in (("auto_map", "brings its own code"), ("quantization_config", "already quantized")):
        edit_json(base / "config.json", **{key: {"x": "y"}})
        with pytest.raises(ArtifactError, match=why):
            open_source(base)
        edit_json(base / "config.json", **{key: None})
