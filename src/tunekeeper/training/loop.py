"""The training loop: answers or preferences learned by an adapter, batches grouped by length, resumable at every epoch to the
same result.

Read it from `fit` on: what it calls stands below it, in the order of a step, then of an epoch's end. In files of their own are
how rows become tokens and a mask (`encode.py`), the forward pass with its cross entropy (`forward.py`) and the loss of
preferences (`preference.py`). Runs in a child process: imports torch.
"""

from __future__ import annotations

import math
import os
import random
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunekeeper.core.errors import ConfigError
from tunekeeper.training.encode import Encoded
from tunekeeper.training.forward import mean_loss, side_by_side, token_losses
from tunekeeper.training.preference import Pair, preference_loss
from tunekeeper.training.recipe import Recipe

POOL = 4
"""Batches whose rows are sorted by length together: 8 % less time than without, at the same held-out loss. With 16 it is 11 %,
and a loss that is 0.008 nats higher (16 seeds, standard error 0.003), because a batch is then of one kind of row."""
LOWEST_RATE = 0.05
CURVE_POINTS = 50
FIRST_SCALE = 1024.0
"""In float16. torch begins with 65,536 and spends the first steps on finding that too large; a run has few of them."""
Progress = Callable[..., None]
Learned = Encoded | Pair
"""What one row of a batch is: an answer to learn, or two of which one is to be preferred."""


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
    rows: Sequence[Learned]
    """Rows to learn."""
    weights: Sequence[float]
    """Chance of each row being used in an epoch, 0 to 1."""
    held: Sequence[Learned]
    """Held-out rows for `eval_loss`."""
    pad: int
    """Token id that fills up a batch."""
    recipe: Recipe
    """The recipe."""
    checkpoint: Path = Path("checkpoint.pt")
    """File that is written after each epoch and read at the start."""
    key: str = ""
    """Digest of everything the result depends on; a checkpoint of another key is not continued."""
    tokenizer: Any = None
    """The base's tokenizer, for a trainer that asks for one; our loop does not."""
    at_epoch: Callable[[Curve], None] = lambda curve: None
    """Called after each epoch, before its checkpoint is written; after a kill again for the same epoch, with the same weights."""


