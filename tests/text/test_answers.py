"""An answer and its calls of tools as one text, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.text.answers import as_message, called_in, written_message

CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": "Ä7"}'}}


@pytest.mark.parametrize(
    "said",
    [
        {"content": "Which one?"},
        {"content": None, "tool_calls": [CALL]},
        {"content": "One moment.\n\n[sic]", "tool_calls": [CALL, CALL]},
    ],
)
def test_what_was_said_and_called_is_the_same_after_it_was_written(said: dict[str, Any]) -> None:
    message = {"role": "assistant", **said}
    assert as_message(written_message(message), tools=True) == message


def test_json_is_no_call_where_nothing_could_be_called_or_no_function_is_named() -> None:
    text = written_message({"content": None, "tool_calls": [CALL]})
    assert as_message(text, tools=False) == {"role": "assistant", "content": text}
    for other in ("[1, 2]", '[{"name": "x"}]', "[" * 100_000, "", "plain\n\n[not JSON"):
        assert called_in(other) == (other, ())


def test_arguments_that_a_person_wrote_as_an_object_become_the_text_that_models_write() -> None:
    _, (call,) = called_in('[{"function": {"name": "find", "arguments": {"id": 7}}}]')
    assert call == {"type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}


def test_a_message_with_neither_text_nor_calls_is_empty_and_parts_are_joined() -> None:
    assert written_message({"content": None}) == ""
    assert written_message({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}) == "a\nb"
