from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.deployment.parity import (
    Compared,
    Gaps,
    Limits,
    Measured,
    Weighed,
    Weight,
    decide,
    sampling_conflict,
    stop_conflict,
)

SAME = Compared(n=4)
DIFFERENT = Compared(n=4, differ=1, first="character 7")
CLOSE = Gaps(n=40, worst=0.02, mean=0.01, agree=40, answers=4, equal=4)
FAR = Gaps(n=40, worst=3.0, mean=1.2, agree=20, answers=4, equal=0, first="answer p0")


def weight(share: float = 1.0, error: float = 0.06, expected: float = 0.06, **fields: Any) -> Weight:
    """A tensor of 10,000 values whose adapter part is a tenth of it."""
    too_much = share - 1
    sums = {"dd": error**2 + too_much**2 * 0.01, "da": too_much * 0.01, "aa": 0.01, "rr": 1.0, "cost": expected**2}
    return Weight(**{"name": "blk.0.attn_q.weight", "quantized": True, "values": 10_000, **sums, **fields})


SOUND = weight()
WEIGHED = Weighed(tensors=(SOUND,) * 26)


def with_one(**fields: Any) -> dict[str, Any]:
    """The weights when one of 26 tensors is off."""
    return {"weighed": Weighed(tensors=(*(SOUND,) * 25, weight(name="blk.1.ffn_up.weight", **fields)))}


def with_all(**fields: Any) -> dict[str, Any]:
    """The weights when all tensors are off."""
    return {"weighed": Weighed(tensors=(weight(**fields),) * 26)}


GOOD = Measured(
    template=SAME, stop=SAME, tokenizer=SAME, plain="f16", merged=CLOSE, quantized=CLOSE, weighed=WEIGHED, sampling=SAME
)


def test_agreement_in_every_layer_passes() -> None:
    found = decide(GOOD, Limits())

    assert (found.verdict, found.layer) == ("pass", None)
    assert [check.layer for check in found.checks] == ["template", "stop", "tokenizer", "merge", "quantization", "sampling"]
    assert all(check.ok and check.n for check in found.checks)


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        ({"template": DIFFERENT, "merged": FAR}, "template"),
        ({"stop": DIFFERENT}, "stop"),
        ({"tokenizer": DIFFERENT, "sampling": DIFFERENT}, "tokenizer"),
        ({"merged": FAR, "quantized": FAR}, "merge"),
        (with_all(share=0.0), "merge"),
        (with_all(share=2.0) | {"quantized": FAR}, "merge"),
        (with_one(share=0.0), "merge"),
        (with_one(share=2.0), "merge"),
        (with_one(error=0.3, like_an_adapter=True), "merge"),
        (with_one(error=0.3, quantized=False), "merge"),
        ({"computes": "qwen2.rope.freq_base is 10000"}, "merge"),
        # Damage hits the adapter's direction by chance as well: its share says nothing then.
        (with_one(error=0.6, share=40.0), "quantization"),
        (with_one(error=0.07, dr=0.05), "quantization"),
        (with_one(error=0.3), "quantization"),
        ({"coarser": "blk.0.ffn_up.weight is Q2_K"}, "quantization"),
        ({"quantized": FAR}, "quantization"),
        ({"quantized": replace(FAR, agree=40)}, "quantization"),
        (with_all(error=0.2), "quantization"),
        ({"sampling": DIFFERENT}, "sampling"),
        ({"sampling_conflict": "temperature is 0.8"}, "sampling"),
        ({"merged": replace(CLOSE, worst=0.05), "plain": "f32"}, "merge"),
        (with_all(error=0.2, expected=0.0, quantized=False) | {"is_quantized": False, "merged": None}, "merge"),
    ],
)
def test_a_difference_blocks_and_the_first_layer_is_named(change: dict[str, Any], layer: str) -> None:
    found = decide(replace(GOOD, **change), Limits())

    assert (found.verdict, found.layer) == ("block", layer)
    assert not next(check for check in found.checks if check.layer == layer).ok


