"""The preference loss, against numbers that are worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tunekeeper.training.encode import Encoded

torch = pytest.importorskip("torch")

from tunekeeper.training.preference import Pair, answer_log_probabilities, preference_loss, with_reference  # noqa: E402

PAD = 0


class Uneven(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """After any token, token 1 has probability 0.6, token 2 has 0.3 and token 3 has 0.1."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(dtype=torch.float32)
        self.head = torch.nn.Linear(1, 4)
        self.logits = self.head.bias  # what stands before the head is nothing
        with torch.no_grad():
            self.logits.copy_(torch.log(torch.tensor([1e-30, 0.6, 0.3, 0.1])))

    def get_output_embeddings(self) -> Any:
        return self.head

    def forward(self, input_ids: Any, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.head(torch.zeros(*input_ids.shape, 1)))


def row(*ids: int, prompt: int = 1) -> Encoded:
    return Encoded(ids=ids, learned=tuple(i >= prompt for i in range(len(ids))))


def test_a_log_probability_counts_the_answer_alone_and_no_padding() -> None:
    found = answer_log_probabilities(Uneven(), [row(3, 1, 2), row(3, 3)], PAD)
    assert found.tolist() == pytest.approx([math.log(0.6 * 0.3), math.log(0.1)], rel=1e-5)


def test_the_loss_is_log_two_at_the_start_and_falls_as_the_chosen_answer_gains() -> None:
    model = Uneven()
    (pair,) = with_reference(model, [Pair(chosen=row(3, 1), rejected=row(3, 2))], PAD, 4)
    assert pair.reference == pytest.approx(math.log(2), rel=1e-5)
    assert preference_loss(model, [pair], PAD, 0.5).item() == pytest.approx(math.log(2), rel=1e-5)
    with torch.no_grad():
        model.logits[1] += 2.0
    expected = math.log(1 + math.exp(-0.5 * 2.0))
    assert preference_loss(model, [pair], PAD, 0.5).item() == pytest.approx(expected, rel=1e-5)


def test_a_pair_counts_by_the_weight_of_its_chosen_answer() -> None:
    model = Uneven()
    pairs = [
        Pair(chosen=row(3, 1), rejected=row(3, 2), weight=weight, reference=apart) for weight, apart in ((1.0, 0.2), (0.25, 3.0))
    ]
    one, other = (preference_loss(model, [pair], PAD, 0.5).item() for pair in pairs)
    assert preference_loss(model, pairs, PAD, 0.5).item() == pytest.approx((one + 0.25 * other) / 1.25, rel=1e-6)


def test_a_pair_costs_the_tokens_of_both_answers() -> None:
    assert len(Pair(chosen=row(3, 1, 1), rejected=row(3, 2)).ids) == 5
