from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deployment.checkpoints import edit_json
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.adapter import Part, open_adapter
from tunekeeper.deployment.checkpoint import open_checkpoint, weights_digest
from tunekeeper.text.tokenizers import read_tokenizer

Copy = Callable[[str], Path]


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the tensors of an adapter folder by name."""
    from safetensors.numpy import load_file, save_file

    path = folder / "adapter_model.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in change(load_file(path)).items()}, path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"alora_invocation_tokens": [1, 75]}, "alora_invocation_tokens"),
        ({"kasa_config": {"beta": 1e-4}}, "kasa_config"),
        ({"use_of_next_year": True}, "use_of_next_year"),
        ({"auto_mapping": {"base_model_class": "Mine", "parent_library": "modeling_mine"}}, "custom code"),
        ({"auto_mapping": {"base_model_class": "Mine", "parent_library": "transformers_modules.mine"}}, "custom code"),
        ({"auto_mapping": "transformers"}, "custom code"),
        ({"init_lora_weights": "pissa"}, "changes the base itself"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"use_dora": True}, "contradict"),
        ({"r": 8}, "has rank 4"),
        ({"rank_pattern": {"q_proj": 2}}, "has rank 4"),
        ({"rank_pattern": {"(?=a)": 2}}, "cannot be followed"),
        ({"alpha_pattern": {"[": 2}}, "pattern"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"lora_alpha": "x"}, "lora_alpha holds 'x'"),
        ({"lora_alpha": float("nan")}, "lora_alpha holds 'nan'"),
        ({"rank_pattern": [4]}, "rank_pattern holds"),
        ({"alpha_pattern": 3}, "alpha_pattern holds .3., which names no modules"),
        ({"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern holds '8'"),
    ],
)
def test_an_adapter_that_would_be_merged_wrongly_is_refused(made: Path, copy: Copy, changes: dict[str, Any], why: str) -> None:
    folder = copy("llama/adapter")
    edit_json(folder / "adapter_config.json", **changes)

    with pytest.raises(ArtifactError, match=why):
        open_adapter(folder, open_checkpoint(made / "llama" / "base"))


def test_what_peft_writes_for_want_of_a_task_type_is_no_code(made: Path, copy: Copy) -> None:
    folder = copy("llama/adapter")
    told = {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama.modeling_llama"}
    edit_json(folder / "adapter_config.json", task_type=None, auto_mapping=told)

    assert open_adapter(folder, open_checkpoint(made / "llama" / "base")).rank == 4


Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: {**t, f"{Q}.lora_A.weight": t[f"{Q}.lora_A.weight"][:, :32]}, "another base"),
        (lambda t: {**t, f"{Q}.lora_B.weight": t[f"{Q}.lora_B.weight"][:32]}, "another base"),
        (lambda t: {k: v for k, v in t.items() if k != f"{Q}.lora_B.weight"}, "half of the pair"),
        (lambda t: {**t, f"{Q}.lora_A.weight": t[f"{Q}.lora_A.weight"] * np.nan}, "not numbers"),
        (lambda t: {k.replace("layers.1", "layers.7"): v for k, v in t.items()}, "does not have"),
        (lambda t: {k.removeprefix("base_model."): v for k, v in t.items()}, "not of a PEFT adapter"),
        (lambda t: {**t, f"{Q}.lora_C.weight": t[f"{Q}.lora_A.weight"]}, "cannot be exported"),
        (lambda t: {**t, "base_model.model.lm_head.weight": t[f"{Q}.lora_A.weight"]}, "another base"),
    ],
)
def test_a_misshapen_adapter_is_refused(made: Path, copy: Copy, change: Any, why: str) -> None:
    folder = copy("llama/adapter")
    rewrite(folder, change)

    with pytest.raises(ArtifactError, match=why):
        open_adapter(folder, open_checkpoint(made / "llama" / "base"))


def test_an_adapter_of_another_base_with_the_same_dimensions_is_refused_by_digest(made: Path, copy: Copy) -> None:
    folder, base = copy("llama/adapter"), made / "llama3-rope" / "base"
    digest = weights_digest(base)
    edit_json(folder / "adapter_config.json", base_model_name_or_path="somebody/a-base")
    assert open_adapter(folder, open_checkpoint(base), base_digest=digest).base_digest is None

    (folder / "tunekeeper.json").write_text(json.dumps({"base_digest": "sha256:" + "0" * 64}))
    with pytest.raises(ArtifactError, match="was trained on base sha256:0000"):
        open_adapter(folder, open_checkpoint(base), base_digest=digest)

    (folder / "tunekeeper.json").write_text(json.dumps({"base_digest": 5}))
    with pytest.raises(ArtifactError, match="was trained on base 5"):
        open_adapter(folder, open_checkpoint(base), base_digest=digest)


@pytest.mark.parametrize("what", ["tokenizer", "template"])
def test_an_adapter_that_was_trained_with_another_tokenizer_or_template_is_refused_by_digest(
    made: Path, copy: Copy, what: str
) -> None:
    folder, base = copy("llama/adapter"), copy("llama/base")
    files = read_tokenizer(base)
    trained = {"tokenizer_digest": files.digest, "template_digest": files.template_digest}
    (folder / "tunekeeper.json").write_text(json.dumps(trained))
    digest = weights_digest(base)
    assert open_adapter(folder, open_checkpoint(base), base_digest=digest).parts

    path = base / {"tokenizer": "tokenizer.json", "template": "chat_template.jinja"}[what]
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ArtifactError, match=f"was trained with {what} sha256:") as raised:
        open_adapter(folder, open_checkpoint(base), base_digest=digest)
    assert raised.value.fix == f"put the {what} back that it was trained with, or train again"
    assert open_adapter(folder, open_checkpoint(base)).parts, "without a digest nothing but shapes is compared"


def test_the_base_that_an_adapter_names_is_compared_where_it_can_be_found(made: Path) -> None:
    adapter, other = made / "mistral-rslora" / "adapter", made / "llama" / "base"

    with pytest.raises(ArtifactError, match="was trained on base"):
        open_adapter(adapter, open_checkpoint(other), base_digest=weights_digest(other))


def test_a_frozen_copy_of_the_embedding_must_be_the_bases_own(made: Path, copy: Copy) -> None:
    folder = copy("qwen2-tied/adapter")
    rewrite(folder, lambda t: {k: v + 1 if "base_layer" in k else v for k, v in t.items()})

    with pytest.raises(ArtifactError, match="with another model"):
        open_adapter(folder, open_checkpoint(made / "qwen2-tied" / "base"))


def test_the_frozen_copy_of_a_tied_output_layer_is_the_embedding(made: Path, copy: Copy) -> None:
    folder = copy("qwen2-head/adapter")
    assert open_adapter(folder, open_checkpoint(made / "qwen2-head" / "base")).touches("lm_head.weight")
    rewrite(folder, lambda t: {k: v + 1 if "lm_head.base_layer" in k else v for k, v in t.items()})

    with pytest.raises(ArtifactError, match=r"with another lm_head\.weight"):
        open_adapter(folder, open_checkpoint(made / "qwen2-head" / "base"))


def test_trained_biases_take_the_place_of_the_bases(made: Path) -> None:
    adapter = open_adapter(made / "llama-biases" / "adapter", open_checkpoint(made / "llama-biases" / "base"))
    assert {name for name in adapter.replaced if "layers.0" in name} == {
        f"model.layers.0.self_attn.{name}_proj.bias" for name in "qkvo"
    }
    assert adapter.merge_only == "a trained bias (model.layers.0.self_attn.k_proj.bias)"


def test_an_adapter_saved_as_a_pickle_is_refused(made: Path, copy: Copy) -> None:
    folder = copy("llama/adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")

    with pytest.raises(ArtifactError, match=r"only adapter_model\.bin, a pickle"):
        open_adapter(folder, open_checkpoint(made / "llama" / "base"))


def test_dora_keeps_the_row_norms_it_learned() -> None:
    part = Part(weight="w", a=np.ones((1, 2)), b=np.ones((2, 1)), scale=0.5, magnitude=np.array([2.0, 3.0]))

    merged = part.merged(np.eye(2, dtype=np.float32))

    assert np.linalg.norm(merged, axis=1) == pytest.approx([2.0, 3.0])
    assert merged[0] / merged[0, 0] == pytest.approx([1, 1 / 3])
