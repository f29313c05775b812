from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data.alpaca import conversation_of, written
from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.rows import parse_row

USER, SAID = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


def test_a_row_becomes_a_conversation_with_its_system_and_history() -> None:
    row = {
        "instruction": "Translate",
        "input": "tea",
        "output": "Tee",
        "system": "Be brief.",
        "history": [["a", "b"]],
        "lang": "de",
    }
    made = conversation_of(row)
    assert [(m["role"], m["content"]) for m in made.messages] == [
        ("system", "Be brief."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Translate\ntea"),
        ("assistant", "Tee"),
    ]
    assert (made.metadata, made.shape) == ({"lang": "de"}, "alpaca")


def test_what_is_written_reads_back() -> None:
    messages = [{"role": "system", "content": "Be brief."}, USER, SAID, {"role": "user", "content": "And?"}, SAID]
    assert list(conversation_of(written(messages)).messages) == messages


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}], "calls of tools"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}, SAID], "pictures"),
        ([USER, {**SAID, "weight": 0}], "not to be learned"),
        ([USER, USER, SAID], "questions and answers in turn"),
    ],
)
def test_what_the_format_has_no_place_for_is_refused(messages: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(DataError, match=why):
        written(messages)


def test_the_answer_of_gpteacher_and_the_pair_of_llama_factory_are_read() -> None:
    asked = {"role": "user", "content": "Say\ntea"}
    made = parse_row({"instruction": "Say", "input": "tea", "response": "TEA"}, {})
    assert (list(made.messages), made.metadata) == ([asked, {"role": "assistant", "content": "TEA"}], {})
    made = conversation_of({"instruction": "Say", "input": "tea", "output": ["TEA", "no"]})
    assert (made.messages[-1]["content"], made.metadata) == ("TEA", {"rejected": "no"})
    with pytest.raises(Unreadable, match="the better answer and the worse one"):
        conversation_of({"instruction": "Say", "output": ["a", "b", "c"]})
