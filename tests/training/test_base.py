"""Checkpoint folders: digests, templates, headers, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_bytes, digest_file, digest_json
from tunekeeper.training.base import chat_template, parameters, read_base, talking_base, tensor_header

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BASE, tmp_path / "base"))


def test_a_base_has_digests_of_weights_tokenizer_and_template() -> None:
    base = read_base(BASE)
    assert base.digest == "sha256:" + hashlib.sha256((BASE / "model.safetensors").read_bytes()).hexdigest()
    assert base.tokenizer_digest == digest_file(BASE / "tokenizer.json")
    assert base.template_digest == digest_bytes((BASE / "chat_template.jinja").read_bytes())
    assert parameters(BASE) == 2_018_560


def test_several_weight_files_have_one_digest_together(copy: Path) -> None:
    shutil.copyfile(copy / "model.safetensors", copy / "more.safetensors")
    one = digest_file(copy / "model.safetensors")
    assert read_base(copy).digest == digest_json({"model.safetensors": one, "more.safetensors": one})


def test_the_template_is_found_in_the_tokenizer_config_as_well(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    assert chat_template(copy) is None
    assert read_base(copy).template_digest is None
    (copy / "tokenizer_config.json").write_text(json.dumps({"chat_template": "hello"}))
    assert chat_template(copy) == "hello"


def test_a_truncated_weight_file_is_refused_by_name(copy: Path) -> None:
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    for size in (4, 100, len(whole) - 1):
        weights.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match=r"model\.safetensors: truncated"):
            read_base(copy)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((5).to_bytes(8, "little") + b"hello")
    with pytest.raises(ArtifactError, match="header"):
        tensor_header(path)


def test_what_is_missing_is_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        read_base(tmp_path / "none")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="may run code"):
        read_base(copy)
    (copy / "config.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"config\.json: not a JSON object"):
        read_base(copy)


def test_a_base_without_a_chat_template_is_refused_for_training_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(BASE, folder)
    assert talking_base(folder) == read_base(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_base(folder).template_digest is None
    with pytest.raises(ArtifactError, match="no chat template") as caught:
        talking_base(folder)
    assert "chat_template.jinja" in (caught.value.fix or "")