@pytest.mark.parametrize("share", [1.05, 0.95])
def test_what_rounding_does_to_a_tensor_s_share_of_the_adapter_is_no_fault(share: float) -> None:
    unsure = weight(share=share + 0.1, error=0.6, expected=0.6, aa=0.01)
    assert unsure.unsure > 0.05
    found = replace(GOOD, weighed=Weighed(tensors=(*(SOUND,) * 25, unsure)))
    assert decide(found, Limits()).verdict == "pass"


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        ({"template": Compared(n=0)}, "template"),
        ({"merged": None, "weighed": None}, "merge"),
        ({"quantized": None, "weighed": None}, "quantization"),
        ({"sampling": Compared(n=0)}, "sampling"),
    ],
)
def test_a_layer_without_evidence_is_inconclusive_and_never_a_pass(change: dict[str, Any], layer: str) -> None:
    found = decide(replace(GOOD, **change), Limits())

    assert (found.verdict, found.layer) == ("inconclusive", layer)


@pytest.mark.parametrize(("worst", "mean", "ok"), [(0.7, 0.05, True), (0.9, 0.05, False), (0.7, 0.2, False)])
def test_a_token_of_a_bf16_file_may_be_off_by_what_its_eight_bits_cost_and_their_mean_may_not(
    worst: float, mean: float, ok: bool
) -> None:
    gaps = replace(CLOSE, worst=worst, mean=mean)

    assert (decide(replace(GOOD, plain="bf16", merged=gaps), Limits()).layer is None) == ok
    assert decide(replace(GOOD, plain="f16", merged=gaps), Limits()).layer == "merge"


def test_a_difference_that_was_seen_counts_for_more_than_missing_evidence() -> None:
    found = decide(replace(GOOD, template=Compared(n=0), quantized=FAR), Limits())

    assert (found.verdict, found.layer) == ("block", "quantization")


def test_a_wrong_end_token_is_named_also_where_the_template_writes_it() -> None:
    found = decide(replace(GOOD, template=DIFFERENT, stop=DIFFERENT), Limits())

    assert (found.verdict, found.layer) == ("block", "stop")


def test_weights_alone_are_enough_where_nothing_is_known_of_the_answers() -> None:
    assert decide(replace(GOOD, merged=None, quantized=None), Limits()).verdict == "pass"


@pytest.mark.parametrize(
    ("declared", "trained", "word"),
    [
        ({}, {"temperature": 0.0}, ""),
        ({"temperature": 0}, {"temperature": 0.0}, ""),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0.0}, ""),
        ({"temperature": 0.8}, {"temperature": 0.0}, "temperature"),
        ({"top_p": 0.9}, {"temperature": 0.0}, "not set"),
        ({"temperature": 0, "repeat_penalty": 1.1}, {"temperature": 0.0}, "repeat_penalty"),
        ({"temperature": 0.7, "top_p": 0.8}, {"temperature": 0.7, "top_p": 0.8}, ""),
        ({"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.8}, "top_p"),
        ({"temperature": 0.7, "repeat_penalty": 1.05}, {"temperature": 0.7, "repetition_penalty": 1.05}, ""),
        ({"temperature": 0}, {"temperature": 0.7, "top_p": 0.8}, ""),
        ({"temperature": 0, "repetition_penalty": 1.3}, {"temperature": 0.0}, "repeat_penalty"),
        ({"temperature": 0, "ignore_eos": True}, {"temperature": 0.0}, "ignore_eos"),
        ({"temperature": 0, "logit_bias": [[300, 8.0]]}, {"temperature": 0.0}, "logit_bias"),
    ],
)
def test_declared_settings_must_be_the_training_time_ones(declared: dict[str, Any], trained: dict[str, Any], word: str) -> None:
    found = sampling_conflict(declared, trained)

    assert word in found if word else found == ""


@pytest.mark.parametrize(
    ("declared", "word"),
    [
        (None, ""),
        (("<|im_end|>",), ""),
        (("<|im_end|>", "<|endoftext|>"), ""),
        (("<|im_end|>", "###"), "'###' ended nothing in training"),
        ((), "lack '<|im_end|>'"),
        (("</s>",), "lack '<|im_end|>'"),
        (("<|im_end|>", "}"), "cuts the answer"),
    ],
)
def test_stop_texts_end_answers_where_training_did_and_nowhere_else(declared: tuple[str, ...] | None, word: str) -> None:
    special = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    found = stop_conflict(declared, ("<|im_end|>",), ('{"category": "billing"}',), special)

    assert word in found if word else found == ""
