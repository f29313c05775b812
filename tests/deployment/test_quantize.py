from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from tests.deployment.conftest import serving
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.gguf import write_model
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.quantize import KINDS, kernel, quantize_file, tensor_type


@pytest.mark.real
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_loads_and_answers(repository: Path, tmp_path: Path, kind: str) -> None:
    base = repository / "examples" / "support_desk" / "base"
    write_model(open_checkpoint(base), None, tmp_path / "plain.gguf", "f16", name="plain")

    done = quantize_file(tmp_path / "plain.gguf", tmp_path / "q.gguf", kind)

    assert done.fallback == ()
    header = read_gguf(tmp_path / "q.gguf")
    assert header.pairs["general.file_type"] == KINDS[kind][1]
    assert header.pairs["tokenizer.chat_template"] == read_gguf(tmp_path / "plain.gguf").pairs["tokenizer.chat_template"]
    messages = [
        {"role": "system", "content": "Triage the ticket. Answer with JSON."},
        {"role": "user", "content": "Hi, I was charged twice for Pixel Pad. Best, Ana"},
    ]
    with serving(tmp_path / "q.gguf") as client:
        answer = client.chat(messages, max_tokens=32)
    assert answer.text.startswith('{"category": ')
    assert answer.finish_reason == "stop"


def test_rows_that_do_not_fit_fall_back_and_are_named(made: Path, tmp_path: Path) -> None:
    write_model(open_checkpoint(made / "qwen2-dora" / "base"), None, tmp_path / "plain.gguf", "bf16", name="plain")

    done = quantize_file(tmp_path / "plain.gguf", tmp_path / "q.gguf", "Q4_K_M")

    assert "blk.0.attn_q.weight: Q5_0" in done.fallback
    assert "token_embd.weight: Q8_0" in done.fallback
    assert set(done.types) == {"F32", "Q5_0", "Q8_0"}


def test_what_llama_cpp_takes_for_llama_70b_gets_more_bits_for_its_small_value_projections() -> None:
    for name, layer, chosen in (("attn_v", 20, Type.Q5_K), ("attn_v", 0, Type.Q6_K), ("attn_k", 20, Type.Q4_K)):
        assert tensor_type(f"blk.{layer}.{name}.weight", (256, 256), "Q4_K_M", 80, False, seventy=True) == (chosen, False)
    assert tensor_type("blk.20.attn_v.weight", (256, 256), "Q6_K", 80, False, seventy=True) == (Type.Q6_K, False)


@pytest.mark.parametrize(("grouped", "chosen"), [(True, "Q5_K"), (False, "Q4_K")])
def test_eighty_layers_of_a_llama_whose_heads_share_values_are_taken_for_llama_70b(
    tmp_path: Path, grouped: bool, chosen: str
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "plain.gguf", "llama")
    writer.add_block_count(80)
    writer.add_head_count(2)
    writer.add_head_count_kv(1 if grouped else 2)
    writer.add_tensor("blk.20.attn_v.weight", np.ones((1, 256), np.float32))
    write_out(writer)

    assert quantize_file(tmp_path / "plain.gguf", tmp_path / "q.gguf", "Q4_K_M").types == {chosen: 1}


@pytest.mark.parametrize("place", ["key", "tensor"])
def test_a_file_whose_texts_are_not_utf_8_is_refused_in_one_line(tmp_path: Path, place: str) -> None:
    writer = gguf.GGUFWriter(tmp_path / "plain.gguf", "llama")
    writer.add_block_count(1)
    writer.add_string("general.name", "hereitis-key")
    writer.add_tensor("blk.0.hereitis-tensor_norm.weight", np.ones((1, 256), np.float32))
    write_out(writer)
    data = (tmp_path / "plain.gguf").read_bytes()
    (tmp_path / "plain.gguf").write_bytes(data.replace(f"hereitis-{place}".encode(), b"\xff\xfe" + f"reitis-{place}".encode()))

    with pytest.raises(ArtifactError, match=r"plain\.gguf: .*(UTF-8|utf-8)"):
        quantize_file(tmp_path / "plain.gguf", tmp_path / "q.gguf", "Q8_0")
    assert not (tmp_path / "q.gguf").exists()


