"""What differs between two training runs: base, data, recipe, start, environment and outcome. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.selection import rose, said_of

ENERGY = "energy_wh"
"""Stands with the machine in a run's record, and is what came out of it."""
OUTCOME = (
    "final_loss",
    "best_eval_loss",
    "best_task",
    "epoch",
    "rows",
    "seconds",
    "cpu_seconds",
    "tokens_per_second",
    "cost_usd",
    ENERGY,
)
LEARNED = ("final_loss", "best_eval_loss", "best_task", "epoch")
"""Of the outcome what was learned, not what it took."""
MEASURES = ("recipe.objective", "tokenizer", "template")
"""What a loss is a loss of: answers or preferences, and how a text falls into tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that is not the same."""

    what: str
    """`recipe.rank`, `dataset`, `base`, `tokenizer`, `template`, `parent`, `machine.torch`."""
    a: Any
    """Value of the first run; None where it had none."""
    b: Any
    """Value of the second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs beside each other."""

    a: str
    """Id of the first run."""
    b: str
    """Id of the second."""
    changes: tuple[Change, ...]
    """What went in differently, the weightiest first: base, dataset, parent, recipe, machine."""
    outcome: dict[str, tuple[Any, Any]]
    """Measure → (first, second), for those that at least one run has."""
    says: tuple[str, ...]
    """What follows, a sentence each."""


def compare(a: TrainingRun, b: TrainingRun, *, reordered: bool = False) -> Comparison:
    """What differs between two runs, also of two models. `reordered`: whether their datasets hold the same rows, so that only the
    order is another."""
    changes = [
        Change(what=name, a=x, b=y)
        for name, x, y in (
            ("model", a.model, b.model),
            ("base", a.base_digest, b.base_digest),
            ("tokenizer", a.tokenizer_digest, b.tokenizer_digest),
            ("template", a.template_digest, b.template_digest),
            ("dataset", a.dataset_digest, b.dataset_digest),
            ("parent", a.parent, b.parent),
        )
        if x != y and (name not in ("tokenizer", "template") or None not in (x, y))  # old runs do not say
    ]
    changes += _differing("recipe", a.recipe, b.recipe) + _differing("machine", a.machine, b.machine)
    measured = {name: (_measure(a, name), _measure(b, name)) for name in OUTCOME}
    outcome = {name: pair for name, pair in measured.items() if pair != (None, None)}
    says = (*_curves(a, b), *_says(changes, outcome, reordered))
    return Comparison(a=a.id, b=b.id, changes=tuple(changes), outcome=outcome, says=says)


def _curves(a: TrainingRun, b: TrainingRun) -> list[str]:
    """What the losses of two runs say of their rates and epochs, where it is not the same."""
    said = [(run.id, rose(run.loss) or said_of(run.eval_loss)) for run in (a, b)]
    return [f"{id}: {what}" for id, what in said if what] if said[0][1] != said[1][1] else []


def _differing(what: str, a: dict[str, Any], b: dict[str, Any]) -> list[Change]:
    keys = [*a, *(key for key in b if key not in a)]
    return [
        Change(what=f"{what}.{key}", a=a.get(key), b=b.get(key)) for key in keys if key != ENERGY and a.get(key) != b.get(key)
    ]


def _measure(run: TrainingRun, name: str) -> Any:
    if name == "best_eval_loss":
        return min(run.eval_loss, default=None)
    if name == "best_task":
        return max((share for share in run.task if share is not None), default=None)
    return run.machine.get(ENERGY) if name == ENERGY else getattr(run, name)


def _says(changes: list[Change], outcome: dict[str, tuple[Any, Any]], reordered: bool) -> list[str]:
    changed = [change.what for change in changes if change.what != "model"]  # for whom it was learned explains nothing
    went_in = [what for what in changed if not what.startswith("machine.")]
    found = []
    if not changed:
        alike = all(outcome[name][0] == outcome[name][1] for name in LEARNED if name in outcome)
        came = "the same came out" if alike else "what differs comes from chance"
        found.append(f"the same base, data and recipe went in, on the same machine: {came}")
    elif not went_in:
        found.append("the same base, data and recipe went in: what differs comes from the machine, or from chance")
    elif len(went_in) == 1 and len(changed) > 1:
        found.append(f"{went_in[0]} and the machine differ: neither alone can be held to explain the outcome")
    elif len(went_in) == 1:
        found.append(f"only {went_in[0]} differs: it explains the outcome as far as anything does")
    else:
        found.append(f"{len(went_in)} things differ at once: no one of them can be held to explain the outcome")
    if reordered:
        found.append("the datasets hold the same rows in another order: what differs by it is chance, as by another seed")
    elif "dataset" in went_in:
        found.append("the losses are of different rows and cannot be compared; an exam on one suite can")
    elif other := next((name for name in MEASURES if name in went_in), None):
        found.append(f"with another {other} the losses measure something else and cannot be compared; an exam on one suite can")
    x, y = outcome.get("best_task", (None, None))
    if x is not None and y is not None and x != y:
        found.append(f"the sample was answered {y - x:+.1%} right by the second run; the gate decides, not this sample")
    return found
