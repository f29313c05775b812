from __future__ import annotations

from typing import Any

from tunekeeper.data.rows import parse_row

USER = {"role": "user", "content": "Where is it?"}
FUNCTION = {"name": "find", "parameters": {"type": "object"}}


def talk(*messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return list(parse_row({"messages": [USER, *messages], **more}, {}).messages[1:])


def test_a_call_in_openais_old_form_is_one_that_templates_know() -> None:
    called = {"name": "find", "arguments": "{}"}
    found = talk(
        {"role": "assistant", "content": None, "function_call": called},
        {"role": "function", "name": "find", "content": "here"},
        {"role": "assistant", "content": "It is here."},
        functions=[FUNCTION],
    )
    assert found == [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_2", "type": "function", "function": called}]},
        {"role": "tool", "name": "find", "content": "here", "tool_call_id": "call_2"},
        {"role": "assistant", "content": "It is here."},
    ]


def test_an_answer_that_openpipe_logged_with_a_call_in_the_old_form_is_one() -> None:
    message = {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}}
    output = {"object": "chat.completion", "choices": [{"message": message, "finish_reason": "function_call"}]}
    made = parse_row({"input": {"messages": [USER], "functions": [FUNCTION]}, "output": output, "tags": {}}, {})
    assert made.messages[-1]["tool_calls"][0]["function"] == {"name": "find", "arguments": "{}"}
    assert (made.tools, made.metadata) == (({"type": "function", "function": FUNCTION},), {})


def test_an_answer_that_axolotl_is_told_not_to_train_on_is_not_learned() -> None:
    bad, good = {"role": "assistant", "content": "No."}, {"role": "assistant", "content": "Yes."}
    wanted = [bad | {"weight": 0}, USER, good]
    assert talk(bad | {"train": False}, USER, good | {"train": True}) == wanted
    turns = [USER, bad | {"training": False}, USER, good | {"training": True}]
    assert list(parse_row({"conversations": turns}, {}).messages[1:]) == wanted


def test_the_words_of_each_trainer_for_what_is_not_learned_are_weights() -> None:
    said = {"role": "assistant", "content": "There."}
    for told in ({"train": False}, {"training": False}, {"loss": False}, {"loss_weight": 0.0}, {"loss": True, "weight": 0}):
        assert talk(said | told) == [said | {"weight": 0}]
    assert talk(said | {"loss_weight": 0.5}) == [said | {"weight": 0.5}]
    for told in ({"loss": True}, {"loss_weight": 1.0}):
        assert talk(said | told) == [said]
    assert parse_row({"messages": [USER | {"loss_weight": 0.0}, said]}, {}).messages == (USER, said)
