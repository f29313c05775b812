from __future__ import annotations

import dataclasses

import pytest

from tunekeeper.deployment.mergedparity import compare_merged
from tunekeeper.deployment.transcript import Reference

TRAINED = Reference(
    id="a", messages=({"role": "user", "content": "Hi"},), rendered="<Hi>", prompt_ids=(1, 2), answer="yes", answer_ids=(3, 4, 0),
    logprobs=(-0.1, -0.2, -0.3), stopped=True,
)  # fmt: skip


def test_equal_answers_pass_within_the_type_s_limit() -> None:
    near = dataclasses.replace(TRAINED, logprobs=(-0.1, -0.25, -0.3))
    assert compare_merged([TRAINED], [near], "bf16").verdict == "pass"
    said = compare_merged([TRAINED], [near], "f32")
    assert (said.verdict, said.layer) == ("block", "merge")


@pytest.mark.parametrize(
    ("changes", "layer"),
    [
        ({"rendered": "<Hi!>"}, "template"),
        ({"stopped": False}, "stop"),
        ({"prompt_ids": (1, 9)}, "tokenizer"),
        ({"answer_ids": (3, 7, 0)}, "merge"),
    ],
)
def test_the_layer_that_differs_is_named(changes: dict[str, object], layer: str) -> None:
    said = compare_merged([TRAINED], [dataclasses.replace(TRAINED, **changes)], "bf16")
    assert (said.verdict, said.layer) == ("block", layer)


def test_a_tie_that_falls_the_other_way_is_no_fault_and_a_sure_choice_is() -> None:
    even = dataclasses.replace(TRAINED, logprobs=(-0.1, -0.70, -0.3))
    other = dataclasses.replace(even, answer_ids=(3, 7, 0), logprobs=(-0.1, -0.69, -0.3))
    assert compare_merged([even], [other], "bf16").verdict == "pass"
    sure = dataclasses.replace(other, logprobs=(-0.1, -0.0, -0.3))
    assert compare_merged([even], [sure], "bf16").layer == "merge"


def test_nothing_in_common_is_inconclusive() -> None:
    assert compare_merged([TRAINED], [], "f32").verdict == "inconclusive"
