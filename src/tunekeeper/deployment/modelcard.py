"""The model card of a version: what it is for machines (Hugging Face's front matter) and for people, from the ledgers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.training import TrainingRun, Version


def card(version: Version, run: TrainingRun | None, exams: Sequence[Exam]) -> str:
    """README.md of a version in Markdown. `run`: None when it was trained elsewhere. `exams`: newest of each suite. Pure."""
    import yaml

    front = yaml.safe_dump(_front(version, exams), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---", f"# {version.id}", _origin(version, run), _identity(version, run)]
    parts += [_recipe(run)] if run else []
    parts += [_results(exams)]
    return "\n\n".join(parts) + "\n"


def _front(version: Version, exams: Sequence[Exam]) -> dict[str, Any]:
    base = PurePosixPath(version.base).name or version.base
    whole = version.checkpoint is not None
    found: dict[str, Any] = {
        "base_model": base,
        "base_model_relation": "finetune" if whole else "adapter",
        "library_name": "transformers" if whole else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["full" if whole else "lora", "tunekeeper"],
    }
    if version.dataset:
        found["datasets"] = [version.dataset]
    results = [_result(exam) for exam in exams if exam.verdict and exam.verdict.measured]
    if results:
        found["model-index"] = [{"name": version.id, "results": results}]
    return found


def _result(exam: Exam) -> dict[str, Any]:
    measured = exam.verdict.measured if exam.verdict else {}
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": exam.suite, "type": exam.suite, "revision": exam.suite_digest},
        "metrics": [{"type": name, "value": each.value} for name, each in measured.items() if each.value is not None],
    }


def _origin(version: Version, run: TrainingRun | None) -> str:
    kind = "A checkpoint whose every number was tuned," if version.checkpoint else "A LoRA adapter"
    if run is None:
        came = version.metadata.get("imported_from")
        return f"{kind} that came from elsewhere{f' ({came})' if came else ''}."
    rows = f"{run.rows} rows of " if run.rows is not None else ""
    after = f", continued from {run.parent}" if run.parent else ""
    return f"{kind} trained by Tunekeeper on {rows}`{run.dataset}`{after}."


def _identity(version: Version, run: TrainingRun | None) -> str:
    digests = {
        "base weights": version.base_digest,
        "tokenizer": version.tokenizer_digest,
        "chat template": version.template_digest,
        "adapter": version.adapter,
        "checkpoint": version.checkpoint,
        "dataset": run.dataset_digest if run else None,
        "recipe": run.recipe_digest if run else None,
    }
    rows = [f"| {name} | `{digest}` |" for name, digest in digests.items() if digest]
    why = "It answers as it was judged only on the base, tokenizer and template with these digests."
    return "\n".join(["## What it belongs to", "", why, "", "| part | digest |", "|---|---|", *rows])


def _recipe(run: TrainingRun) -> str:
    rows = [f"| {name} | {value} |" for name, value in run.recipe.items() if value is not None]
    loss = f"\n\nFinal loss {run.final_loss:.4f}, which says nothing about quality." if run.final_loss is not None else ""
    return "\n".join(["## Recipe", "", "| value | |", "|---|---|", *rows]) + loss


def _results(exams: Sequence[Exam]) -> str:
    lines = ["## Exams", ""]
    rows = [
        f"| {exam.suite} | {name} | {each.value:.4f} | {_interval(each.low, each.high)} | {each.n} | {exam.verdict.outcome} |"
        for exam in exams
        if exam.verdict
        for name, each in exam.verdict.measured.items()
        if each.value is not None
    ]
    if not rows:
        return "\n".join([*lines, "None yet: nothing is known about its quality."])
    return "\n".join([*lines, "| suite | metric | value | interval | n | verdict |", "|---|---|---|---|---|---|", *rows])


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.4f} to {high:.4f}"
