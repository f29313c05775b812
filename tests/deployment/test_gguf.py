"""The yardstick is transformers: same token ids, same greedy answers, same log-probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.deployment.checkpoints import PLANS
from tests.deployment.conftest import serving
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment import measure
from tunekeeper.deployment.adapter import Adapter, Part, open_adapter
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.gguf import permute, to_half, write_adapter, write_model
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.sentencepiece import first_only
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.text.tokenizers import read_tokenizer

pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", PLANS)
def test_the_merged_file_answers_as_transformers_does(made: Path, tmp_path: Path, name: str) -> None:
    checkpoint = open_checkpoint(made / name / "base")
    adapter = open_adapter(made / name / "adapter", checkpoint) if PLANS[name].lora is not None else None
    references = read_transcript(made / name / "transcript.jsonl")
    tokenizer = read_tokenizer(checkpoint.folder)

    write_model(checkpoint, adapter, tmp_path / "m.gguf", "f32", name=name)

    with serving(tmp_path / "m.gguf") as client:
        gaps = measure.gaps(client, references)
        # ggml looks GELU up in a table of 16-bit numbers; everything else is computed to seven digits.
        assert gaps.worst < (0.005 if name.startswith(("gemma", "phi2")) else 1e-3), gaps
        assert gaps.agree == gaps.n >= 3
        assert measure.template(client, references, tokenizer.special().get("bos_token")).differ == 0
        behind = "<s>" if first_only(tokenizer) else ""
        assert measure.tokenizer(client, references, tokenizer.encode, True, behind=behind).differ == 0
        assert measure.ends(client, references, checkpoint.eos).differ == 0


@pytest.mark.parametrize("name", ["gemma2", "llama-prefixed", "qwen2-yarn"])
def test_half_precision_is_a_tenth_of_a_nat_from_transformers_at_most(made: Path, tmp_path: Path, name: str) -> None:
    write_model(open_checkpoint(made / name / "base"), None, tmp_path / "m.gguf", "f16", name=name)

    with serving(tmp_path / "m.gguf") as client:
        assert measure.gaps(client, read_transcript(made / name / "transcript.jsonl")).worst < 0.1


@pytest.mark.parametrize(
    ("plan", "name", "called"),
    [("phi3", "v1.0", "v1.0 phi-3"), ("llama", "my-Phi3-v1", "my-phi_3-v1"), ("llama", "phi-4", "phi-4")],
)
def test_the_name_says_phi_3_where_its_tokenizer_is_meant_and_only_there(
    made: Path, tmp_path: Path, plan: str, name: str, called: str
) -> None:
    write_model(open_checkpoint(made / plan / "base"), None, tmp_path / "m.gguf", "f16", name=name)

    assert read_gguf(tmp_path / "m.gguf").pairs["general.name"] == called


@pytest.mark.parametrize("name", ["llama", "mistral-rslora", "phi3"])
def test_an_adapter_file_beside_the_base_answers_as_peft_does(made: Path, tmp_path: Path, name: str) -> None:
    checkpoint = open_checkpoint(made / name / "base")
    adapter = open_adapter(made / name / "adapter", checkpoint)
    write_model(checkpoint, None, tmp_path / "base.gguf", "f32", name="base")
    write_adapter(checkpoint, adapter, tmp_path / "lora.gguf", "f32", name="lora")

    with serving(tmp_path / "base.gguf", tmp_path / "lora.gguf") as client:
        gaps = measure.gaps(client, read_transcript(made / name / "transcript.jsonl"))

    assert gaps.worst < 1e-3, gaps
    assert read_gguf(tmp_path / "lora.gguf").adapter


@pytest.mark.parametrize(
    ("name", "why"),
    [("qwen2-dora", "DoRA"), ("qwen3-head", "modules_to_save"), ("qwen2-tied", "embed"), ("llama-biases", "a trained bias")],
)
def test_what_only_merging_can_express_is_refused_as_an_adapter_file(made: Path, tmp_path: Path, name: str, why: str) -> None:
    checkpoint = open_checkpoint(made / name / "base")
    adapter = open_adapter(made / name / "adapter", checkpoint)

    with pytest.raises(ArtifactError, match=why):
        write_adapter(checkpoint, adapter, tmp_path / "lora.gguf", "f16", name="lora")

    assert list(tmp_path.iterdir()) == []


def test_an_adapter_on_one_side_of_tied_embeddings_is_refused_where_llama_cpp_has_one_tensor_for_both(
    made: Path, tmp_path: Path
) -> None:
    base = open_checkpoint(made / "gemma" / "base")
    rows, columns = base.shape.vocab, base.shape.hidden
    part = Part(weight="lm_head.weight", a=np.ones((1, columns)), b=np.ones((rows, 1)), scale=1.0)
    adapter = Adapter(folder=tmp_path, parts={part.weight: part}, replaced={}, alpha=1.0, rank=1, scale=1.0, base_digest=None)
    with pytest.raises(ArtifactError, match="has one tensor for both"):
        write_model(base, adapter, tmp_path / "m.gguf", "f16", name="m")
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_half_precision_files_carry_their_name_and_metadata(made: Path, tmp_path: Path, kind: str) -> None:
    checkpoint = open_checkpoint(made / "llama" / "base")

    written = write_model(
        checkpoint, None, tmp_path / "m.gguf", kind, name="v1.0-2026-01-05-3examples", metadata={"run": "run_1"}
    )

    header = read_gguf(tmp_path / "m.gguf")
    assert header.pairs["general.name"] == "v1.0-2026-01-05-3examples"
    assert header.pairs["tunekeeper.run"] == "run_1"
    assert {t.kind for t in header.tensors} == {"F32", kind.upper()}
    assert any("NFC" in note for note in written.notes)


def test_a_value_too_large_for_f16_is_refused_and_not_made_infinite() -> None:
    with pytest.raises(ArtifactError, match="bf16"):
        to_half("blk.0.attn_q.weight", np.array([1.0, 70000.0], np.float32))


def test_permuting_puts_the_two_halves_of_a_head_side_by_side() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(8, 1)

    assert permute(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
