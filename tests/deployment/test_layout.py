from __future__ import annotations

from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.deployment.layout import BASE_FILE, base_path, files_of

BASE = "models/desk/base/qwen-0.5b-01234567-Q4_K_M.gguf"


def artifact(**fields: object) -> Artifact:
    return Artifact(id="art_1", model="desk", version="desk@v1", engine="llamacpp", digest="sha256:a", **fields)  # type: ignore[arg-type]


def test_a_base_is_called_by_its_folder_its_weights_and_its_type() -> None:
    assert base_path("desk", "../bases/qwen-0.5b", "sha256:0123456789ab", "Q4_K_M") == BASE
    assert base_path("desk", "a folder/ö 1", "sha256:fedcba9876", "f16") == "models/desk/base/ö-1-fedcba98-f16.gguf"
    assert base_path("desk", "/", "sha256:fedcba9876", "f16") == "models/desk/base/base-fedcba98-f16.gguf"


def test_a_whole_file_lies_under_its_versions_name_and_an_adapter_beside_its_base() -> None:
    assert files_of(artifact(), "v1.0") == {"model": ("models/desk/v1.0.gguf", "sha256:a")}
    assert files_of(artifact(base="sha256:b", metadata={BASE_FILE: BASE}), "v1.0") == {
        "model": (BASE, "sha256:b"),
        "lora": ("models/desk/adapters/v1.0.gguf", "sha256:a"),
    }
    assert files_of(artifact(metadata={BASE_FILE: BASE}), "v0.0") == {"model": (BASE, "sha256:a")}, "the base itself"
