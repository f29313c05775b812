"""The output head is asked for what is learned, and the losses are those of a pass over everything."""

from __future__ import annotations

import dataclasses
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


WEIGHTED = (
    dataclasses.replace(ROWS[0], weights=(0.0, 0.0, 0.5, 0.5, 0.0, 1.0, 1.0)),
    ROWS[1],
    dataclasses.replace(ROWS[2], weights=(0.0, 0.1, 0.1, 0.1)),
)


def plain_gradients(model: Any, rows: Any) -> tuple[float, list[Any]]:
    """Loss and gradients of the weighted mean as torch's own cross entropy has them, from whole logits, row by row."""
    import torch

    model.zero_grad()
    total, weights = torch.zeros((), dtype=torch.float64), 0.0
    for row in rows:
        logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1].float()
        labels = torch.tensor([id if learn else -100 for id, learn in zip(row.ids[1:], row.learned[1:], strict=True)])
        counts = torch.tensor(row.weights[1:] or (1.0,) * (len(row.ids) - 1)) * (labels != -100)
        total = total + (torch.nn.functional.cross_entropy(logits, labels, reduction="none").double() * counts).sum()
        weights += counts.sum().item()
    loss = total / weights
    loss.backward()
    return loss.item(), [each.grad.clone() for each in model.parameters() if each.grad is not None]


def test_loss_and_gradients_are_those_of_the_weighted_mean_whatever_the_parts(model: Any) -> None:
    import torch

    from tunekeeper.training.loop import Setup, held_out_loss, learn, scaler_of

    expected, gradients = plain_gradients(model, WEIGHTED)
    for changes in ({}, {"accumulation": 3}, {"packing": True}, {"packing": True, "max_tokens": 8}):
        recipe = from_json({"rank": 2, "dtype": "float32", "batch": 3, **changes})
        setup = Setup(model=model, rows=WEIGHTED, weights=[1.0] * 3, held=WEIGHTED, pad=0, recipe=recipe)
        model.zero_grad()
        assert learn(setup, WEIGHTED, scaler_of(model)).item() == pytest.approx(expected, rel=1e-6)
        found = [each.grad for each in model.parameters() if each.grad is not None]
        assert all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in zip(found, gradients, strict=True))
    assert held_out_loss(setup) == pytest.approx(expected, rel=1e-6)


def test_the_smallest_weights_are_ratios_and_no_zeros(model: Any) -> None:
    from tunekeeper.training.loop import batch_loss

    tiny = [dataclasses.replace(row, weights=tuple(weight * 1e-60 for weight in row.weights)) for row in WEIGHTED[::2]]
    expected = batch_loss(model, WEIGHTED[::2], 0).item()
    assert batch_loss(model, tiny, 0).item() == pytest.approx(expected, rel=1e-6)


def test_rows_end_to_end_are_kept_apart_by_some_bases_and_by_others_not(model: Any) -> None:
    from transformers import AutoModelForCausalLM, OPTConfig

    from tunekeeper.training.forward import keeps_rows_apart

    few = {"vocab_size": 16, "hidden_size": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    other = AutoModelForCausalLM.from_config(OPTConfig(**few, word_embed_proj_dim=8))
    assert (keeps_rows_apart(model), keeps_rows_apart(other.eval())) == (True, False)
    assert all(parameter.grad is None for parameter in other.parameters())


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


def test_in_float16_a_multiple_of_the_loss_is_worked_with_and_the_gradients_are_those_of_float32() -> None:
    import torch

    from tunekeeper.training.loading import load
    from tunekeeper.training.loop import FIRST_SCALE, Setup, learn, scaler_of

    found = {}
    for dtype in ("float32", "float16"):
        recipe = from_json({"rank": 2, "dtype": dtype, "batch": 3})
        model = load(read_base(BASE), recipe, None)[0].train()
        scaler = scaler_of(model)
        setup = Setup(model=model, rows=ROWS, weights=[1.0] * 3, held=(), pad=0, recipe=recipe)
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], fused=True)
        learn(setup, ROWS, scaler)
        assert scaler.is_enabled() == (dtype == "float16")
        worked = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
        scaler.unscale_(optimizer)
        found[dtype] = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
        assert torch.equal(worked, found[dtype] * (FIRST_SCALE if dtype == "float16" else 1))
    assert found["float16"].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(found["float16"], found["float32"], dim=0) > 0.999
