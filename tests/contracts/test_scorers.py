from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.examples import CASE, RIGHT, SCORERS, WRONG
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring import SCORERS as REGISTRY
from tunekeeper.scoring import Scorer, scorer
from tunekeeper.testing.contracts import check_scorer

OURS = [(name, n) for name in REGISTRY.names() for n in range(len(SCORERS.get(name, [None])))]


@pytest.mark.parametrize(("name", "n"), OURS)
def test_every_built_in_scorer_keeps_the_contract(name: str, n: int) -> None:
    options, right, wrong = SCORERS[name][n]
    check_scorer(lambda: scorer(name, **options), CASE, right=right, wrong=wrong)


class Good:
    """Keeps the contract; each broken one below differs in one thing."""

    def applies(self, case: Case) -> bool:
        return True

    def score(self, answer: str, case: Case) -> Any:
        return (1.0, "right") if answer == RIGHT else (0.0, "wrong")


def broken(score: Callable[[str, Case], Any]) -> Callable[[], Scorer]:
    """A maker of scorers that judge as `score` does."""
    return type("Broken", (Good,), {"score": lambda self, answer, case: score(answer, case)})


def right_or(answer: str, other: Any) -> Any:
    return (1.0, "right") if answer == RIGHT else (0.0, "wrong") if answer == WRONG else other


COUNT = itertools.count()
LAST: list[str] = []


def remembering(answer: str, case: Case) -> tuple[float, str]:
    """Judges what was said last, by whomever."""
    LAST.append(answer)
    time.sleep(0.002)
    return (1.0, "right") if LAST[-1] == RIGHT else (0.0, "wrong")


def changing(answer: str, case: Case) -> tuple[float, str]:
    case.messages[0]["content"] = "changed"
    return Good().score(answer, case)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (lambda answer, case: 1.0, r"not \(value, reason\)"),
        (lambda answer, case: right_or(answer, (0.0, "")), "gave no reason"),
        (lambda answer, case: right_or(answer, (0.0, None)), "gave no reason: None"),
        (lambda answer, case: right_or(answer, (1.5, "good")), "gave 1.5: a value lies between 0 and 1"),
        (lambda answer, case: right_or(answer, (float("nan"), "no")), "gave nan: a value lies"),
        (lambda answer, case: right_or(answer, (True, "yes")), "gave True: a value is a number"),
        (lambda answer, case: right_or(answer, ("1", "yes")), "gave '1': a value is a number"),
        (lambda answer, case: (float(answer == RIGHT), f"{len(answer.encode())} bytes"), "raised UnicodeEncodeError"),
        (lambda answer, case: (float(case.expected["category"] in answer), "as is"), "raised TypeError"),
        (lambda answer, case: (0.5, "so so"), "must tell them apart"),
        (lambda answer, case: (float(answer != RIGHT), "no"), "the right answer scores 0.0 and the wrong one 1.0"),
        (lambda answer, case: (None, "the judge is away"), "failed to judge .*: the judge is away"),
        (lambda answer, case: (*right_or(answer, (0.0, "no"))[:1], f"call {next(COUNT)}"), "after other answers"),
        (remembering, "asked from several threads"),
        (changing, "changed the case"),
        (lambda answer, case: right_or(answer, None) or time.sleep(2) or (0.0, "late"), "did not return within 0.5 seconds"),
    ],
)
def test_a_broken_judgement_is_named(score: Callable[[str, Case], Any], sentence: str) -> None:
    case = Case(id="c1", messages=({"role": "user", "content": "hi"},), expected=CASE.expected)
    with pytest.raises(AssertionError, match=sentence) as caught:
        check_scorer(broken(score), case, right=RIGHT, wrong=WRONG, seconds=0.5 if "did not return" in sentence else 60)
    assert "\n" not in str(caught.value)


class Moody(Good):
    """A new one judges differently."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.mine = type(self).made

    def score(self, answer: str, case: Case) -> Any:
        return float(answer == RIGHT), f"scorer {self.mine}"


class Shy(Good):
    def applies(self, case: Case) -> bool:
        return case.expected is None


class Vague(Good):
    def applies(self, case: Case) -> Any:
        return case.expected


class Strict(Good):
    def applies(self, case: Case) -> bool:
        return bool(case.expected["category"])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Moody, "by a new scorer"),
        (Shy, "applies\\(\\) says no to the case 'c1'"),
        (Vague, "not true or false"),
        (Strict, "applies\\(\\) to a case that expects None raised TypeError"),
        (lambda: 1 / 0, "making the scorer raised ZeroDivisionError"),
    ],
)
def test_a_broken_scorer_is_named(make: Callable[[], Scorer], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_scorer(make, CASE, right=RIGHT, wrong=WRONG)


def test_one_that_keeps_the_contract_passes_and_may_fail_to_judge() -> None:
    check_scorer(Good, CASE, right=RIGHT, wrong=WRONG)
    check_scorer(broken(lambda answer, case: right_or(answer, (None, "unsure"))), CASE, right=RIGHT, wrong=WRONG)
