"""Preferences: of two answers to one question the chosen one is made likelier than the rejected one (DPO).

Source: Rafailov et al., "Direct Preference Optimization", 2023, equation 7. The reference is the model as it is before the first
step, worked out once for each pair. Runs in a child process: imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tunekeeper.training.encode import Encoded
from tunekeeper.training.forward import side_by_side, token_losses


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two answers to one question."""

    chosen: Encoded
    """The conversation with the answer that was preferred."""
    rejected: Encoded
    """The same question with the other one."""
    reference: float = 0.0
    """Log-probability of the chosen answer minus the rejected one's, nats, before training."""
    weight: float = 1.0
    """How much of a batch's mean it is, above 0 to 1: the weight of the chosen answer."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Tokens of both, which is what the pair costs."""
        return self.chosen.ids + self.rejected.ids


def preference_loss(model: Any, pairs: Sequence[Pair], pad: int, beta: float) -> Any:
    """Mean of -log sigmoid(beta * (margin - reference margin)) over pairs, by their weights, as a tensor; log 2 before the first
    step."""
    margins = margins_of(model, pairs, pad)
    reference = torch.tensor([pair.reference for pair in pairs], device=margins.device)
    losses = -torch.nn.functional.logsigmoid(beta * (margins - reference))
    weights = torch.tensor([pair.weight for pair in pairs], dtype=torch.float64)
    return (
        losses.mean() if (weights == 1).all() else (losses.double() * (weights / weights.sum()).to(losses.device)).sum().float()
    )


def margins_of(model: Any, pairs: Sequence[Pair], pad: int) -> Any:
    """Log-probability of each chosen answer minus its rejected one's, nats, as a tensor of one number a pair."""
    found = answer_log_probabilities(model, [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs], pad)
    return found[: len(pairs)] - found[len(pairs) :]


def answer_log_probabilities(model: Any, rows: Sequence[Encoded], pad: int) -> Any:
    """Sum of the log-probabilities of each row's learned tokens, nats, as a tensor of one number a row."""
    ids, learned = side_by_side(rows, pad)
    losses = token_losses(model, ids, learned).split(learned[:, 1:].sum(1).tolist())
    return -torch.stack([row.sum() for row in losses])


@torch.no_grad()  # type: ignore[untyped-decorator]
def with_reference(model: Any, pairs: Sequence[Pair], pad: int, size: int) -> list[Pair]:
    """The pairs with what the model makes of them now; `size` pairs at a time."""
    model.eval()
    found: list[Pair] = []
    for start in range(0, len(pairs), size):
        group = pairs[start : start + size]
        margins = margins_of(model, group, pad).tolist()
        found += [replace(pair, reference=margin) for pair, margin in zip(group, margins, strict=True)]
    return found
