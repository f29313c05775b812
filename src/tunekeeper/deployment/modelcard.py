"""The model card of a version, from the ledgers alone: what the card beside its adapter says, and the exams since."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.text.modelcard import Card, text_of


def card(version: Version, run: TrainingRun | None, exams: Sequence[Exam]) -> str:
    """README.md of a version in Markdown. `run`: None when it was trained elsewhere. `exams`: newest of each suite. Pure."""
    whole = version.checkpoint is not None
    told = Card(
        title=version.id,
        base=PurePosixPath(version.base).name or version.base,
        whole=whole,
        origin=_origin(version, run),
        parts={
            "base weights": version.base_digest,
            "tokenizer": version.tokenizer_digest,
            "chat template": version.template_digest,
            "adapter": version.adapter,
            "checkpoint": version.checkpoint,
            "dataset": run.dataset_digest if run else None,
            "recipe": run.recipe_digest if run else None,
        },
        tags=("full" if whole else "lora",),
        dataset=version.dataset,
        recipe=run.recipe if run else None,
        loss=_loss(run),
        exams=exams,
    )
    return text_of(told)


def _origin(version: Version, run: TrainingRun | None) -> str:
    kind = "A checkpoint whose every number was tuned," if version.checkpoint else "A LoRA adapter"
    if run is None:
        came = version.metadata.get("imported_from")
        return f"{kind} that came from elsewhere{f' ({came})' if came else ''}."
    rows = f"{run.rows} rows of " if run.rows is not None else ""
    after = f", continued from {run.parent}" if run.parent else ""
    return f"{kind} trained by Tunekeeper on {rows}`{run.dataset}`{after}."


def _loss(run: TrainingRun | None) -> str | None:
    if run is None or run.final_loss is None:
        return None
    return f"Final loss {run.final_loss:.4f}, which says nothing about quality."
