from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.deployment.test_header import part_of
from tunekeeper.core.errors import ArtifactError, TunekeeperError
from tunekeeper.deployment.exporting import check_quantization, export_folder
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.inspect import verify


@pytest.mark.parametrize("kind", ["f16", "Q5_K_M"])
def test_a_checkpoint_with_its_adapter_becomes_one_file_with_its_digest(made: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "v1.0.gguf"

    done = export_folder(made / "wide" / "base", None, kind, out)
    merged = export_folder(made / "llama" / "base", made / "llama" / "adapter", kind, tmp_path / "merged.gguf")

    assert done.digest == "sha256:" + hashlib.sha256(out.read_bytes()).hexdigest()
    assert (done.quantization, done.bytes, done.fallback_tensors) == (kind, out.stat().st_size, ())
    assert (tmp_path / "v1.0.gguf.sha256").read_text() == f"{done.digest[7:]}  v1.0.gguf\n"
    assert bool(merged.fallback_tensors) == (kind == "Q5_K_M")
    assert read_gguf(out).pairs["tunekeeper.base_digest"].startswith("sha256:")
    assert "tunekeeper.adapter_digest" not in read_gguf(out).pairs
    assert read_gguf(Path(merged.path)).pairs["tunekeeper.adapter_digest"].startswith("sha256:")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["merged.gguf", "merged.gguf.sha256", "v1.0.gguf", "v1.0.gguf.sha256"]


def test_an_adapter_alone_is_written_for_the_base_it_names(made: Path, tmp_path: Path) -> None:
    done = export_folder(made / "llama" / "base", made / "llama" / "adapter", "f16", tmp_path / "a.gguf", adapter_only=True)

    assert read_gguf(Path(done.path)).adapter
    assert done.notes == ()


def test_a_gguf_file_is_quantized_but_never_twice(made: Path, tmp_path: Path) -> None:
    export_folder(made / "wide" / "base", None, "f16", tmp_path / "f16.gguf")
    straight = export_folder(made / "wide" / "base", None, "Q4_K_M", tmp_path / "a.gguf")

    again = export_folder(tmp_path / "f16.gguf", None, "Q4_K_M", tmp_path / "b.gguf")

    assert read_gguf(tmp_path / "b.gguf").tensors == read_gguf(tmp_path / "a.gguf").tensors
    assert straight.bytes == again.bytes
    with pytest.raises(ArtifactError, match="already quantized"):
        export_folder(tmp_path / "b.gguf", None, "Q8_0", tmp_path / "c.gguf")
    assert export_folder(tmp_path / "f16.gguf", None, "f16", tmp_path / "d.gguf").bytes == (tmp_path / "f16.gguf").stat().st_size


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_a_file_that_is_not_quantized_becomes_any_other_such(made: Path, tmp_path: Path, kind: str) -> None:
    for have in ("f32", "f16", "bf16"):
        export_folder(made / "wide" / "base", None, have, tmp_path / f"{have}.gguf")
    straight = (tmp_path / f"{kind}.gguf").read_bytes()

    export_folder(tmp_path / "f32.gguf", None, kind, tmp_path / "from-f32.gguf")
    assert _tensors(tmp_path / "from-f32.gguf") == _tensors(tmp_path / f"{kind}.gguf"), "as from the checkpoint"
    assert len((tmp_path / "from-f32.gguf").read_bytes()) == len(straight)
    for have in ("f16", "bf16"):
        export_folder(tmp_path / f"{have}.gguf", None, "f32", tmp_path / "wide.gguf")
        export_folder(tmp_path / "wide.gguf", None, have, tmp_path / "back.gguf")
        assert _tensors(tmp_path / "back.gguf") == _tensors(tmp_path / f"{have}.gguf"), "nothing is lost by widening"
    export_folder(tmp_path / "bf16.gguf", None, "f16", tmp_path / "half.gguf")
    assert {kind for _, kind, _ in _tensors(tmp_path / "half.gguf")} <= {"F32", "F16"}


def _tensors(path: Path) -> list[tuple[str, str, bytes]]:
    return [(tensor.name, tensor.tensor_type.name, tensor.data.tobytes()) for tensor in gguf.GGUFReader(path).tensors]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"kind": "Q3_X"}, "not known"),
        ({"source": "missing"}, "no such checkpoint"),
        ({"adapter": "mistral-rslora/adapter"}, "was trained on base"),
        ({"adapter_only": True}, "needs --adapter"),
        ({"adapter": "llama/adapter", "adapter_only": True, "kind": "Q8_0"}, "needs --adapter"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_writes_nothing(
    made: Path, tmp_path: Path, arguments: dict[str, Any], why: str
) -> None:
    source = made / arguments.get("source", "llama/base")
    adapter = made / arguments["adapter"] if "adapter" in arguments else None
    only = arguments.get("adapter_only", False)

    with pytest.raises(TunekeeperError, match=why) as caught:
        export_folder(source, adapter, arguments.get("kind", "f16"), tmp_path / "x.gguf", adapter_only=only)

    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_spelling_of_a_quantization_is_forgiven() -> None:
    assert check_quantization("q4_k_m") == "Q4_K_M"
    assert check_quantization("F16") == "f16"


def test_a_tokenizer_nobody_knows_stops_the_export(made: Path, copy: Any, tmp_path: Path) -> None:
    base = copy("qwen3-head/base")
    value = json.loads((base / "tokenizer.json").read_text())
    value["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+|\d"
    (base / "tokenizer.json").write_text(json.dumps(value))

    with pytest.raises(ArtifactError, match="would split text differently"):
        export_folder(base, None, "f16", tmp_path / "out" / "x.gguf")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (
            "{% for i in range(10) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
            "longer",
        ),
        ("{{ " + "-" * 30_000 + "1 }}", "recursion"),
        ("{% for %}", "Expected an expression"),
        ("{{ raise_exception('not for you') }}", "not for you"),
    ],
)
def test_a_chat_template_that_renders_nothing_is_refused_before_a_server_hangs_in_it(
    copy: Callable[[str], Path], tmp_path: Path, template: str, why: str
) -> None:
    base = copy("llama/base")
    (base / "chat_template.jinja").write_text(template)

    with pytest.raises(ArtifactError, match=rf"llama-base: no conversation can be rendered: .*{why}"):
        export_folder(base, None, "f16", tmp_path / "m.gguf")

    assert not (tmp_path / "m.gguf").exists()


