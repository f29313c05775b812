"""A merged checkpoint is what transformers computes with base and adapter; damaged, foreign and impossible ones are refused."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.deployment.checkpoints import CHATML, edit_json
from tests.deployment.merged import hear
from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_other_base
from tunekeeper.core.errors import ArtifactError, DiskFull, UserError
from tunekeeper.core.ids import digest_bytes
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.inspect import verify
from tunekeeper.deployment.merging import merge_folder, plan_merge, read_merged
from tunekeeper.deployment.safetensors import open_folder, read_header
from tunekeeper.text.tokenizers import read_tokenizer

MERGED = ("llama", "mistral-rslora", "qwen2-ranks", "qwen2-dora", "qwen2-tied", "qwen3-head", "gemma3", "phi3")


@pytest.mark.real
def test_transformers_loads_it_back_and_computes_what_base_and_adapter_do(made: Path, tmp_path: Path) -> None:
    pairs = []
    for plan in MERGED:
        out = tmp_path / plan
        merge_folder(made / plan / "base", made / plan / "adapter", "f32", out, shard=40_000 if plan == "llama" else 1 << 30)
        pairs.append((out, made / plan / "transcript.jsonl"))
    for kind in ("bf16", "f16"):
        merge_folder(made / "qwen2-dora" / "base", made / "qwen2-dora" / "adapter", kind, tmp_path / kind)
        pairs.append((tmp_path / kind, made / "qwen2-dora" / "transcript.jsonl"))

    heard = hear(pairs)

    assert len(sorted((tmp_path / "llama").glob("model-*-of-*.safetensors"))) > 3
    for (folder, _), said in zip(pairs, heard, strict=True):
        assert said.prompts, folder.name
        if folder.name in MERGED:
            assert (said.agree, said.dtype) == (True, "float32"), folder.name
            assert said.worst < 1e-4, (folder.name, said.worst)
    assert [said.dtype for said in heard[-2:]] == ["bfloat16", "float16"]
    assert heard[-2].worst < 0.5
    assert heard[-1].worst < 0.05


def test_its_type_is_the_base_s_own_where_nothing_is_said(made: Path, tmp_path: Path) -> None:
    done = merge_folder(made / "llama-linear-bf16" / "base", None, None, tmp_path / "m")

    assert (done.dtype, done.shards, done.adapter_digest) == ("bf16", 1, None)
    before, after = (open_folder(folder) for folder in (made / "llama-linear-bf16" / "base", tmp_path / "m"))
    assert {name: after.shape(name) for name in after} == {name: before.shape(name) for name in before}
    assert all((before[name] == after[name]).all() for name in before), "what no adapter touches keeps its bytes"


def test_it_is_a_checkpoint_with_a_sidecar_that_every_file_is_held_to(made: Path, tmp_path: Path) -> None:
    base, adapter, out = made / "qwen2-dora" / "base", made / "qwen2-dora" / "adapter", tmp_path / "m"
    planned = plan_merge(base, adapter, "f16", out)
    assert not out.exists()

    done = merge_folder(base, adapter, "f16", out)

    assert (planned.bytes, planned.shards, planned.digest) == (done.bytes, done.shards, "")
    assert done.digest == weights_digest(out)
    assert done.base_digest == weights_digest(base)
    assert {tensor.dtype for tensor in read_header(out / "model.safetensors").values()} == {"F16"}
    assert set(load_file(out / "model.safetensors")) == set(load_file(base / "model.safetensors")), "the official reader takes it"
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        if (base / name).exists():
            assert (out / name).read_bytes() == (base / name).read_bytes()
    assert read_merged(out) == done
    assert verify(out)["verified"] == len(list(out.iterdir())) - 1
    (out / "config.json").write_text("{}")
    for check in (read_merged, verify):
        with pytest.raises(ArtifactError, match=r"config.json: its digest is .* changed or damaged"):
            check(out)
    (out / "tokenizer.json").unlink()
    edit_json(out / "tunekeeper.json", files={"tokenizer.json": "sha256:0", "../x": "sha256:0"})
    with pytest.raises(ArtifactError, match="missing"):
        verify(out)


def test_one_side_of_tied_embeddings_becomes_two_tensors(made: Path, tmp_path: Path) -> None:
    done = merge_folder(made / "qwen2-tied" / "base", made / "qwen2-tied" / "adapter", None, tmp_path / "m")
    assert "an output layer of its own" in done.notes[-1]
    assert json.loads((tmp_path / "m" / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in open_folder(tmp_path / "m")


def test_a_family_that_llama_cpp_would_compute_otherwise_is_merged_all_the_same(made: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(made / "llama" / "base", tmp_path / "base"))
    edit_json(base / "config.json", architectures=["NewForCausalLM"], rope_scaling={"type": "dynamic", "factor": 2.0})
    adapter = Path(shutil.copytree(made / "llama" / "adapter", tmp_path / "adapter"))
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="elsewhere")

    done = merge_folder(base, adapter, "f16", tmp_path / "m")

    assert done.notes == ("nothing but its dimensions says that the adapter was trained on this base",)


def test_an_adapter_of_another_base_leaves_nothing(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "a", base=weights_digest(make_other_base(tmp_path / "other")))

    with pytest.raises(ArtifactError, match="the adapter was trained on base"):
        merge_folder(BASE, adapter, None, tmp_path / "m")

    assert not (tmp_path / "m").exists()
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, out = Path(shutil.copytree(made / "llama" / "base", tmp_path / "base")), tmp_path / "m"
    with pytest.raises(UserError, match="known: f32, f16, bf16"):
        merge_folder(base, None, "Q8_0", out)
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists"):
        merge_folder(base, None, None, tmp_path / "there")
    for key, why in (("auto_map", "brings its own code"), ("quantization_config", "already quantized")):
        edit_json(base / "config.json", **{key: {"a": "b"}})
        with pytest.raises(ArtifactError, match=why):
            merge_folder(base, None, None, out)
        edit_json(base / "config.json", **{key: None})
    header = read_header(base / "model.safetensors")["model.norm.weight"]
    with (base / "model.safetensors").open("r+b") as file:
        file.seek(header.start)
        file.write(struct.pack("<f", 1e6))
    with pytest.raises(ArtifactError, match=r"model.norm.weight has values above 65504.*--dtype bf16"):
        merge_folder(base, None, "f16", out)
    with (base / "model.safetensors").open("r+b") as file:
        file.seek(header.start)
        file.write(struct.pack("<f", float("nan")))
    with pytest.raises(ArtifactError, match="not numbers"):
        merge_folder(base, None, "bf16", out)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DiskFull, match="are free"):
        merge_folder(base, None, "f32", out)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_sidecar_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "tunekeeper.json").write_text('{"base_digest": "sha256:1"}')
    with pytest.raises(ArtifactError, match="not of a merged checkpoint"):
        read_merged(tmp_path)


def test_templates_in_files_of_their_own_come_along(copy: Callable[[str], Path], tmp_path: Path) -> None:
    base = copy("qwen2-dora/base")
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tool_use.jinja").write_text("with tools")
    merge_folder(base, None, "f16", tmp_path / "m")
    before, after = (read_tokenizer(each).template_digest for each in (base, tmp_path / "m"))
    assert before == after != digest_bytes(CHATML.encode())
    assert verify(tmp_path / "m")["verified"]


def test_weights_that_transformers_does_not_load_are_not_in_the_digest(copy: Callable[[str], Path]) -> None:
    """As the same ones once more in their maker's layout; of files that an index names, a missing one is told."""
    base = copy("qwen2-dora/base")
    before = weights_digest(base)
    shutil.copyfile(base / "model.safetensors", base / "consolidated.safetensors")
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert weights_digest(base) == before
    assert len(open_folder(base).places) == len(read_header(base / "model.safetensors"))
    (base / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"model-1\.safetensors: missing"):
        weights_digest(base)
