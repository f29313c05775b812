"""Stage 3: does the artifact that will answer users answer well enough, and not worse than what is live?

In: an artifact, a suite, what is live. Out: exams and their verdicts. Owns: exams, scores, suite_locks.
Never: moves traffic, trains, edits the user's suite, judges a checkpoint in place of the served file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.evaluation import casefile, exam, gate
    from tunekeeper.evaluation.config import Config
    from tunekeeper.evaluation.exam import run_exam
    from tunekeeper.evaluation.stage import poke

_HOMES = {
    "Config": "tunekeeper.evaluation.config:Config",
    "casefile": "tunekeeper.evaluation.casefile:",
    "exam": "tunekeeper.evaluation.exam:",
    "gate": "tunekeeper.evaluation.gate:",
    "poke": "tunekeeper.evaluation.stage:poke",
    "run_exam": "tunekeeper.evaluation.exam:run_exam",
}
__all__ = ["Config", "casefile", "exam", "gate", "poke", "run_exam"]


def __getattr__(name: str) -> Any:
    # The job's child and the configuration import this room without the stores that its verbs need.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
