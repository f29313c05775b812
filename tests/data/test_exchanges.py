from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.exchanges import answer_in, asked_in, exchange

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


def test_an_answer_that_is_the_whole_state_of_a_graph_is_read_as_its_talk() -> None:
    asked = {"messages": [{"type": "human", "content": "8 times 6?", "additional_kwargs": {}}]}
    calls = [{"name": "multiply", "args": {"a": 8}, "id": "c1", "type": "tool_call"}]
    state = [
        *asked["messages"],
        {"type": "ai", "content": "", "tool_calls": calls, "id": "r1"},
        {"type": "tool", "content": "48", "tool_call_id": "c1"},
        {"type": "ai", "content": "It is 48."},
    ]
    made = exchange("x", asked_in(asked), {"messages": state}, metadata={}, tools=())
    assert [(m["role"], m["content"]) for m in made.messages] == [
        ("user", "8 times 6?"),
        ("assistant", None),
        ("tool", "48"),
        ("assistant", "It is 48."),
    ]
    told = exchange(
        "x", [{"role": "system", "content": "Be brief"}, *asked_in(asked)], {"messages": state}, metadata={}, tools=()
    )
    alone = exchange("x", asked_in(asked), {"messages": state[-1:]}, metadata={}, tools=())
    assert [m["role"] for m in told.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert [m["content"] for m in alone.messages] == ["8 times 6?", "It is 48."]
