from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.test_header import part_of
from tunekeeper.core.errors import ArtifactError, NotFound
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.inspect import inspect, verify

Copy = Callable[[str], Path]


def test_what_is_no_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "absent"):
        with pytest.raises((ArtifactError, NotFound)) as refused:
            inspect(wrong)
        assert refused.value.fix


def test_each_kind_of_file_is_recognised(made: Path, tmp_path: Path) -> None:
    export_folder(made / "wide" / "base", None, "Q4_K_M", tmp_path / "m.gguf")

    assert inspect(tmp_path / "m.gguf")["types"] == {"F32": 11, "Q4_K": 12, "Q6_K": 3}
    assert inspect(made / "llama" / "base" / "model.safetensors")["kind"] == "safetensors"
    assert inspect(made / "llama" / "adapter")["kind"] == "adapter"
    found = inspect(made / "llama" / "base")
    assert (found["kind"], found["architecture"], found["context"]) == ("checkpoint", "llama", 512)
    with pytest.raises(NotFound):
        inspect(tmp_path / "nothing.gguf")


def test_the_parts_of_a_split_model_that_are_missing_are_named(tmp_path: Path) -> None:
    for number in (0, 2):
        (tmp_path / f"m-{number + 1:05}-of-00003.gguf").write_bytes(part_of(number, 3))

    found = inspect(tmp_path / "m-00001-of-00003.gguf")

    assert found["split"] == {"part": 1, "of": 3, "missing": ["m-00002-of-00003.gguf"]}


def test_whether_an_adapter_fits_is_said_with_what_proves_it(made: Path, copy: Copy) -> None:
    base = made / "llama" / "base"
    assert inspect(made / "llama" / "adapter", base)["proven"] is True

    unproven = copy("llama/adapter")
    config = json.loads((unproven / "adapter_config.json").read_text())
    (unproven / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "somewhere/else"}))
    assert inspect(unproven, base) | {"path": ""} == {
        "kind": "adapter", "path": "", "base": str(base), "fits": True, "proven": False, "weights": 14, "merge_only": None,
    }  # fmt: skip
    with pytest.raises(ArtifactError, match="another base"):
        inspect(unproven, made / "wide" / "base")


def test_an_adapter_file_is_compared_with_the_base_too(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.gguf"
    export_folder(made / "llama" / "base", made / "llama" / "adapter", "f16", out, adapter_only=True)

    assert inspect(out, made / "llama" / "base")["proven"] is True
    for other, why in (("qwen2-dora", "for llama"), ("llama-bias", "was made for base")):
        with pytest.raises(ArtifactError, match=why):
            inspect(out, made / other / "base")
    with pytest.raises(ArtifactError, match="cannot fit a base"):
        inspect(made / "llama" / "base" / "model.safetensors", made / "llama" / "base")


def test_nothing_is_executed_imported_or_unpickled(made: Path, copy: Copy, tmp_path: Path) -> None:
    base = copy("llama/base")
    (base / "modeling_evil.py").write_text("raise SystemExit('ran')")
    (base / "config.json").write_text(
        json.dumps(json.loads((base / "config.json").read_text()) | {"auto_map": {"AutoModelForCausalLM": "modeling_evil.M"}})
    )
    events: list[str] = []
    inspect(made / "llama" / "adapter", made / "llama" / "base")  # imports of our own happen here
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in ("pickle.find_class", "exec", "subprocess.Popen", "os.system", "import"):
            events.append(f"{event} {arguments[:1]}")

    sys.addaudithook(hook)
    try:
        inspect(made / "llama" / "adapter", made / "llama" / "base")
        with pytest.raises(ArtifactError, match="its own code"):
            inspect(base)
    finally:
        watching = False

    assert events == []


def test_a_changed_byte_is_found_by_its_digest(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    done = export_folder(made / "llama" / "base", None, "f16", out)
    assert verify(out) == verify(tmp_path) == {"verified": 1, "files": {str(out): done.digest}}

    data = bytearray(out.read_bytes())
    for at in range(0, len(data), len(data) // 40):
        data[at] ^= 4
        out.write_bytes(data)
        with pytest.raises(ArtifactError, match="changed or damaged"):
            verify(out)
        data[at] ^= 4

    (tmp_path / "m.gguf.sha256").unlink()
    with pytest.raises(NotFound, match=r"m\.gguf\.sha256"):
        verify(out)
    with pytest.raises(NotFound, match="no file in it"):
        verify(tmp_path)


def test_a_link_is_compared_with_what_is_recorded_beside_the_file_it_leads_to(made: Path, tmp_path: Path) -> None:
    kept, shown = tmp_path / "kept" / "v1.gguf", tmp_path / "shown"
    kept.parent.mkdir()
    shown.mkdir()
    kept.touch()
    (shown / "current.gguf").symlink_to(kept)
    done = export_folder(made / "llama" / "base", None, "f16", shown / "current.gguf")
    found = {"verified": 1, "files": {str(shown / "current.gguf"): done.digest}}
    assert verify(shown / "current.gguf") == verify(shown) == found
    assert verify(kept)["files"] == {str(kept): done.digest}

    kept.with_name("v1.gguf.sha256").rename(shown / "current.gguf.sha256")  # as sha256sum writes it for the link
    assert verify(shown / "current.gguf") == verify(shown) == found

    kept.unlink()
    for place in (shown / "current.gguf", shown):
        with pytest.raises((NotFound, ArtifactError), match=r"current\.gguf"):
            verify(place)
