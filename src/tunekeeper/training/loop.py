"""The training loop: LoRA on the answers only, batches grouped by length, resumable at every epoch to the same result.

Runs in a child process: imports torch.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunekeeper.core.errors import ConfigError
from tunekeeper.training.encode import Encoded
from tunekeeper.training.recipe import Recipe

POOL = 16
"""Batches whose rows are sorted by length together."""
IGNORED = -100
LOWEST_RATE = 0.05
CURVE_POINTS = 50
Progress = Callable[..., None]


@dataclass(kw_only=True, slots=True)
class Curve:
    """What a loop leaves behind; saved with every checkpoint."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps finished."""
    loss: list[float] = field(default_factory=list)
    """Mean loss of each logged interval, nats a learned token."""
    eval_loss: list[float] = field(default_factory=list)
    """Loss on held-out rows after each epoch."""
    tokens: int = 0
    """Tokens trained, padding not counted."""
    seconds: float = 0.0
    """Wall seconds, over all attempts."""
    cpu_seconds: float = 0.0
    """CPU seconds, over all attempts."""
    resumed_from: int | None = None
    """Epoch that the last attempt resumed from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What a loop works on."""

    model: Any
    """PEFT model, on its device."""
    rows: Sequence[Encoded]
    """Rows to learn."""
    weights: Sequence[float]
    """Chance of each row being used in an epoch, 0 to 1."""
    held: Sequence[Encoded]
    """Held-out rows for `eval_loss`."""
    pad: int
    """Token id that fills up a batch."""
    recipe: Recipe
    """The recipe."""
    checkpoint: Path = Path("checkpoint.pt")
    """File that is written after each epoch and read at the start."""
    key: str = ""
    """Digest of everything the result depends on; a checkpoint of another key is not continued."""


def fit(setup: Setup, progress: Progress) -> Curve:
    """Train until the recipe's last epoch; returns the curve. Raises ConfigError when the loss stops being a number.

    `progress(fraction, **fields)` is told step, loss and eta at most twice a second.
    """
    recipe, model = setup.recipe, setup.model
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    curve = _resume(setup, learned, optimizer)
    steps = recipe.epochs * max(1, math.ceil(sum(setup.weights) / recipe.batch))
    every = max(1, steps // CURVE_POINTS)
    meter = _Meter(curve, steps, progress)
    recent: list[float] = []
    for epoch in range(curve.epoch, recipe.epochs):
        model.train()
        for batch in batches(setup.rows, setup.weights, recipe.batch, random.Random(f"{recipe.seed}/{epoch}")):
            for group in optimizer.param_groups:
                group["lr"] = rate(curve.step, steps, recipe)
            loss = batch_loss(model, batch, setup.pad)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, recipe.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            recent.append(_finite(loss.item(), curve.step, recipe))
            curve.step += 1
            curve.tokens += sum(len(row.ids) for row in batch)
            if len(recent) >= every:
                curve.loss.append(sum(recent) / len(recent))
                recent.clear()
            meter.tell(epoch, curve.loss[-1] if curve.loss else recent[-1])
        if recent:
            curve.loss.append(sum(recent) / len(recent))
            recent.clear()
        curve.epoch = epoch + 1
        if setup.held:
            curve.eval_loss.append(held_out_loss(model, setup.held, setup.pad, recipe.batch))
        meter.stop()
        _save(setup, learned, optimizer, curve)
        meter.tell(epoch, curve.loss[-1], always=True)
    return curve


def rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of a step: linear warm-up, then a cosine from the peak down to a twentieth of it."""
    climb = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return recipe.learning_rate * climb * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)


def batches(rows: Sequence[Encoded], weights: Sequence[float], size: int, rng: random.Random) -> list[list[Encoded]]:
    """One epoch's batches: rows drawn by weight, shuffled, sorted by length inside pools, the batches shuffled again."""
    drawn = [row for row, weight in zip(rows, weights, strict=True) if weight >= 1 or rng.random() < weight]
    rng.shuffle(drawn)
    found = []
    for start in range(0, len(drawn), size * POOL):
        pool = sorted(drawn[start : start + size * POOL], key=lambda row: len(row.ids))
        found += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(found)
    return found


def batch_loss(model: Any, batch: Sequence[Encoded], pad: int) -> Any:
    """Mean cross entropy over the learned tokens of a batch, nats a token, as a tensor."""
    width = max(len(row.ids) for row in batch)
    ids = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), IGNORED)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for i, row in enumerate(batch):
        n = len(row.ids)
        ids[i, :n] = torch.tensor(row.ids)
        mask[i, :n] = 1
        labels[i, :n] = torch.tensor([token if learn else IGNORED for token, learn in zip(row.ids, row.learned, strict=True)])
    device = next(model.parameters()).device
    return model(input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device)).loss


