from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.exchanges import answer_in, asked_in

SAID = {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    "said",
    [
        "Hello",
        SAID,
        [SAID],
        {"choices": [{"message": SAID, "finish_reason": "stop"}], "error": None},
        [{"index": 0, "message": SAID, "finish_reason": "stop"}],
        {"content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"},
    ],
)
def test_an_answer_is_found_in_every_form_it_is_logged_in(said: Any) -> None:
    assert answer_in(said)[0] == SAID


def test_an_answer_that_is_an_error_or_nothing_is_none() -> None:
    for said, reason in (({"error": {"message": "no"}}, "an error"), ({}, "empty"), ([], "empty"), (None, "empty")):
        with pytest.raises(Unreadable, match=reason):
            answer_in(said)


def test_a_question_is_found_in_a_request_a_message_a_list_and_a_text() -> None:
    asked = {"role": "user", "content": "Hi"}
    for given in (
        "Hi",
        asked,
        [asked],
        {"messages": [asked]},
        {"kwargs": {"messages": [asked]}},
        {"input": "Hi", "instructions": ""},
    ):
        assert asked_in(given)[-1] == asked
    with pytest.raises(Unreadable, match="empty"):
        asked_in([])
