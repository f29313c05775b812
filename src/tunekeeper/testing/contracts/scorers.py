"""What a scorer must keep: it judges any answer, says why, and says the same again."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring import Scorer
from tunekeeper.testing.contracts.trial import attempt, must, shown

ANSWERS = (
    "",
    " \n\t",
    "\x00",
    "plain words",
    "e\u0301 \ufb01 \u6f22\u5b57 \U0001f642 \u202e",
    "\ud800",  # json.loads gives one for a server's "\ud800"
    "null",
    "NaN",
    "[]",
    "{}",
    '{"a": 1',
    '{"a": 1, "a": 2}',
    "[" * 20_000,
    "word " * 20_000,
)
"""What models say when nobody looks."""
EXPECTED: tuple[Any, ...] = (None, "", "text", "(", 7, True, [], ["a", 1], {}, {"a": {"b": None}})
"""What a case's reference answer may be."""


def check_scorer(make: Callable[[], Scorer], case: Case, *, right: str, wrong: str, seconds: float = 5.0) -> None:
    """Raise AssertionError, naming the promise, unless what `make` returns keeps the contract of `Scorer`.

    `make`: a new scorer at each call. `case`: one that it can judge. `right`, `wrong`: answers to it, of which the first must
    score higher. `seconds`: how long one judgement may take. Everything runs in this process; nothing is asked of a network
    unless the scorer does.
    """
    before = copy.deepcopy(case)
    scorer = attempt("making the scorer", make, seconds=seconds)
    must(_applies(scorer, case, seconds), f"applies() says no to the case {case.id!r} it was to be tried with")
    good, bad = (_judged(scorer, answer, case, seconds) for answer in (right, wrong))
    for answer, (value, reason) in ((right, good), (wrong, bad)):
        must(value is not None, f"score() failed to judge {shown(answer)}: {reason}")
    apart = good[0] is not None and bad[0] is not None and good[0] > bad[0]
    must(apart, f"the right answer scores {good[0]} and the wrong one {bad[0]}: a judge must tell them apart")
    must(case == before, "score() changed the case it was given")
    _anything(scorer, case, seconds)
    must(case == before, "score() changed the case it was given")
    for what, judge in (("after other answers", scorer), ("by a new scorer", attempt("making it again", make, seconds=seconds))):
        for answer, first in ((right, good), (wrong, bad)):
            again = _judged(judge, answer, case, seconds)
            must(again == first, f"the same answer was judged {first} and then, {what}, {again}")
    _together(scorer, case, {right: good, wrong: bad}, seconds)


def _anything(scorer: Scorer, case: Case, seconds: float) -> None:
    """Whatever a model says to whatever case it applies to gets a judgement."""
    cases = [replace(case, expected=expected) for expected in EXPECTED]
    cases += [case, replace(case, messages=()), replace(case, tags=("out_of_scope",)), replace(case, tags=("edge",))]
    for each in cases:
        if _applies(scorer, each, seconds):
            for answer in ANSWERS:
                _judged(scorer, answer, each, seconds)


def _together(scorer: Scorer, case: Case, known: dict[str, tuple[float | None, str]], seconds: float) -> None:
    """An exam asks one scorer from several threads."""
    answers = list(known) * 8
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(lambda answer: _judged(scorer, answer, case, seconds), answers))
    for answer, judged in zip(answers, found, strict=True):
        must(judged == known[answer], f"asked from several threads, {shown(answer)} was judged {judged}, not {known[answer]}")


def _applies(scorer: Scorer, case: Case, seconds: float) -> bool:
    what = f"applies() to a case that expects {shown(case.expected)}"
    said = attempt(what, lambda: scorer.applies(case), seconds=seconds)
    must(isinstance(said, bool), f"{what} returned {shown(said)}, not true or false")
    again = attempt(what, lambda: scorer.applies(case), seconds=seconds)
    must(said == again, f"{what} said {said}, then {again}")
    return said is True


def _judged(scorer: Scorer, answer: str, case: Case, seconds: float) -> tuple[float | None, str]:
    what = f"score() of {shown(answer)} where {shown(case.expected)} is expected"
    judged = attempt(what, lambda: scorer.score(answer, case), seconds=seconds)
    must(isinstance(judged, tuple) and len(judged) == 2, f"{what} returned {shown(judged)}, not (value, reason)")
    value, reason = judged
    must(isinstance(reason, str) and bool(reason.strip()), f"{what} gave no reason: {shown(reason)}")
    if value is not None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        must(number, f"{what} gave {shown(value)}: a value is a number from 0 to 1, or None when judging failed")
        must(math.isfinite(value) and 0 <= value <= 1, f"{what} gave {value}: a value lies between 0 and 1")
    return value, reason
