from __future__ import annotations

import pytest

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring import scorer
from tunekeeper.scoring.refusal import refuses

REFUSALS = ["I'm sorry, but I can’t help with that.", "That is outside my scope.", "I will escalate this to a human colleague."]
ANSWERS = [
    '{"category": "billing", "priority": "high"}',
    "The card was declined; please try again.",
    "You cannot combine two coupons.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_that_speaks_of_refusing_is_none(text: str) -> None:
    assert refuses(text) is None


def test_refusing_is_right_out_of_scope_and_wrong_in_scope() -> None:
    inside = Case(id="a", messages=({"role": "user", "content": "?"},))
    outside = Case(id="b", messages=({"role": "user", "content": "?"},), tags=("out_of_scope",))
    judge = scorer("refusal")
    assert [judge.score(text, case)[0] for text in (REFUSALS[0], ANSWERS[0]) for case in (inside, outside)] == [
        0.0,
        1.0,
        1.0,
        0.0,
    ]
