"""Conversations of turns, as people, trainers and tool-calling sets write them."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.rows import parse_row


def spoken(row: Any) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in parse_row(row, {}).messages]


@pytest.mark.parametrize("said", ["gpt", "GPT", "assistant", "chatgpt", "bing", "bard", "model", "bot"])
def test_the_answering_side_has_many_names(said: str) -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": said, "value": "Hello"}]
    assert spoken({"conversations": turns}) == [("user", "Hi"), ("assistant", "Hello")]


def test_one_conversation_and_questions_with_their_answers_are_read_as_turns() -> None:
    assert spoken({"conversation": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}) == [
        ("user", "Hi"), ("assistant", "Hello")
    ]  # fmt: skip
    pairs = [{"human": "Hi", "assistant": "Hello"}, {"human": "Bye", "assistant": "See you"}]
    assert spoken({"system": "Be kind", "conversation": pairs}) == [
        ("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "See you")
    ]  # fmt: skip


def test_a_turn_that_is_not_to_be_learned_stays_so() -> None:
    turns = [
        {"from": "human", "value": "Hi", "weight": 0},
        {"from": "gpt", "value": "Go away", "weight": 0},
        {"from": "human", "value": "Pardon?"},
        {"from": "gpt", "value": "Hello", "weight": 1},
    ]
    found = parse_row({"conversations": turns}, {})
    assert [m.get("weight") for m in found.messages] == [None, 0, None, 1]


def test_calls_written_into_the_text_become_tool_calls_with_their_answers() -> None:
    turns = [
        {"from": "human", "value": "Rain in Oslo and Rome?"},
        {
            "from": "gpt",
            "value": 'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
            '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>',
        },
        {"from": "tool", "value": "<tool_response>\ndry\n</tool_response>\n<tool_response>wet</tool_response>"},
        {"from": "gpt", "value": "Dry in Oslo, wet in Rome"},
    ]
    found = parse_row({"conversations": turns}, {})
    assert [(m["role"], m["content"], m.get("tool_call_id")) for m in found.messages] == [
        ("user", "Rain in Oslo and Rome?", None),
        ("assistant", "I look.", None),
        ("tool", "dry", "call_1"),
        ("tool", "wet", "call_2"),
        ("assistant", "Dry in Oslo, wet in Rome", None),
    ]
    assert [c["function"]["arguments"] for c in found.messages[1]["tool_calls"]] == ['{"city": "Oslo"}', '{"city": "Rome"}']


def test_a_text_that_speaks_of_tool_calls_stays_a_text() -> None:
    turns = [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "Write <tool_call>{…}</tool_call> then"}]
    assert spoken({"conversations": turns})[-1] == ("assistant", "Write <tool_call>{…}</tool_call> then")


def test_a_picture_stands_where_the_text_names_it() -> None:
    turns = [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A cat"}]
    found = parse_row({"conversations": turns, "images": ["a.jpg"]}, {})
    assert found.messages[0]["content"] == [
        {"type": "image_url", "image_url": {"url": "a.jpg"}},
        {"type": "text", "text": "What is this?"},
    ]
    assert "images" not in found.metadata
    more = parse_row({"conversations": turns, "images": ["a.jpg", "b.jpg"]}, {})
    assert more.metadata["images"] == ["a.jpg", "b.jpg"], "names more than the text holds: nothing is guessed"


@pytest.mark.parametrize("turn", [{"value": "Boo"}, {"from": "", "value": "Boo"}, {"from": 3, "value": "Boo"}])
def test_a_turn_of_nobody_is_broken(turn: Any) -> None:
    with pytest.raises(Unreadable, match=r"no role is called '.*'; known: human, user, gpt"):
        parse_row({"conversations": [turn]}, {})


def test_a_speaker_may_be_called_by_name() -> None:
    turns = [{"from": "Ana", "value": "Hi"}, {"from": "Ben Support", "value": "Hello"}]
    assert spoken({"conversations": turns}) == [("Ana", "Hi"), ("Ben Support", "Hello")]
