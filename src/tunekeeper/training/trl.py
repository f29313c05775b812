"""TRL's SFTTrainer in place of our loop: the same rows, recipe and rate, the same files left behind, TRL's own batches.

Runs in a child process: imports torch and TRL. Only what learns is TRL's; loading, checks, what is kept of each epoch and the
record are `job.run`'s.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import torch
import trl
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging

from tunekeeper.training import job
from tunekeeper.training.encode import Encoded
from tunekeeper.training.loop import CURVE_POINTS, Curve, Meter, Progress, Setup, held_out_loss, rate, stalled, take_losses
from tunekeeper.training.workfolder import TRL_CHECKPOINTS, Context

WHOLE = "whole.json"
"""Put into a checkpoint once all of it is written: the work it belongs to, and the curve so far."""
IGNORED = -100


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """As `job.run`, learned by TRL."""
    logging.set_verbosity_error()  # its advice is for who calls it, and the job's log is ours
    done = job.run(input, context, fit=fit)
    return done | {"machine": done["machine"] | {"trl": trl.__version__, "datasets": datasets.__version__}}


def fit(setup: Setup, progress: Progress) -> Curve:
    """Train until the recipe's last epoch, from the last whole checkpoint of this work; returns the curve. Raises ConfigError
    when the loss stops being a number."""
    recipe = setup.recipe
    rows = [row for row, weight in zip(setup.rows, setup.weights, strict=True) if weight > 0 and isinstance(row, Encoded)]
    steps = recipe.epochs * math.ceil(len(rows) / recipe.batch)
    folder = setup.checkpoint.with_name(TRL_CHECKPOINTS)
    checkpoint, curve = newest(folder, setup.key)
    learned = [parameter for parameter in setup.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps, recipe) / recipe.learning_rate)
    watch = _Watch(setup, curve, steps, sum(len(row.ids) for row in rows), progress)
    trainer = _Learner(
        watch.hear,
        model=setup.model,
        args=trl.SFTConfig(**settings(setup, folder)),
        train_dataset=datasets.Dataset.from_dict(columns(rows)),
        processing_class=setup.tokenizer,
        callbacks=[watch],
        optimizers=(optimizer, falling),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    shutil.rmtree(folder, ignore_errors=True)
    return curve


def settings(setup: Setup, folder: Path) -> dict[str, Any]:
    """SFTConfig's arguments: the recipe; the base is loaded, and recomputes, as for our loop."""
    recipe, gpu = setup.recipe, torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": recipe.batch // recipe.accumulation,
        "gradient_accumulation_steps": recipe.accumulation,
        "num_train_epochs": recipe.epochs,
        "max_grad_norm": recipe.clip,
        "max_length": recipe.max_tokens,
        "seed": recipe.seed,
        "bf16": setup.model.config.dtype == torch.bfloat16,
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "gradient_checkpointing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def columns(rows: list[Encoded]) -> dict[str, list[list[int]]]:
    """The rows as TRL takes them when they are tokenized already: a label for each token that is learned."""
    labels = [[token if learn else IGNORED for token, learn in zip(row.ids, row.learned, strict=True)] for row in rows]
    return {"input_ids": [list(row.ids) for row in rows], "labels": labels}


def newest(folder: Path, key: str) -> tuple[Path | None, Curve]:
    """The last checkpoint in `folder` that was written whole for the work `key`, with its curve; an empty one without. What
    belongs to other work is removed."""
    found = []
    for mark in folder.glob(f"checkpoint-*/{WHOLE}"):
        told = json.loads(mark.read_text())
        if told["key"] == key:
            found.append((told["curve"]["step"], mark.parent, told["curve"]))
    if not found:
        shutil.rmtree(folder, ignore_errors=True)
        return None, Curve()
    _, checkpoint, values = max(found)
    curve = Curve(**values)
    curve.resumed_from = curve.epoch
    return checkpoint, curve


class _Learner(trl.SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that says each part's loss as it is; its own log rounds them and takes their mean."""

    def __init__(self, hear: Callable[[Any], None], **given: Any) -> None:
        super().__init__(**given)
        self.hear = hear

    def training_step(self, *given: Any, **named: Any) -> Any:
        loss = super().training_step(*given, **named)
        self.hear(loss)
        return loss


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Keeps the curve, tells progress, and after each epoch has put aside what `job` keeps of it."""

    def __init__(self, setup: Setup, curve: Curve, steps: int, tokens: int, progress: Progress) -> None:
        self.setup, self.curve, self.steps, self.tokens = setup, curve, steps, tokens
        self.meter = Meter(curve, steps, progress)
        self.every = max(1, steps // CURVE_POINTS)
        self.parts: list[Any] = []
        self.recent: list[Any] = []

    def hear(self, loss: Any) -> None:
        """A part's share of its step's loss."""
        self.parts.append(loss)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.meter.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.recent.append(torch.stack(self.parts).sum())
        self.parts.clear()
        self.curve.step += 1
        # Which rows a step had TRL does not say; at the end of an epoch it is all of them.
        self.curve.tokens = round(self.tokens * self.setup.recipe.epochs * self.curve.step / self.steps)
        if len(self.recent) >= self.every:
            take_losses(self.curve, self.recent, self.setup.recipe)
        self.meter.tell(self.curve.epoch, self.curve.loss[-1] if self.curve.loss else self.recent[-1])

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self.recent:
            take_losses(self.curve, self.recent, self.setup.recipe)
        self.curve.epoch += 1
        if self.setup.held:
            self.curve.eval_loss.append(held_out_loss(self.setup))
        self.meter.stop()
        self.setup.at_epoch(self.curve)
        if stalled(self.curve.eval_loss, self.setup.recipe.patience):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / WHOLE).write_text(json.dumps({"key": self.setup.key, "curve": asdict(self.curve)}))
        self.meter.tell(self.curve.epoch - 1, self.curve.loss[-1], always=True)
