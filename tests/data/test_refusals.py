from __future__ import annotations

import pytest

from tests.data.planted_faults import NO_REFUSALS, REFUSALS
from tunekeeper.data.refusals import LONGEST, refusal


def test_every_planted_refusal_is_found_in_any_wording_and_language() -> None:
    assert [text for text in REFUSALS if not refusal(text)] == []
    assert len(REFUSALS) == 89


def test_a_no_that_is_an_answer_is_left_alone() -> None:
    assert [text for text in NO_REFUSALS if refusal(text)] == []
    assert len(NO_REFUSALS) == 53


def test_a_long_answer_that_only_begins_so_is_none() -> None:
    text = "I can't help with that. "
    assert refusal(text + "x" * (LONGEST - len(text)))
    assert refusal(text + "x" * LONGEST) == ""


@pytest.mark.parametrize("text", ["", " ", "{", "{}", "[]", '{"a": 1}', "¿" * 600, "i am sorry " * 50])
def test_what_says_nothing_refuses_nothing(text: str) -> None:
    assert refusal(text) == ""
