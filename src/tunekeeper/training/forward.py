"""The forward pass of learning: rows as one tensor, and the output head asked only for what is learned.

A head of 150,000 words costs as much as several layers, and most tokens of a conversation are read and not learned. Rows are
filled up at their right: no token attends to what stands after it, so they need no mask and the fast attention serves.
Runs in a child process: imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tunekeeper.training.encode import Encoded

HALVES = (torch.bfloat16, torch.float16)


def side_by_side(rows: Sequence[Encoded], pad: int) -> tuple[Any, Any]:
    """(ids, learned) of rows under each other, filled up with `pad`, which is not learned."""
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[pad] * (width - len(row.ids))] for row in rows])
    learned = torch.tensor([[*row.learned, *[False] * (width - len(row.ids))] for row in rows])
    return ids, learned


def token_losses(model: Any, ids: Any, learned: Any, **inputs: Any) -> Any:
    """Cross entropy of each learned token, nats, one after the other, row by row. A row's first token follows nothing and is
    never learned. `ids` and `learned`: (rows, width), on the processor; `inputs`: what else the model is given."""
    device = next(model.parameters()).device
    asked = torch.zeros_like(learned)
    asked[:, :-1] = learned[:, 1:]  # a token is said by what stands before it
    places = asked.flatten().nonzero().squeeze(1).to(device)
    wanted = ids[:, 1:][learned[:, 1:]].to(device)

    def only_those(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0].flatten(0, 1).index_select(0, places)[None],)

    hook = model.get_output_embeddings().register_forward_pre_hook(only_those)
    try:
        with halved(model, device):
            logits = model(input_ids=ids.to(device), use_cache=False, **inputs).logits[0]
    finally:
        hook.remove()
    return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")


def mean_loss(losses: Any, rows: Sequence[Encoded]) -> Any:
    """The weighted mean of `token_losses` of these rows: each token's loss times its weight, over the sum of the weights."""
    if not any(row.weights for row in rows):
        return losses.mean()
    weights = [weight for row in rows for weight in _weights(row)]
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    return (losses.double() * shares.to(losses.device)).sum().float()


def _weights(row: Encoded) -> list[float]:
    """The weight of each learned token but the first of all, which nothing stands before."""
    weights = row.weights or (1.0,) * len(row.ids)
    return [weight for weight, learn in zip(weights[1:], row.learned[1:], strict=True) if learn]


def halved(model: Any, device: Any) -> Any:
    """The context in which an adapter's float32 is worked with in the base's own 16 bits; nothing changes for another base."""
    dtype = model.config.dtype
    return torch.autocast(device.type, dtype=dtype if dtype in HALVES else None, enabled=dtype in HALVES)


def keeps_rows_apart(model: Any) -> bool:
    """Whether of two rows laid end to end the second sees nothing of the first: no gradient of its loss goes there. Not every
    architecture looks at positions for that, and a state that is carried on (Mamba's) or a convolution knows no rows."""
    seen: list[Any] = []

    def watched(_: Any, __: Any, found: Any) -> Any:
        seen.append(found.detach().requires_grad_())
        return seen[0]

    width = 4
    ids = torch.arange(1, 2 * width + 1)[None]
    learned = torch.tensor([[place > width for place in range(2 * width)]])
    positions = torch.arange(width).repeat(2)[None].to(next(model.parameters()).device)
    hook = model.get_input_embeddings().register_forward_hook(watched)
    try:
        losses = token_losses(model, ids, learned, position_ids=positions)
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(losses.sum(), seen)
    return bool((gradient[:, :width] == 0).all())
