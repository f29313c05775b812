"""Planted faults of each kind, on the real base in the real llama.cpp: parity blocks and names the layer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tests.deployment.checkpoints import DESK
from tunekeeper.deployment import gguf as ours
from tunekeeper.deployment.adapter import Adapter, open_adapter
from tunekeeper.deployment.checkpoint import Checkpoint, open_checkpoint
from tunekeeper.deployment.compare import Subject, compare, measure_all, plain_kind, trained_sampling
from tunekeeper.deployment.header import open_model, read_gguf
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.quantize import quantize_file
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.deployment.weights import Served, weigh

pytestmark = pytest.mark.real


class World:
    """The example's base with a small random adapter, and what transformers answers with it."""

    def __init__(self, folder: Path, source: Path, base: Path) -> None:
        self.folder = folder
        self.checkpoint: Checkpoint = open_checkpoint(base)
        self.adapter: Adapter = open_adapter(source / "adapter", self.checkpoint)
        self.references: list[Reference] = read_transcript(source / "transcript.jsonl")

    def subject(self, served: Served, **fields: Any) -> Subject:
        return Subject(served=served, stop=("<|im_end|>",), **fields)

    def verdict(self, subject: Subject) -> tuple[str, str | None]:
        found = compare(subject, self.checkpoint, self.adapter, self.references, Limits())
        return found.verdict, found.layer


@pytest.fixture(scope="module")
def world(made: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    found = World(folder, made / "desk", DESK)
    ours.write_model(found.checkpoint, found.adapter, folder / "f16.gguf", "f16", name="m")
    quantize_file(folder / "f16.gguf", folder / "q4.gguf", "Q4_K_M")
    ours.write_model(found.checkpoint, None, folder / "base.gguf", "f16", name="base")
    ours.write_adapter(found.checkpoint, found.adapter, folder / "lora.gguf", "f32", name="lora")
    return found


def test_the_right_files_pass(world: World) -> None:
    plain = world.folder / "f16.gguf"

    assert world.verdict(world.subject(Served(model=world.folder / "q4.gguf"), plain=plain)) == ("pass", None)
    assert world.verdict(world.subject(Served(model=plain), sampling={"temperature": 0})) == ("pass", None)
    apart = Served(model=world.folder / "base.gguf", lora=world.folder / "lora.gguf")
    assert world.verdict(world.subject(apart)) == ("pass", None)


def rewritten(world: World, target: Path, change: Callable[[str, Any], Any], source: str = "f16.gguf") -> Path:
    """A copy of a file with one of its fields or tensors changed: `change(name, value) -> value`."""
    return copied(world.folder / source, target, change)


def copied(
    source: Path,
    target: Path,
    change: Callable[[str, Any], Any],
    *,
    fields: Mapping[str, float] = MappingProxyType({}),
    tensors: Mapping[str, Any] = MappingProxyType({}),
    without: str = "",
) -> Path:
    """A copy of `source` with one of its fields or tensors changed: `change(name, value) -> value`; `fields`, `tensors`: more;
    `without`: a field that is left out."""
    import gguf

    reader = open_model(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", without):
            continue
        value, kinds = change(key, field.contents()), field.types
        sub = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, kinds[0], sub_type=sub)
    for key, number in fields.items():
        writer.add_float32(key, number)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, change(tensor.name, np.array(tensor.data)), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.mark.parametrize("source", ["f16.gguf", "q4.gguf"])
@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [
        ("template", "tokenizer.chat_template", "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"),
        ("stop", "tokenizer.ggml.eos_token_id", 300),
        ("tokenizer", "tokenizer.ggml.pre", "gpt-2"),
    ],
)
def test_a_wrong_field_of_the_file_is_named(world: World, tmp_path: Path, source: str, layer: str, key: str, value: Any) -> None:
    def change(name: str, old: Any) -> Any:
        # llama.cpp also knows end tokens by their text: without its text the token ends nothing.
        if layer == "stop" and name == "tokenizer.ggml.tokens":
            return [text.replace("<|im_end|>", "<|unused|>") for text in old]
        return value if name == key else old

    file = rewritten(world, tmp_path / "m.gguf", change, source)

    assert world.verdict(world.subject(Served(model=file))) == ("block", layer)


@pytest.mark.parametrize(
    ("source", "layer", "key", "value"),
    [
        ("f16.gguf", "merge", "qwen2.rope.freq_base", 1e6),
        ("q4.gguf", "merge", "qwen2.attention.layer_norm_rms_epsilon", 0.01),
        ("q4.gguf", "quantization", "general.file_type", 7),
        ("f16.gguf", "tokenizer", "tokenizer.ggml.merges", lambda old: [old[1], old[0], *old[2:]]),
        ("f16.gguf", "tokenizer", "tokenizer.ggml.add_eos_token", True),
    ],
)
def test_a_field_that_a_few_prompts_would_not_show_is_named(
    world: World, tmp_path: Path, source: str, layer: str, key: str, value: Any
) -> None:
    def change(name: str, old: Any) -> Any:
        return old if name != key else value(old) if callable(value) else value

    file = rewritten(world, tmp_path / "m.gguf", change, source)

    assert world.verdict(world.subject(Served(model=file))) == ("block", layer)


