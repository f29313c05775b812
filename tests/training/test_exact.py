"""The reference of a run that learned in 16 bits, or on 4, is the model as it is served: its own numbers, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.training import job
from tunekeeper.training.base import read_base
from tunekeeper.training.device import here
from tunekeeper.training.memory import need
from tunekeeper.training.recipe import from_json

from .conftest import BASE, Local
from .test_job import order

pytestmark = [
    pytest.mark.real,
    # peft asks transformers under a name that transformers is about to drop.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
of_a_card = pytest.mark.filterwarnings("default")
"""What the libraries of a GPU warn of (the first cuBLAS of a thread, kernels that it has not) is its own, and no fault."""
GAP = 1e-3
"""Nats; what a run in 16 bits is off by when its reference is worked out in 16 bits is twenty times that."""


@pytest.fixture
def card() -> None:
    """A GPU, without which such a run works in float32, as it should on so small a base."""
    if not here().gpu:
        pytest.skip("there is no GPU here")


def learned(folder: Path, **recipe: Any) -> dict[str, Any]:
    """One epoch over 16 rows; leaves `work/adapter` and `work/transcript.jsonl`."""
    (folder / "work").mkdir()
    asked = order(folder, count=16)
    asked["recipe"] |= {"epochs": 1, **recipe}
    return job.run(asked, Local(folder / "work"))


def largest_gap(work: Path) -> float:
    """Largest difference between the transcript's log-probabilities and those of the base and its adapter in float32."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tunekeeper.training.transcript import log_probabilities

    plain = AutoModelForCausalLM.from_pretrained(BASE, dtype="float32")
    model = PeftModel.from_pretrained(plain, str(work / "adapter")).eval()
    lines = [json.loads(line) for line in (work / "transcript.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    return max(
        abs(a - b)
        for line in lines
        for a, b in zip(line["logprobs"], log_probabilities(model, line["prompt_ids"], line["answer_ids"]), strict=True)
    )


def test_a_run_in_sixteen_bits_leaves_the_reference_of_float32(tmp_path: Path) -> None:
    output = learned(tmp_path, dtype="bfloat16")
    assert (output["dtype"], output["transcript"]) == ("bfloat16", "transcript.jsonl")
    assert largest_gap(tmp_path / "work") < GAP


def test_a_run_on_four_bits_leaves_the_reference_of_the_base_that_is_served(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed here: pip install 'tunekeeper[qlora]'")
    output = learned(tmp_path, qlora=True, dtype="float32")
    assert output["loss"][-1] < output["loss"][0]
    assert largest_gap(tmp_path / "work") < GAP


@pytest.mark.gpu
@of_a_card
@pytest.mark.usefixtures("card")
def test_four_bits_on_a_gpu_take_less_memory_and_leave_the_same_reference(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="pip install 'tunekeeper[qlora]'")
    output = learned(tmp_path, qlora=True)
    assert output["dtype"] == "bfloat16"
    assert output["loss"][-1] < output["loss"][0]
    assert largest_gap(tmp_path / "work") < GAP
    small, plain = (need(BASE, from_json({"qlora": each}), 64, here()).weights for each in (True, False))
    assert small < plain


@pytest.mark.gpu
@of_a_card
@pytest.mark.usefixtures("card")
def test_full_tuning_on_a_gpu_works_in_sixteen_bits_on_numbers_of_thirty_two(tmp_path: Path) -> None:
    output = learned(tmp_path, method="full", learning_rate=1e-3)
    assert output["loss"][-1] < output["loss"][0]
    config = json.loads((tmp_path / "work/model/config.json").read_text())
    assert config["dtype"] == output["dtype"] == "bfloat16"


def test_a_model_of_sixteen_bits_works_as_its_float32_copy_does() -> None:
    import copy

    import torch

    from tunekeeper.training.exact import in_float32

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm = torch.nn.Embedding(9, 8), torch.nn.LayerNorm(8)
            self.head = torch.nn.Linear(8, 9)
            self.scale = torch.nn.Parameter(torch.randn(8, 8))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            found = self.norm(self.words(ids)) @ self.scale
            found[:, 0] = self.scale[0]  # what is written to stays the tensor that it is
            found += self.scale[1]
            return self.head(found)

    torch.manual_seed(0)
    model = Small().to(torch.bfloat16)
    wide, ids = copy.deepcopy(model).float(), torch.arange(9)[None]
    with torch.no_grad(), in_float32(model):
        said = model(ids)
    with torch.no_grad(), in_float32(wide):
        expected = wide(ids)
    assert said.dtype == torch.float32
    assert torch.equal(said, expected)
    assert model.head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("recipe", "dtype", "expected"),
    [
        ({}, "float32", True),
        ({}, "float16", True),
        ({}, "bfloat16", False),
        ({"qlora": True}, "float32", False),
        ({"method": "full"}, "bfloat16", True),
    ],
)
def test_a_run_in_the_bases_own_format_or_a_wider_one_holds_its_numbers(
    recipe: dict[str, Any], dtype: str, expected: bool
) -> None:
    from tunekeeper.training.exact import holds_own_numbers, stored_format

    assert stored_format(BASE) == "float16"
    assert holds_own_numbers(read_base(BASE), from_json(recipe), dtype) is expected


def test_a_base_answers_where_it_has_room() -> None:
    from tunekeeper.training.exact import place

    assert place(10, 13, 0) == "cuda"
    assert place(10, 12, 13) == "cpu"
    assert place(10, 12, 12) is None
