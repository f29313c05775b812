"""The story of the demo, act by act. Each act leaves figures in the journal; an act that was cut off is played again and finds
what it had done already in the product's own ledgers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunekeeper.demo import acts_change, acts_first, acts_trouble
from tunekeeper.demo.cast import Demo

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """One act."""

    name: str
    """Key in the journal and in demo.json."""
    title: str
    """What the screen says."""
    play: Callable[[Demo], Figures]
    """Plays it; returns what it measured."""


STORY = (
    Act(name="data", title="Data: import the raw export, clean, redact, split, freeze", play=acts_first.data),
    Act(name="train", title="Train a LoRA adapter on the tiny base", play=acts_first.train),
    Act(name="export", title="Export to GGUF, quantize, compare with training", play=acts_first.export),
    Act(name="evaluate", title="Evaluate what will be served against the prompted base", play=acts_first.evaluate),
    Act(
        name="deploy", title="Deploy: checklist, load, smoke test, switch; ask it with the openai client", play=acts_first.deploy
    ),
    Act(name="traffic", title="A week of users", play=acts_first.traffic),
    Act(name="change", title="The world changes: a product is renamed, two policies change", play=acts_change.change),
    Act(name="cycle", title="The cycle it opened: corrections, retrain, exam", play=acts_change.cycle),
    Act(name="canary", title="Canary 5 → 25 → 100 under any-time-valid checks", play=acts_change.canary),
    Act(name="bad", title="A bad candidate, trained on shuffled labels, meets the gate", play=acts_trouble.bad_candidate),
    Act(name="override", title="Let through by a named override: the canary goes back by itself", play=acts_trouble.override),
    Act(name="regression", title="The incident's cases block the next deployment", play=acts_trouble.regression),
    Act(name="drill", title="Rollback drill under load", play=acts_trouble.rollback_drill),
)