def test_a_token_inside_answers_that_ends_them_in_the_server_is_a_stop_fault(world: World, tmp_path: Path) -> None:
    """llama.cpp takes what the field says for an end, also where the greedy answers are equal up to there."""
    inside = world.references[0].answer_ids[2]

    def change(name: str, old: Any) -> Any:
        return inside if name == "tokenizer.ggml.eos_token_id" else old

    file = rewritten(world, tmp_path / "m.gguf", change)

    assert world.verdict(world.subject(Served(model=file))) == ("block", "stop")


@pytest.mark.parametrize("template", ["{{ bos_token }}{{ bos_token }}", ""])
def test_a_beginning_that_is_doubled_or_missing_is_a_template_fault(made: Path, tmp_path: Path, template: str) -> None:
    checkpoint = open_checkpoint(made / "phi3-longrope" / "base")
    ours.write_model(checkpoint, None, tmp_path / "f.gguf", "f32", name="m")
    references = read_transcript(made / "phi3-longrope" / "transcript.jsonl")

    def change(name: str, old: Any) -> Any:
        if name == "tokenizer.ggml.add_bos_token":
            return bool(template)
        return old.replace("{{ bos_token }}", template) if name == "tokenizer.chat_template" else old

    file = copied(tmp_path / "f.gguf", tmp_path / "m.gguf", change)

    assert compare(Subject(served=Served(model=tmp_path / "f.gguf")), checkpoint, None, references, Limits()).verdict == "pass"
    found = compare(Subject(served=Served(model=file)), checkpoint, None, references, Limits())
    assert (found.verdict, found.layer) == ("block", "template")


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_an_output_layer_that_repeats_tied_embeddings_is_held_to_them(world: World, tmp_path: Path, factor: float) -> None:
    """llama.cpp takes one where there is one, and the embedding where there is none."""
    output = {"output.weight": world.checkpoint.weights["model.embed_tokens.weight"].astype(np.float16) * np.float16(factor)}
    assert world.checkpoint.shape.tied
    file = copied(world.folder / "f16.gguf", tmp_path / "m.gguf", lambda key, old: old, tensors=output)

    found = world.verdict(world.subject(Served(model=file)))

    assert found == (("pass", None) if factor == 1.0 else ("block", "merge"))


def test_stop_texts_that_lack_the_end_token_are_named(world: World) -> None:
    subject = replace(world.subject(Served(model=world.folder / "q4.gguf")), stop=("###",))

    assert world.verdict(subject) == ("block", "stop")


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_a_wrong_scale_of_an_adapter_apart_is_a_merging_fault(world: World, scale: float) -> None:
    apart = Served(model=world.folder / "base.gguf", lora=world.folder / "lora.gguf", lora_scale=scale)

    assert world.verdict(world.subject(apart)) == ("block", "merge")


@pytest.mark.parametrize("factor", [0.0, 1.5])
def test_a_wrong_scale_hidden_under_quantization_is_a_merging_fault_too(world: World, tmp_path: Path, factor: float) -> None:
    parts = {name: replace(part, scale=part.scale * factor) for name, part in world.adapter.parts.items()}
    ours.write_model(world.checkpoint, replace(world.adapter, parts=parts), tmp_path / "f16.gguf", "f16", name="m")
    quantize_file(tmp_path / "f16.gguf", tmp_path / "q4.gguf", "Q4_K_M")

    found = weigh(Served(model=tmp_path / "q4.gguf"), world.checkpoint, world.adapter)

    assert found.share == pytest.approx(factor, abs=0.05)
    assert world.verdict(world.subject(Served(model=tmp_path / "q4.gguf"))) == ("block", "merge")


def test_noise_in_a_quantized_file_is_a_quantization_fault(world: World, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)

    def noisy(name: str, value: Any) -> Any:
        if name != "blk.1.ffn_up.weight":
            return value
        value[:, 16::144] ^= chance.integers(0, 255, value[:, 16::144].shape, np.uint8)  # the 4-bit values, not their scales
        for start in range(17, 144):
            value[:, start::144] ^= chance.integers(0, 255, value[:, start::144].shape, np.uint8)
        return value

    file = rewritten(world, tmp_path / "m.gguf", noisy, "q4.gguf")

    assert world.verdict(world.subject(Served(model=file))) == ("block", "quantization")


