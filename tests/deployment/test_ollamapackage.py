from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.deployment.ollama import BASE, SYSTEM, make_file, make_transcript
from tunekeeper.core.errors import ArtifactError, UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.ollamapackage import common_system, make_package, read_dialect, settings
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.weights import Served


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("gguf") / "m.gguf")


def make_adapter(path: Path, *, base: str, arch: str = "qwen2", name: str = "blk.0.attn_q.weight", rows: int = 256) -> Path:
    """An adapter of one tensor pair, as our writer names them."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_string("tunekeeper.base_digest", base)
    writer.add_tensor(f"{name}.lora_a", np.ones((4, 256), np.float32))
    writer.add_tensor(f"{name}.lora_b", np.ones((rows, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_everything_comes_from_the_file_and_its_transcript(file: Path, tmp_path: Path) -> None:
    references = read_transcript(make_transcript(tmp_path / "t.jsonl"))
    made = make_package("desk:v1.0", Served(model=file), references=references, sampling={"temperature": 0, "num_ctx": 512})
    assert made.system == SYSTEM["content"]
    assert made.parameters == {"stop": ["<|im_end|>"], "repeat_penalty": 1.0, "temperature": 0, "num_ctx": 512}
    assert (made.quantized, made.notes, made.files) == (False, (), ((file, digest_file(file)),))
    body = made.body()
    assert body["files"] == {"model.gguf": digest_file(file)}
    assert body.keys() == {"model", "files", "template", "parameters", "system"}


def test_the_system_prompt_is_put_before_requests_only_where_training_always_had_it(tmp_path: Path) -> None:
    with_one = read_transcript(make_transcript(tmp_path / "a.jsonl"))
    without = read_transcript(make_transcript(tmp_path / "b.jsonl", system=False))
    assert common_system(with_one) == SYSTEM["content"]
    assert common_system(without) is None
    assert common_system([*with_one, *without]) is None
    assert common_system([]) is None


def test_a_transcript_that_the_template_does_not_write_is_refused(file: Path, tmp_path: Path) -> None:
    references = [
        dataclasses.replace(each, rendered=each.rendered + "x") for each in read_transcript(make_transcript(tmp_path / "t.jsonl"))
    ]
    with pytest.raises(ArtifactError, match="where training wrote 'x'"):
        make_package("desk:v1.0", Served(model=file), references=references)


@pytest.mark.parametrize("wrong", [{"temperature": "hot"}, {"mirostat": 2}, {"logit_bias": 1}, {"top_k": True}])
def test_a_setting_that_ollama_does_not_have_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="has no place in Ollama"):
        settings(wrong)


def test_settings_are_named_as_ollama_names_them_and_repetition_is_not_punished_unasked() -> None:
    assert settings({"max_tokens": 9, "mirostat": 0}) == {"repeat_penalty": 1.0, "num_predict": 9}
    assert settings({"repeat_penalty": 1.3}) == {"repeat_penalty": 1.3}


def test_an_adapter_of_this_base_is_sent_beside_the_bare_model(file: Path, tmp_path: Path) -> None:
    lora = make_adapter(tmp_path / "a.gguf", base=weights_digest(BASE))
    made = make_package("desk:v1.0", Served(model=file, lora=lora))
    assert made.body()["adapters"] == {"adapter.gguf": digest_file(lora)}
    assert [path for path, _ in made.files] == [file, lora]


@pytest.mark.parametrize(
    ("wrong", "scale", "why"),
    [
        ({"base": "sha256:other"}, 1.0, "made for base sha256:other"),
        ({"base": weights_digest(BASE), "arch": "llama"}, 1.0, "an adapter for llama"),
        ({"base": weights_digest(BASE), "rows": 128}, 1.0, "does not fit"),
        ({"base": weights_digest(BASE), "name": "blk.9.attn_q.weight"}, 1.0, "does not fit"),
        ({"base": weights_digest(BASE)}, 0.5, "applies an adapter at scale 1"),
    ],
)
def test_a_foreign_or_misshapen_adapter_is_refused(
    file: Path, tmp_path: Path, wrong: dict[str, Any], scale: float, why: str
) -> None:
    lora = make_adapter(tmp_path / "a.gguf", **wrong)
    with pytest.raises(ArtifactError, match=why):
        make_package("desk:v1.0", Served(model=file, lora=lora, lora_scale=scale))


def test_files_that_are_not_what_they_are_given_for_are_refused(file: Path, tmp_path: Path) -> None:
    lora = make_adapter(tmp_path / "a.gguf", base="")
    with pytest.raises(ArtifactError, match="an adapter, not a model"):
        make_package("desk:v1.0", Served(model=lora))
    with pytest.raises(ArtifactError, match="a model, not an adapter"):
        make_package("desk:v1.0", Served(model=file, lora=file))
    with pytest.raises(UserError, match="latest is no version"):
        make_package("desk:latest", Served(model=file))


def test_a_file_without_a_chat_template_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "bare.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_tensor("output.weight", np.ones((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_dialect(path) == (None, ())
    with pytest.raises(ArtifactError, match="--template FILE"):
        make_package("desk:v1.0", Served(model=path))
    made = make_package("desk:v1.0", Served(model=path), template="{{ .System }}")
    assert made.notes == ("nothing says that the template is right",)
