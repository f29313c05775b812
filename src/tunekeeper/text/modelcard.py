"""The model card: README.md with the front matter that model hubs read, what went in by its digests, and what judged it.

One writer, so that the card beside an adapter and the one in a registry say the same in the same words. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.nouns.evaluation import Exam


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What a card tells."""

    title: str
    """Its heading."""
    base: str
    """Name of the base; no path of a machine."""
    whole: bool
    """Whether every number of the base was tuned, and not an adapter."""
    origin: str
    """Where it came from, in a sentence or two."""
    parts: Mapping[str, str | None]
    """What it belongs to: name → digest; what is None is left out."""
    tags: Sequence[str] = ()
    """Tags beside our own, e.g. `sft`."""
    license: str | None = None
    """The base's licence, by its usual short name."""
    dataset: str | None = None
    """Id of the dataset version, where it has one."""
    recipe: Mapping[str, Any] | None = None
    """Every hyperparameter; None where somebody else trained."""
    loss: str | None = None
    """What the loss came to, in a sentence."""
    exams: Sequence[Exam] = ()
    """The newest of each suite."""


def text_of(card: Card) -> str:
    """The card in Markdown."""
    front = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in _front(card).items() if value)
    parts = [f"---\n{front}---", f"# {card.title}", card.origin, _identity(card.parts)]
    parts += [_recipe(card)] if card.recipe else []
    return "\n\n".join([*parts, _results(card.exams)]) + "\n"


def _front(card: Card) -> dict[str, Any]:
    """What hubs read; each value is written as JSON, which is YAML as well."""
    results = [_result(exam) for exam in card.exams if exam.verdict and exam.verdict.measured]
    return {
        "base_model": card.base,
        "base_model_relation": "finetune" if card.whole else "adapter",
        "library_name": "transformers" if card.whole else "peft",
        "pipeline_tag": "text-generation",
        "license": card.license,
        "tags": [*card.tags, "tunekeeper"],
        "datasets": [card.dataset] if card.dataset else None,
        "model-index": [{"name": card.title, "results": results}] if results else None,
    }


def _result(exam: Exam) -> dict[str, Any]:
    measured = exam.verdict.measured if exam.verdict else {}
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": exam.suite, "type": exam.suite, "revision": exam.suite_digest},
        "metrics": [{"type": name, "value": each.value} for name, each in measured.items() if each.value is not None],
    }


def _identity(parts: Mapping[str, str | None]) -> str:
    rows = [f"| {name} | `{digest}` |" for name, digest in parts.items() if digest]
    why = "It answers as it was judged only on the base, tokenizer and template with these digests."
    return "\n".join(["## What it belongs to", "", why, "", "| part | digest |", "|---|---|", *rows])


def _recipe(card: Card) -> str:
    rows = [f"| {name} | {value} |" for name, value in (card.recipe or {}).items() if value is not None]
    return "\n".join(["## Recipe", "", "| value | |", "|---|---|", *rows, *(("", card.loss) if card.loss else ())])


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