def test_a_file_that_does_not_say_how_many_blocks_it_has_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "plain.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", np.ones((1, 256), np.float32))
    write_out(writer)

    with pytest.raises(ArtifactError, match=r"llama\.block_count"):
        quantize_file(tmp_path / "plain.gguf", tmp_path / "q.gguf", "Q8_0")


@pytest.mark.parametrize(
    ("architecture", "name"), [("llama", "blk.0.ffn_gate_inp.weight"), ("mamba", "blk.0.ssm_conv1d.weight"), ("falcon", "")]
)
@pytest.mark.parametrize("kind", ["Q4_K_M", "f16"])
def test_what_llama_cpp_quantizes_by_other_rules_is_refused(tmp_path: Path, architecture: str, name: str, kind: str) -> None:
    writer = gguf.GGUFWriter(tmp_path / "plain.gguf", architecture)
    writer.add_block_count(1)
    writer.add_tensor(name or "output.weight", np.ones((8, 256), np.float32))
    write_out(writer)
    with pytest.raises(
        ArtifactError, match=f"{name or 'a falcon'} is quantized by rules that are not known here.*llama-quantize"
    ):
        quantize_file(tmp_path / "plain.gguf", tmp_path / "q.gguf", kind)


def write_out(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("name", "kind", "layers", "tied", "chosen"),
    [
        ("output.weight", "Q4_K_M", 32, False, Type.Q6_K),
        ("token_embd.weight", "Q4_K_M", 32, False, Type.Q4_K),
        ("token_embd.weight", "Q5_K_M", 32, True, Type.Q6_K),
        ("blk.0.attn_v.weight", "Q4_K_M", 32, False, Type.Q6_K),
        ("blk.4.attn_v.weight", "Q4_K_M", 32, False, Type.Q4_K),
        ("blk.6.ffn_down.weight", "Q5_K_M", 32, False, Type.Q6_K),
        ("blk.31.ffn_down.weight", "Q4_K_M", 32, False, Type.Q6_K),
        ("blk.31.attn_q.weight", "Q5_K_M", 32, False, Type.Q5_K),
        ("blk.31.attn_v.weight", "Q8_0", 32, False, Type.Q8_0),
        ("blk.0.attn_qkv.weight", "Q4_K_M", 2, False, Type.Q4_K),
        ("blk.1.attn_qkv.weight", "Q4_K_M", 2, False, Type.Q6_K),
        ("blk.0.attn_norm.weight", "Q8_0", 32, False, Type.F32),
    ],
)
def test_the_mix_of_types_is_llama_cpps(name: str, kind: str, layers: int, tied: bool, chosen: Type) -> None:
    assert tensor_type(name, (512, 512), kind, layers, tied) == (chosen, False)


@pytest.mark.parametrize(("columns", "chosen"), [(256, Type.Q4_K), (96, Type.Q5_0), (50, Type.F16)])
def test_the_fallback_depends_on_the_length_of_the_rows(columns: int, chosen: Type) -> None:
    assert tensor_type("blk.4.attn_q.weight", (8, columns), "Q4_K_M", 32, False) == (chosen, chosen != Type.Q4_K)


def test_the_kernel_agrees_with_the_reference_implementation() -> None:
    values = np.random.default_rng(0).normal(size=(16, 256)).astype(np.float32)

    for kind in (Type.Q8_0, Type.Q5_0, Type.Q5_1):
        assert np.array_equal(kernel()(values, kind), gguf.quants.quantize(values, kind)), kind


def test_a_failed_run_leaves_nothing_behind(made: Path, tmp_path: Path) -> None:
    source = tmp_path / "plain.gguf"
    write_model(open_checkpoint(made / "wide" / "base"), None, source, "f16", name="plain")
    data = bytearray(source.read_bytes())
    data[-1000:-900] = b"\xff\x7f" * 50  # NaN in f16
    source.write_bytes(data)

    with pytest.raises(ArtifactError, match="not numbers"):
        quantize_file(source, tmp_path / "q.gguf", "Q8_0")

    assert [p.name for p in tmp_path.iterdir()] == ["plain.gguf"]
