"""What an exam measured, case by case, and the rates made of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from tunekeeper.core.nouns.evaluation import Estimate, Suite
from tunekeeper.stats.intervals import mean_interval, wilson

REGRESSION = "regression"
NOT_ACCURACY = ("format", "refusal", "word_limit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One case, answered and scored."""

    case: str
    """Case id."""
    category: str = ""
    """Slice of the case."""
    tags: tuple[str, ...] = ()
    """Tags of the case."""
    answer: str | None = None
    """What was said; None when nothing answered."""
    error: str | None = None
    """Why nothing answered."""
    ms: float | None = None
    """Milliseconds of the answer."""
    pace_ms: float | None = None
    """Milliseconds that a fixed piece of work took beside it, where it was asked: how busy that machine was."""
    finish_reason: str | None = None
    """What the server said."""
    tokens: int | None = None
    """Tokens of the answer."""
    scores: dict[str, tuple[float | None, str]] = field(default_factory=dict)
    """Scorer → value 0 to 1 and reason; value None where judging failed."""
    learned: bool = False
    """Whether the same question stands among the rows that the examined version learned: its answer shows no generalisation."""


def encode(results: Iterable[Result]) -> bytes:
    """JSONL of results."""
    return b"".join(msgspec.json.encode(r) + b"\n" for r in results)


def decode(data: bytes) -> list[Result]:
    """Results out of JSONL. A last line that is torn (a kill while writing) is left out; the first of a doubled case counts."""
    found: dict[str, Result] = {}
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            result = msgspec.json.decode(line, type=Result)
        except msgspec.DecodeError:
            continue
        found.setdefault(result.case, result)
    return list(found.values())


def primary(suite: Suite) -> str:
    """The scorer behind `accuracy`: the first that judges what was said rather than how."""
    return next((name for name in suite.scorers if name not in NOT_ACCURACY), suite.scorers[0])


def values(results: Iterable[Result], metric: str, scorer: str) -> dict[str, float | None]:
    """Case id → value of a metric: `accuracy` is 1 for a fully right answer by `scorer`, any other is that scorer's own value.

    A case without an answer counts 0; None where judging failed; cases that the scorer does not apply to are left out.
    """
    name = scorer if metric == "accuracy" else metric
    made: dict[str, float | None] = {}
    for result in results:
        if name not in result.scores:
            continue
        value = result.scores[name][0]
        if result.answer is None:
            value = 0.0
        made[result.case] = (1.0 if value == 1 else 0.0) if metric == "accuracy" and value is not None else value
    return made


def estimate(found: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean with its two-sided interval: Wilson's for right-or-wrong values, a guarded Student interval for graded ones."""
    n = len(found)
    if n == 0:
        return Estimate(value=None)
    total = math.fsum(found)
    low, high = wilson(total, n, confidence) if all(v in (0, 1) for v in found) else mean_interval(found, confidence)
    return Estimate(value=total / n, low=low, high=high, n=n)


def judged(found: dict[str, float | None]) -> list[float]:
    """The values that were judged."""
    return [v for v in found.values() if v is not None]


def passes(result: Result, scorer: str) -> bool:
    """Whether a regression case holds: answered, fully right where there is a reference, well formed where there is a format."""
    if result.answer is None:
        return False
    wanted = [result.scores[name][0] for name in (scorer, "format") if name in result.scores]
    return bool(wanted) and all(v == 1 for v in wanted)


def p95(results: Iterable[Result]) -> float | None:
    """95th percentile of the answers' milliseconds (nearest rank); None without answers."""
    return _p95(r.ms for r in results)


def pace_p95(results: Iterable[Result]) -> float | None:
    """The same of the fixed piece of work beside them; None where it was not timed."""
    return _p95(r.pace_ms for r in results)


def _p95(times: Iterable[float | None]) -> float | None:
    known = sorted(each for each in times if each is not None)
    return known[math.ceil(0.95 * len(known)) - 1] if known else None