def test_a_chat_template_that_asks_for_a_system_message_is_written(copy: Callable[[str], Path], tmp_path: Path) -> None:
    base = copy("llama/base")
    strict = (
        "{% if messages[0]['role'] != 'system' %}{{ raise_exception('system first') }}{% endif %}{{ messages[1]['content'] }}"
    )
    (base / "chat_template.jinja").write_text(strict)

    export_folder(base, None, "f16", tmp_path / "m.gguf")

    assert read_gguf(tmp_path / "m.gguf").pairs["tokenizer.chat_template"] == strict


@pytest.mark.parametrize("kind", ["f16", "Q8_0"])
def test_one_part_of_a_split_model_is_not_exported_as_the_model(tmp_path: Path, kind: str) -> None:
    (tmp_path / "m-00001-of-00003.gguf").write_bytes(part_of(0, 3))

    with pytest.raises(ArtifactError, match=r"part 1 of 3 of a model that was split .*llama-gguf-split --merge"):
        export_folder(tmp_path / "m-00001-of-00003.gguf", None, kind, tmp_path / "m.gguf")


def test_a_file_takes_its_place_behind_its_digest_so_that_none_is_there_without_one(made: Path, tmp_path: Path) -> None:
    """Wherever the exporting process is stopped."""
    out, moves = tmp_path / "m.gguf", list[str]()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "os.rename" and Path(str(arguments[1])).parent == tmp_path:
            moves.append(Path(str(arguments[1])).name)
            assert out.exists() <= out.with_name("m.gguf.sha256").exists()

    sys.addaudithook(watch)
    watching = True
    try:
        done = export_folder(made / "llama" / "base", None, "Q8_0", out)
    finally:
        watching = False

    assert moves == ["m.gguf.sha256", "m.gguf"]
    assert (done.path, verify(out)["verified"]) == (str(out), 1)
