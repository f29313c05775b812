"""Checkpoint folders: digests, templates, headers, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_bytes, digest_file, digest_json
from tunekeeper.training.base import embeddings, parameters, read_base, talking_base
from tunekeeper.training.header import tensor_header

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


def write(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    """A safetensors file of {name: (type, dimensions, bytes)}."""
    at, header = 0, {}
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + b"".join(data for _, _, data in tensors.values()))
    return path


def settings(folder: Path, name: str = "config.json", **values: Any) -> None:
    """Change values of a settings file."""
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def sharded(folder: Path) -> tuple[Path, Path]:
    """The weights of a checkpoint folder in two files with an index; both."""
    whole = folder / "model.safetensors"
    data = whole.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    every = {
        name: (entry["dtype"], entry["shape"], data[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]])
        for name, entry in tensor_header(whole).items()
    }
    whole.unlink()
    names = sorted(every)
    parts = (names[: len(names) // 2], names[len(names) // 2 :])
    files = (folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors")
    for file, part in zip(files, parts, strict=True):
        write(file, {name: every[name] for name in part})
    places = {name: file.name for file, part in zip(files, parts, strict=True) for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return files


def test_the_files_that_an_index_names_have_one_digest_together(copy: Path) -> None:
    files = sharded(copy)
    assert read_base(copy).digest == digest_json({file.name: digest_file(file) for file in files})
    assert parameters(copy) == parameters(BASE)


def test_weights_that_are_not_loaded_do_not_count(copy: Path) -> None:
    """Such as the same ones once more in their maker's own layout, as Mistral's checkpoints have them."""
    one, numbers = read_base(copy), parameters(copy)
    write(copy / "consolidated.safetensors", {"x": ("F32", [4], bytes(16))})
    assert (read_base(copy), parameters(copy)) == (one, numbers)
    whole = (copy / "model.safetensors").read_bytes()
    sharded(copy)
    (copy / "model.safetensors").write_bytes(whole)
    assert (read_base(copy), parameters(copy)) == (one, numbers)


def test_a_missing_file_of_the_index_is_named_before_anything_is_loaded(copy: Path) -> None:
    _, second = sharded(copy)
    second.unlink()
    with pytest.raises(ArtifactError, match=r"model-00002-of-00002\.safetensors: missing"):
        read_base(copy)


@pytest.mark.parametrize("name", ["../outside.safetensors", "sub/part.safetensors", ".hidden.safetensors", "weights.bin"])
def test_weights_that_an_index_finds_elsewhere_are_refused(copy: Path, name: str) -> None:
    sharded(copy)
    index = copy / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002-of-00002.safetensors", name))
    (copy / "sub").mkdir()
    shutil.move(copy / "model-00002-of-00002.safetensors", copy / name)
    with pytest.raises(ArtifactError, match="is no safetensors file beside it"):
        read_base(copy)


def test_an_index_without_files_and_files_without_an_index_are_refused(copy: Path) -> None:
    sharded(copy)
    index = copy / "model.safetensors.index.json"
    for broken in ({}, {"weight_map": []}, {"weight_map": {"a": 1}}):
        index.write_text(json.dumps(broken))
        with pytest.raises(ArtifactError, match="names no files"):
            read_base(copy)
    index.unlink()
    with pytest.raises(ArtifactError, match="says which of its files are the weights"):
        read_base(copy)


def test_an_adapter_in_the_folder_of_a_base_is_refused(copy: Path) -> None:
    """transformers would put it on, and the base would be another than its digest says."""
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="holds an adapter") as caught:
        read_base(copy)
    assert "a folder of their own" in (caught.value.fix or "")


def test_weights_that_the_config_finds_elsewhere_are_refused(copy: Path) -> None:
    settings(copy, transformers_weights="sub/model.safetensors")
    with pytest.raises(ArtifactError, match="transformers_weights names 'sub/model"):
        read_base(copy)


def test_a_checkpoint_without_a_tensor_is_refused(copy: Path) -> None:
    write(copy / "model.safetensors", {})
    with pytest.raises(ArtifactError, match="hold no tensor"):
        read_base(copy)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config \\(gptq\\)"),
        ({"quantization_config": {"quant_method": "awq"}}, "already quantized"),
        ({"quantization_config": "odd"}, "already quantized"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}, "brings its own code"),
    ],
)
def test_a_base_whose_adapter_could_not_be_exported_is_refused_before_it_is_trained(
    copy: Path, changes: dict[str, Any], why: str
) -> None:
    settings(copy, **changes)
    with pytest.raises(ArtifactError, match=why) as caught:
        talking_base(copy)
    assert caught.value.fix


def test_weights_in_eight_bits_are_refused_for_training(copy: Path) -> None:
    write(copy / "model.safetensors", {"a": ("F8_E4M3", [2, 2], bytes(4))})
    with pytest.raises(ArtifactError, match="8 bits or fewer"):
        talking_base(copy)


def test_the_template_is_found_in_the_tokenizer_config_as_well(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    assert read_base(copy).template_digest is None
    settings(copy, "tokenizer_config.json", chat_template="hello")
    assert read_base(copy).template_digest == digest_bytes(b"hello")


def test_of_named_templates_the_default_counts_and_the_one_for_tools(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    named = [{"name": "default", "template": "hello"}, {"name": "rag", "template": "no"}]
    settings(copy, "tokenizer_config.json", chat_template=named)
    assert talking_base(copy).template_digest == digest_bytes(b"hello")
    settings(copy, "tokenizer_config.json", chat_template=[*named, {"name": "tool_use", "template": "tools"}])
    assert talking_base(copy).template_digest == digest_json({"default": "hello", "tool_use": "tools"})
    settings(copy, "tokenizer_config.json", chat_template=named[1:])
    with pytest.raises(ArtifactError, match="chat templates for rag alone"):
        talking_base(copy)


def test_the_ids_that_a_base_has_numbers_for_are_told_by_its_config(copy: Path) -> None:
    assert embeddings(copy) == json.loads((BASE / "config.json").read_text())["vocab_size"]
    settings(copy, vocab_size=12, text_config={"vocab_size": 9})
    assert embeddings(copy) == 9
    settings(copy, vocab_size="many", text_config=3)
    assert embeddings(copy) is None


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(ArtifactError, match=f"{name}: not a plain file"):
        talking_base(copy)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "config.json").write_text("[" * 100_000),
        lambda folder: (folder / "config.json").write_bytes("{}".encode("utf-16")),
        lambda folder: (folder / "chat_template.jinja").write_bytes(b"\xe4\xf6"),
        lambda folder: os.symlink("config.json", (folder / "config.json").rename(folder / "moved").with_name("config.json")),
        lambda folder: os.symlink(
            "model.safetensors", (folder / "model.safetensors").rename(folder / "x").parent / "model.safetensors"
        ),
    ],
)
def test_files_that_cannot_be_read_are_told_in_one_line(copy: Path, spoil: Callable[[Path], Any]) -> None:
    spoil(copy)
    with pytest.raises(ArtifactError) as caught:
        talking_base(copy)
    assert str(copy) in str(caught.value)


def test_a_base_is_read_through_links_and_from_a_folder_that_cannot_be_written(copy: Path, tmp_path: Path) -> None:
    linked = tmp_path / "a folder with an ümlaut"
    linked.mkdir()
    for file in copy.iterdir():
        (linked / file.name).symlink_to(file)
    linked.chmod(0o555)
    try:
        assert talking_base(linked).digests == read_base(copy).digests
    finally:
        linked.chmod(0o755)


def test_a_truncated_weight_file_is_refused_by_name(copy: Path) -> None:
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    for size in (4, 100, len(whole) - 1):
        weights.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match=r"model\.safetensors: truncated"):
            read_base(copy)


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
