"""The output head is asked for what is learned, and the losses are those of a pass over everything."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.training.base import read_base
from tunekeeper.training.encode import Encoded
from tunekeeper.training.recipe import from_json

from .conftest import BASE

pytestmark = [
    pytest.mark.real,
    # peft asks transformers under a name that transformers is about to drop.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
ROWS = (
    Encoded(ids=(5, 6, 7, 8, 9, 10, 11), learned=(False, False, True, True, False, True, True)),
    Encoded(ids=(20, 21, 22), learned=(True, False, True)),  # nothing stands before the first token: it is never learned
    Encoded(ids=(30, 31, 32, 33), learned=(False, True, True, True)),
)


@pytest.fixture(scope="module")
def model() -> Any:
    from tunekeeper.training.loading import load

    return load(read_base(BASE), from_json({"rank": 2, "dtype": "float32"}), None)[0].eval()


def one_by_one(model: Any) -> list[float]:
    """The losses as transformers' whole logits have them, each row alone."""
    import torch

    found = []
    for row in ROWS:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.ids])).logits[0]
        said = -torch.log_softmax(logits.float(), -1)
        found += [said[i - 1, row.ids[i]].item() for i in range(1, len(row.ids)) if row.learned[i]]
    return found


def test_each_learned_token_has_the_loss_that_it_has_alone(model: Any) -> None:
    from tunekeeper.training.forward import side_by_side, token_losses

    losses = token_losses(model, *side_by_side(ROWS, 0)).tolist()
    assert losses == pytest.approx(one_by_one(model), abs=1e-5)
    # What a row is filled up with changes nothing.
    assert token_losses(model, *side_by_side(ROWS, 77)).tolist() == pytest.approx(losses, abs=1e-5)


def test_rows_end_to_end_have_the_same_losses(model: Any) -> None:
    from tunekeeper.training.loop import batch_loss, packed_loss

    mean = sum(one_by_one(model)) / len(one_by_one(model))
    assert packed_loss(model, ROWS).item() == pytest.approx(mean, abs=1e-5)
    assert batch_loss(model, ROWS, 0).item() == pytest.approx(mean, abs=1e-5)


def test_the_head_works_on_the_learned_tokens_alone_and_is_itself_again_after(model: Any) -> None:
    from tunekeeper.training.forward import side_by_side, token_losses

    seen = []
    hook = model.get_output_embeddings().register_forward_hook(lambda head, given, made: seen.append(tuple(made.shape)))
    token_losses(model, *side_by_side(ROWS, 0))
    assert seen == [(1, 4 + 1 + 3, 960)]
    import torch

    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 960)
    hook.remove()
    with pytest.raises(IndexError):
        token_losses(model, torch.tensor([[5000, 5001]]), torch.tensor([[False, True]]))
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 960)


def test_a_base_in_sixteen_bits_is_worked_with_in_sixteen() -> None:
    import torch

    from tunekeeper.training.forward import halved, side_by_side, token_losses
    from tunekeeper.training.loading import load

    half = load(read_base(BASE), from_json({"rank": 2, "dtype": "bfloat16"}), None)[0]
    with halved(half, torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu")
    losses = token_losses(half, *side_by_side(ROWS, 0))
    assert losses.dtype == torch.float32
    losses.mean().backward()
    grown = [each.grad for each in half.parameters() if each.requires_grad and each.grad is not None]
    assert {each.dtype for each in grown} == {torch.float32}
    assert any(each.abs().sum() > 0 for each in grown)