def fit(setup: Setup, progress: Progress) -> Curve:
    """Train until the recipe's last epoch; returns the curve. Raises ConfigError when the loss stops being a number.

    `progress(fraction, **fields)` is told step, loss, speed and eta at most twice a second.
    """
    recipe, model = setup.recipe, setup.model
    numbers = [p for p in model.parameters() if p.requires_grad]  # of the adapter; in full tuning all there are
    optimizer = torch.optim.AdamW(numbers, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    scaler = scaler_of(model)
    curve = _resume(setup, numbers, optimizer, scaler)
    steps = recipe.epochs * max(1, math.ceil(sum(setup.weights) / recipe.batch))  # about: rows of less weight are drawn
    every = max(1, steps // CURVE_POINTS)
    meter = Meter(curve, steps, progress)
    recent: list[Any] = []  # kept where they were worked out: to ask for one is to wait for it
    for epoch in range(curve.epoch, recipe.epochs):
        if stalled(curve.eval_loss, recipe.patience):
            break
        model.train()
        # Each epoch draws from a seed of its own, so that one resumed in the middle of a run goes as it would have gone.
        for batch in batches(setup.rows, setup.weights, recipe.batch, random.Random(f"{recipe.seed}/{epoch}")):
            for group in optimizer.param_groups:
                group["lr"] = rate(curve.step, steps, recipe)
            loss = learn(setup, batch, scaler)
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(numbers, recipe.clip)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            recent.append(loss)
            curve.step += 1
            curve.tokens += sum(len(row.ids) for row in batch)
            if len(recent) >= every:
                take_losses(curve, recent, recipe)
            meter.tell(epoch, curve.loss[-1] if curve.loss else recent[-1])
        if recent:
            take_losses(curve, recent, recipe)
        curve.epoch = epoch + 1
        if setup.held:
            curve.eval_loss.append(held_out_loss(setup))
        meter.stop()
        setup.at_epoch(curve)
        _save(setup, numbers, optimizer, scaler, curve)
        meter.start()
        meter.tell(epoch, curve.loss[-1], always=True)
    return curve


def scaler_of(model: Any) -> Any:
    """What keeps small gradients from becoming 0 in float16, by working with a multiple of the loss; off in other formats."""
    device = next(model.parameters()).device.type
    return torch.amp.GradScaler(device, init_scale=FIRST_SCALE, enabled=model.config.dtype == torch.float16)


def stalled(eval_loss: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` epochs brought no lower held-out loss than those before (None: never)."""
    if patience is None or len(eval_loss) <= patience:
        return False
    return min(eval_loss[-patience:]) >= min(eval_loss[:-patience])


def batches(rows: Sequence[Learned], weights: Sequence[float], size: int, rng: random.Random) -> list[list[Learned]]:
    """One epoch's batches: rows drawn by weight, at least the likeliest, shuffled, sorted by length inside pools, the batches
    shuffled again."""
    drawn = [row for row, weight in zip(rows, weights, strict=True) if weight >= 1 or rng.random() < weight]
    drawn = drawn or [rows[max(range(len(rows)), key=lambda place: weights[place])]]
    rng.shuffle(drawn)
    found = []
    for start in range(0, len(drawn), size * POOL):
        pool = sorted(drawn[start : start + size * POOL], key=lambda row: len(row.ids))
        found += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(found)
    return found


def rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of a step: linear warm-up, then a cosine from the peak to a twentieth over the steps that are left."""
    warm = min(recipe.warmup_steps, steps)
    climb = min(1.0, (step + 1) / max(1, warm))
    fallen = max(0, step + 1 - warm) / max(1, steps - warm)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, fallen)))
    return recipe.learning_rate * climb * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)


def learn(setup: Setup, batch: Sequence[Learned], scaler: Any) -> Any:
    """Add the gradients of one step's batch, worked off in parts, by the multiple of `scaler`; returns its mean loss as a tensor.

    Each part counts by what it has to learn, so that the parts change the memory and not the result.
    """
    whole, total = sum(map(mass, batch)), torch.zeros(())
    for part in parts(batch, setup.recipe):
        share = sum(map(mass, part)) / whole
        loss = loss_of(setup, part) * share
        scaler.scale(loss).backward()
        total = total.to(loss.device) + loss.detach()
    return total


def parts(batch: Sequence[Learned], recipe: Recipe) -> list[Sequence[Learned]]:
    """The batch in `accumulation` parts of about equal size, or with `packing` in as many as fill `max_tokens` each."""
    if not recipe.packing:
        size = math.ceil(len(batch) / recipe.accumulation)
        return [batch[i : i + size] for i in range(0, len(batch), size)]
    packs: list[list[Learned]] = []
    room: list[int] = []
    for row in sorted(batch, key=lambda row: -len(row.ids)):  # first fit, the longest first
        place = next((i for i, left in enumerate(room) if left >= len(row.ids)), None)
        if place is None:
            packs.append([row])
            room.append(recipe.max_tokens - len(row.ids))
        else:
            packs[place].append(row)
            room[place] -= len(row.ids)
    return list(packs)


def mass(row: Learned) -> float:
    """How much of a batch's mean a row is: its learned tokens, or one pair, by their weights."""
    return row.weight if isinstance(row, Pair) else row.mass


def loss_of(setup: Setup, rows: Sequence[Learned]) -> Any:
    """Mean loss of some rows as a tensor: cross entropy, nats a learned token, or the preference loss of pairs."""
    pairs = [row for row in rows if isinstance(row, Pair)]
    if pairs:
        return preference_loss(setup.model, pairs, setup.pad, setup.recipe.beta)
    plain = [row for row in rows if isinstance(row, Encoded)]
    return packed_loss(setup.model, plain) if setup.recipe.packing else batch_loss(setup.model, plain, setup.pad)


def batch_loss(model: Any, batch: Sequence[Encoded], pad: int) -> Any:
    """Mean cross entropy over the learned tokens of rows side by side, filled up with `pad`; each counts by its weight."""
    return mean_loss(token_losses(model, *side_by_side(batch, pad)), batch)


def packed_loss(model: Any, batch: Sequence[Encoded]) -> Any:
    """The same of rows laid end to end: positions start anew with each row, and no token sees another row's."""
    ids = torch.tensor([[id for row in batch for id in row.ids]])
    # A row's first token follows nothing: it would be learned from the end of the row before.
    learned = torch.tensor([[learn for row in batch for learn in (False, *row.learned[1:])]])
    positions = torch.tensor([[position for row in batch for position in range(len(row.ids))]])
    losses = token_losses(model, ids, learned, position_ids=positions.to(next(model.parameters()).device))
    return mean_loss(losses, batch)


def held_out_loss(setup: Setup) -> float:
    """Mean loss over rows that are not learned, each counted by what of it would be."""
    setup.model.eval()
    total, count = 0.0, 0.0
    ordered = sorted(setup.held, key=lambda row: len(row.ids))
    with torch.no_grad():
        for start in range(0, len(ordered), setup.recipe.batch):
            for part in parts(ordered[start : start + setup.recipe.batch], setup.recipe):
                n = sum(map(mass, part))
                total += loss_of(setup, part).item() * n
                count += n
    return total / count


def take_losses(curve: Curve, recent: list[Any], recipe: Recipe) -> None:
    """Take the mean of the last steps' losses into the curve. Raises ConfigError when one of them is not a number."""
    losses = torch.stack(recent).tolist()
    for step, loss in enumerate(losses, curve.step - len(losses) + 1):
        if not math.isfinite(loss):
            raise ConfigError(
                f"training: the loss became {loss} at step {step} with learning_rate {recipe.learning_rate:g}",
                fix=f"set learning_rate to {recipe.learning_rate / 10:g}",
            )
    curve.loss.append(sum(losses) / len(losses))
    recent.clear()


def _save(setup: Setup, numbers: list[Any], optimizer: Any, scaler: Any, curve: Curve) -> None:
    """Everything that the next epoch depends on, in one file, replaced as a whole."""
    state = {
        "key": setup.key,
        "learned": [p.detach() for p in numbers],
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
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


def _resume(setup: Setup, numbers: list[Any], optimizer: Any, scaler: Any) -> Curve:
    """The curve so far, with weights, optimizer and random state put back; an empty one without a checkpoint of this work."""
    state = _whole(setup.checkpoint, numbers[0].device)
    if state is None or state["key"] != setup.key:
        return Curve()
    with torch.no_grad():
        for parameter, value in zip(numbers, state["learned"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    if state.get("scaler"):
        scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["random"].cpu())
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["random_gpu"]])
    curve = Curve(**state["curve"])
    curve.resumed_from = curve.epoch
    return curve


def _whole(checkpoint: Path, device: Any) -> dict[str, Any] | None:
    """What a checkpoint holds; None without one, and of one that is damaged: beginning anew comes to the same result. torch takes
    turned bits for numbers, so the sums of the zip file that it is are looked at first."""
    if not checkpoint.is_file():
        return None
    try:
        with zipfile.ZipFile(checkpoint) as parts:
            if parts.testzip() is not None:
                return None
        state: dict[str, Any] = torch.load(checkpoint, map_location=device, weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 - a damaged file is anything, and both libraries raise what they come upon
        return None
    return state


class Meter:
    """Adds this attempt's time to the curve and tells progress, at most twice a second."""

    def __init__(self, curve: Curve, steps: int, progress: Progress) -> None:
        self.curve, self.steps, self.progress = curve, steps, progress
        self.wall, self.cpu = time.monotonic(), time.process_time()
        self.told = 0.0
        self.first = curve.step
        self.began = self.wall

    def start(self) -> None:
        """Count from here: what was done since `stop` is not the loop's."""
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def stop(self) -> None:
        """Take the time since `start` into the curve."""
        self.curve.seconds += time.monotonic() - self.wall
        self.curve.cpu_seconds += time.process_time() - self.cpu

    def tell(self, epoch: int, loss: Any, *, always: bool = False) -> None:
        """Report the step just done; `loss` is a number or a tensor of one."""
        now = time.monotonic()
        if not always and now - self.told < 0.5:
            return
        self.told = now
        done = self.curve.step
        each = (now - self.began) / max(1, done - self.first)
        spent = self.curve.seconds + now - self.wall
        self.progress(
            min(1.0, done / self.steps),
            step=done,
            steps=self.steps,
            epoch=epoch + 1,
            loss=round(float(loss), 4),
            eta_seconds=round(max(0, self.steps - done) * each, 1),
            tokens_per_second=round(self.curve.tokens / max(spent, 1e-9), 1),
        )
