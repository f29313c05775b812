from __future__ import annotations

from collections import Counter

import pytest

from tests.data.planted_faults import BAD_ROLES, BAD_WEIGHTS, EMPTY, GOOD_ROLES, NOT_EMPTY, A, U, talk
from tunekeeper.data.roles import bad_roles, bad_weights, empty, placeholder


def test_every_wrong_order_is_found_and_none_that_is_right() -> None:
    assert [talk for talk in BAD_ROLES if not bad_roles(talk)] == []
    assert [(talk, bad_roles(talk)) for talk in GOOD_ROLES if bad_roles(talk)] == []
    assert (len(BAD_ROLES), len(GOOD_ROLES)) == (14, 8)


def test_calls_and_their_answers_are_matched_by_id() -> None:
    reasons = Counter(bad_roles(talk).partition(": ")[2] for talk in BAD_ROLES)
    assert reasons["a tool answers and nobody called it"] == 1
    assert reasons["a tool answers the call 'c9', which nobody made"] == 1
    assert reasons["the talk goes on before a tool has answered the call"] == 1


def test_a_message_weighs_nothing_or_one_and_something_is_learned() -> None:
    assert [bad_weights(talk) for talk in BAD_WEIGHTS] == [
        "message 2: its weight is 2, not from 0 to 1",
        "message 2: its weight is 'high', not from 0 to 1",
        "every answer has weight 0: nothing is learned",
    ]
    assert [bad_weights(talk) for talk in GOOD_ROLES if bad_weights(talk)] == []


def test_an_answer_nobody_can_see_is_none_and_short_ones_are_answers() -> None:
    blank = [text for text in EMPTY if empty(talk((U, "a"), (A, text)))]
    assert blank == list(EMPTY[:4])
    assert [text for text in EMPTY[4:] if not placeholder(text)] == []
    assert [text for text in NOT_EMPTY if placeholder(text) or empty(talk((U, "a"), (A, text)))] == []


@pytest.mark.parametrize("text", ["Todo", "[deleted]", "-", "—", "```\n```", '""', "(null)", "[object Object]"])
def test_what_an_export_wrote_for_nothing_is_no_answer(text: str) -> None:
    assert placeholder(text)


@pytest.mark.parametrize("text", ["N/A", "None", "{}", "[]", "0", "no", "- one", "```\nx\n```"])
def test_short_answers_that_say_something_are_some(text: str) -> None:
    assert placeholder(text) == ""
