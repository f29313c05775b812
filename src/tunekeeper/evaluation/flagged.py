"""Which answers of an exam a person should look at: what broke, what its criteria flag, what no scorer could judge. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunekeeper.core.nouns.evaluation import Case, Suite
from tunekeeper.evaluation.compare import exams
from tunekeeper.evaluation.erase import ERASED
from tunekeeper.evaluation.results import REGRESSION, Result, passes, primary


@dataclass(frozen=True, kw_only=True, slots=True)
class Flagged:
    """An answer that a person should look at."""

    case: Case
    """What was asked."""
    answer: str
    """What was said."""
    reasons: tuple[str, ...]
    """Why, in words, the strongest first."""


def flagged(suite: Suite, own: Sequence[Result], other: Sequence[Result] | None = None) -> list[Flagged]:
    """The flagged answers of an exam: first the cases that broke since the exam `other`, then regression cases that fail, then
    what a scorer could not judge, then what a criterion of the suite counts as wrong. Where nothing answered, or the text was
    erased, there is nothing to look at."""
    broken = {flip.case for flip in exams(suite, own, other).broken} if other is not None else set[str]()
    cases = {case.id: case for case in suite.cases}
    found: list[tuple[int, Flagged]] = []
    for result in own:
        reasons = why_wrong(suite, result, broken=result.case in broken)
        if reasons and result.answer not in (None, ERASED) and result.case in cases:
            texts = tuple(text for _, text in reasons)
            found.append((reasons[0][0], Flagged(case=cases[result.case], answer=result.answer or "", reasons=texts)))
    return [each for _, each in sorted(found, key=lambda item: item[0])]


def why_wrong(suite: Suite, result: Result, *, broken: bool = False) -> list[tuple[int, str]]:
    """Why an answer is flagged, each with its rank, 0 the strongest; empty when it is not. `broken`: it was right before."""
    scorer = primary(suite)
    reasons = [(0, "it was right in the exam that this one is compared with")] if broken else []
    if REGRESSION in result.tags and not passes(result, scorer):
        reasons.append((1, "a regression case fails"))
    for name, (value, why) in result.scores.items():
        said = f": {why}" if why else ""
        if value is None:
            reasons.append((2, f"{name} could not judge it{said}"))
        elif _wrong(suite, name, value, scorer):
            reasons.append((3, f"{name} gives {value:g}{said}"))
    return reasons


def _wrong(suite: Suite, name: str, value: float, scorer: str) -> bool:
    """Whether a criterion of the suite counts an answer of this value as wrong."""
    if name == scorer and value < 1:
        return True
    limits = [criterion for criterion in suite.criteria if criterion.metric == name]
    return any(
        (each.at_least is not None and value < each.at_least) or (each.at_most is not None and value > each.at_most)
        for each in limits
    )