def held_out_loss(model: Any, rows: Sequence[Encoded], pad: int, size: int) -> float:
    """Mean loss over rows that are not learned, weighted by their learned tokens."""
    model.eval()
    total, count = 0.0, 0
    ordered = sorted(rows, key=lambda row: len(row.ids))
    with torch.no_grad():
        for start in range(0, len(ordered), size):
            batch = ordered[start : start + size]
            n = sum(sum(row.learned) for row in batch)
            total += batch_loss(model, batch, pad).item() * n
            count += n
    return total / count


def _finite(loss: float, step: int, recipe: Recipe) -> float:
    if math.isfinite(loss):
        return loss
    raise ConfigError(
        f"training: the loss became {loss} at step {step + 1} with learning_rate {recipe.learning_rate:g}",
        fix=f"set learning_rate to {recipe.learning_rate / 10:g}",
    )


def _save(setup: Setup, learned: list[Any], optimizer: Any, curve: Curve) -> None:
    """Everything that the next epoch depends on, in one file, replaced as a whole."""
    state = {
        "key": setup.key,
        "learned": [p.detach() for p in learned],
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "random_gpu": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "curve": asdict(curve),
    }
    part = setup.checkpoint.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(setup.checkpoint)


def _resume(setup: Setup, learned: list[Any], optimizer: Any) -> Curve:
    """The curve so far, with weights, optimizer and random state put back; an empty one without a checkpoint of this work."""
    if not setup.checkpoint.is_file():
        return Curve()
    state = torch.load(setup.checkpoint, map_location=learned[0].device, weights_only=True)
    if state["key"] != setup.key:
        return Curve()
    with torch.no_grad():
        for parameter, value in zip(learned, state["learned"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"].cpu())
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["random_gpu"]])
    curve = Curve(**state["curve"])
    curve.resumed_from = curve.epoch
    return curve


class _Meter:
    """Adds this attempt's time to the curve and tells progress, at most twice a second."""

    def __init__(self, curve: Curve, steps: int, progress: Progress) -> None:
        self.curve, self.steps, self.progress = curve, steps, progress
        self.wall, self.cpu = time.monotonic(), time.process_time()
        self.told = 0.0
        self.first = curve.step
        self.start = self.wall

    def stop(self) -> None:
        """Take the time since the last call into the curve."""
        wall, cpu = time.monotonic(), time.process_time()
        self.curve.seconds += wall - self.wall
        self.curve.cpu_seconds += cpu - self.cpu
        self.wall, self.cpu = wall, cpu

    def tell(self, epoch: int, loss: float, *, always: bool = False) -> None:
        """Report the step just done."""
        now = time.monotonic()
        if not always and now - self.told < 0.5:
            return
        self.told = now
        done = self.curve.step
        each = (now - self.start) / max(1, done - self.first)
        self.progress(
            min(1.0, done / self.steps),
            step=done,
            steps=self.steps,
            epoch=epoch + 1,
            loss=round(loss, 4),
            eta_seconds=round(max(0, self.steps - done) * each, 1),
        )
