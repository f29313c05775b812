from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.files import parity_of_folder, read_subject
from tunekeeper.deployment.merging import merge_folder


@pytest.mark.real
def test_an_artifact_folder_is_compared_with_what_transformers_answers(repository: Path, tmp_path: Path) -> None:
    base = repository / "examples" / "support_desk" / "base"
    export_folder(base, None, "Q5_K_M", tmp_path / "m.gguf")
    (tmp_path / "serve.json").write_text('{"gguf": "m.gguf", "stop": ["<|im_end|>"], "sampling": {"temperature": 0}}')

    found = parity_of_folder(base, None, tmp_path)

    assert found.verdict == "pass", found
    assert all(check.n for check in found.checks)


@pytest.mark.real
def test_a_merged_checkpoint_that_lacks_its_adapter_is_blocked_and_the_layer_named(made: Path, tmp_path: Path) -> None:
    base = made / "qwen2-dora" / "base"
    merge_folder(base, None, None, tmp_path / "merged")

    found = parity_of_folder(base, made / "qwen2-dora" / "adapter", tmp_path / "merged")

    assert (found.verdict, found.layer) == ("block", "merge"), found
    assert all(check.n for check in found.checks)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({}, "names no gguf"),
        ({"gguf": "missing.gguf"}, "is not there"),
        ({"gguf": "../m.gguf"}, "outside the folder"),
        ({"gguf": "/etc/hostname"}, "outside the folder"),
        ({"gguf": "m.gguf", "lora": "a.gguf"}, r"'a\.gguf' is not there"),
        ({"gguf": "m.gguf", "stop": "</s>"}, "stop must be"),
        ({"gguf": "m.gguf", "sampling": [1]}, "sampling must be"),
        ({"gguf": "m.gguf", "lora_scale": "1"}, "lora_scale a number"),
        ({"gguf": "m.gguf", "temperature": 1}, "unknown key 'temperature'"),
    ],
)
def test_a_wrong_serve_json_is_one_clear_line(tmp_path: Path, value: dict[str, Any], why: str) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "m.gguf").write_bytes(b"")
    (folder / "serve.json").write_text(json.dumps(value))

    with pytest.raises(ArtifactError, match=why):
        read_subject(folder)


def test_what_serve_json_says_is_what_is_served(tmp_path: Path) -> None:
    for name in ("m.gguf", "a.gguf"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "serve.json").write_text(
        '{"gguf": "m.gguf", "lora": "a.gguf", "lora_scale": 2, "stop": ["x"], "sampling": {"top_k": 1}}'
    )

    subject = read_subject(tmp_path)

    assert (subject.served.model.name, subject.served.lora and subject.served.lora.name, subject.served.lora_scale) == (
        "m.gguf",
        "a.gguf",
        2.0,
    )
    assert (subject.stop, subject.sampling) == (("x",), {"top_k": 1})