@pytest.mark.parametrize("factor", [1.05, 3.0])
def test_wrong_scales_in_a_quantized_file_are_a_quantization_fault(world: World, tmp_path: Path, factor: float) -> None:
    """Whatever they are multiplied with, which may look like a part of the adapter."""

    def louder(name: str, value: Any) -> Any:
        if name == "blk.1.ffn_up.weight":
            scales = value.reshape(-1, 144)[:, :4].copy().view(np.float16)  # of the values, and of their offsets
            value.reshape(-1, 144)[:, :4] = (scales * np.float16(factor)).view(np.uint8)
        return value

    file = rewritten(world, tmp_path / "m.gguf", louder, "q4.gguf")

    assert world.verdict(world.subject(Served(model=file))) == ("block", "quantization")


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_one_weight_with_another_share_of_the_adapter_is_a_merging_fault_under_quantization_too(
    world: World, tmp_path: Path, factor: float
) -> None:
    only = "model.layers.1.self_attn.o_proj.weight"
    parts = {
        name: replace(part, scale=part.scale * (factor if name == only else 1)) for name, part in world.adapter.parts.items()
    }
    assert only in parts
    ours.write_model(world.checkpoint, replace(world.adapter, parts=parts), tmp_path / "f16.gguf", "f16", name="m")
    quantize_file(tmp_path / "f16.gguf", tmp_path / "q4.gguf", "Q4_K_M")

    assert world.verdict(world.subject(Served(model=tmp_path / "q4.gguf"))) == ("block", "merge")


def test_another_adapter_is_a_merging_fault_under_quantization_too(world: World, tmp_path: Path) -> None:
    parts = {name: replace(part, a=np.roll(part.a, 1, axis=1)) for name, part in world.adapter.parts.items()}
    ours.write_model(world.checkpoint, replace(world.adapter, parts=parts), tmp_path / "f16.gguf", "f16", name="m")
    quantize_file(tmp_path / "f16.gguf", tmp_path / "q4.gguf", "Q4_K_M")

    assert world.verdict(world.subject(Served(model=tmp_path / "q4.gguf"))) == ("block", "merge")


def test_noise_in_an_unquantized_file_is_a_merging_fault(world: World, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)

    def noisy(name: str, value: Any) -> Any:
        if name != "blk.1.ffn_up.weight":
            return value
        return value + chance.normal(size=value.shape).astype(value.dtype) * value.std()

    file = rewritten(world, tmp_path / "m.gguf", noisy)

    assert world.verdict(world.subject(Served(model=file))) == ("block", "merge")


@pytest.mark.parametrize("settings", [{"temperature": 1.5}, {"temperature": 0, "repeat_penalty": 1.5}, {"top_k": 40}])
def test_wrong_sampling_settings_are_named(world: World, settings: dict[str, Any]) -> None:
    subject = world.subject(Served(model=world.folder / "q4.gguf"), sampling=settings)

    assert world.verdict(subject) == ("block", "sampling")


def test_a_short_answer_limit_is_seen_in_the_answers(world: World) -> None:
    subject = world.subject(Served(model=world.folder / "q4.gguf"), sampling={"temperature": 0, "max_tokens": 3})

    assert world.verdict(subject) == ("block", "sampling")


def test_without_references_nothing_passes(world: World) -> None:
    found = compare(world.subject(Served(model=world.folder / "q4.gguf")), world.checkpoint, world.adapter, [], Limits())

    assert found.verdict == "inconclusive"


def test_borrowed_prompts_judge_a_base_by_its_weights(world: World) -> None:
    subject = world.subject(Served(model=world.folder / "base.gguf"))

    measured = measure_all(subject, world.checkpoint, None, world.references, answers=False)

    assert measured.weighed is not None
    assert (measured.weighed.share, measured.merged and measured.merged.n) == (None, 0)
    assert measured.weighed.error <= measured.weighed.expected * 1.01


def test_the_kind_of_a_file_and_the_trained_settings_are_read(world: World, tmp_path: Path) -> None:
    assert plain_kind(world.folder / "f16.gguf") == "f16"
    assert plain_kind(world.folder / "q4.gguf") is None
    assert read_gguf(world.folder / "lora.gguf").adapter
    shutil.copy(world.checkpoint.folder / "config.json", tmp_path / "config.json")
    assert trained_sampling(tmp_path) == {"temperature": 0.0}
    (tmp_path / "generation_config.json").write_text('{"do_sample": true, "top_p": 0.8}')
    assert trained_sampling(tmp_path) == {"temperature": 1.0, "top_p": 0.8}


def test_a_tokenizer_that_spaces_only_what_begins_a_text_is_compared_as_chats_use_it(made: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(made / "mistral-v3" / "base")
    ours.write_model(checkpoint, None, tmp_path / "m.gguf", "f32", name="m")
    references = read_transcript(made / "mistral-v3" / "transcript.jsonl")

    found = measure_all(Subject(served=Served(model=tmp_path / "m.gguf")), checkpoint, None, references)

    assert (found.template.differ, found.tokenizer.differ, found.tokenizer.n > 5) == (0, 0, True)
