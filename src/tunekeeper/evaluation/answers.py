"""What an exam was told, case by case, beside what was asked and wanted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.nouns.evaluation import Suite
from tunekeeper.evaluation.flagged import why_wrong
from tunekeeper.evaluation.results import Result


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One case of an exam with its answer."""

    case: str
    """Case id."""
    category: str = ""
    """Slice of the case."""
    tags: tuple[str, ...] = ()
    """Tags of the case."""
    messages: tuple[dict[str, Any], ...] = ()
    """What was asked, OpenAI chat messages."""
    expected: Any = None
    """The reference answer, where there is one."""
    answer: str | None = None
    """What was said; None when nothing answered."""
    error: str | None = None
    """Why nothing answered."""
    ms: float | None = None
    """Milliseconds of the answer."""
    scores: dict[str, float | None] = field(default_factory=dict)
    """Scorer → value 0 to 1; None where judging failed."""
    learned: bool = False
    """Whether the same question stands among the rows that the version learned."""
    wrong: tuple[str, ...] = ()
    """Why it counts as wrong, in words, the strongest first; empty when it is right."""


def answers(suite: Suite, results: Sequence[Result]) -> list[Answered]:
    """Every answer of an exam of `suite`, in the order of `results`."""
    cases = {case.id: case for case in suite.cases}
    return [
        Answered(
            case=result.case,
            category=result.category,
            tags=result.tags,
            messages=cases[result.case].messages,
            expected=cases[result.case].expected,
            answer=result.answer,
            error=result.error,
            ms=result.ms,
            scores={name: value for name, (value, _) in result.scores.items()},
            learned=result.learned,
            wrong=tuple(text for _, text in why_wrong(suite, result)),
        )
        for result in results
        if result.case in cases
    ]
