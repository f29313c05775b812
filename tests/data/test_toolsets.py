"""Sets that teach calls of tools say who asks, what may be called and what was called, each in its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.formats import read_rows
from tunekeeper.data.rows import parse_row

XLAM = {
    "id": 7,
    "query": "Rates and rain?",
    "answers": json.dumps([{"name": "rate", "arguments": {"base": "USD"}}, {"name": "rain", "arguments": {}}]),
    "tools": json.dumps([{"name": "rate", "parameters": {"base": {"type": "str"}, "n": {"type": "List[int], optional"}}}]),
}
GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    '{"name": "rate", "parameters": {"type": "object"}}\n{"name": "rain", "parameters": {}}\n',
    "chat": 'USER: The rate?\n\n\nASSISTANT: One moment. <functioncall> {"name": "rate", "arguments": \'{"base": "USD"}\'} '
    '<|endoftext|>\n\n\nFUNCTION RESPONSE: {"rate": 0.85}\n\n\nASSISTANT: It is 0.85. <|endoftext|>\n\n\n',
}


def test_what_xlam_answers_are_calls_and_its_parameters_get_a_schema() -> None:
    made = parse_row(XLAM, {})
    asked, said = made.messages
    assert (asked["content"], said["content"], made.metadata) == ("Rates and rain?", None, {"id": 7})
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in said["tool_calls"]] == [
        ("call_1", "rate", '{"base": "USD"}'),
        ("call_2", "rain", "{}"),
    ]
    schema = made.tools[0]["function"]["parameters"]
    assert schema["required"] == ["base"]
    assert {name: told["type"] for name, told in schema["properties"].items()} == {"base": "string", "n": "array"}
    with pytest.raises(Unreadable, match="`answers` holds no calls of tools"):
        parse_row(XLAM | {"answers": "[]"}, {})


def test_a_text_of_glaive_becomes_turns_calls_and_definitions() -> None:
    made = parse_row(GLAIVE, {})
    assert [tool["function"]["name"] for tool in made.tools] == ["rate", "rain"]
    asked, called, told, said = made.messages
    assert (asked["content"], called["content"], said["content"]) == ("The rate?", "One moment.", "It is 0.85.")
    assert called["tool_calls"][0]["function"] == {"name": "rate", "arguments": '{"base": "USD"}'}
    assert told == {"role": "tool", "tool_call_id": "call_1", "content": '{"rate": 0.85}'}


@pytest.mark.parametrize(
    ("system", "kept"),
    [
        ("SYSTEM: You have no functions.", "You have no functions."),
        ("Use them if required - {broken", "Use them if required - {broken"),
    ],
)
def test_instructions_of_glaive_without_definitions_are_instructions(system: str, kept: str) -> None:
    made = parse_row({"system": system, "chat": "USER: Hi\n\n\nASSISTANT: Hello, how are you?"}, {})
    assert made.tools == ()
    assert [(m["role"], m["content"]) for m in made.messages] == [
        ("system", kept),
        ("user", "Hi"),
        ("assistant", "Hello, how are you?"),
    ]


def test_a_call_that_python_printed_is_a_call() -> None:
    turns: list[dict[str, Any]] = [
        {"from": "human", "value": "x?"},
        {"from": "gpt", "value": "<tool_call>\n{'arguments': {'a': None}, 'name': 'get'}\n</tool_call>"},
    ]
    [_, said] = parse_row({"conversations": turns}, {}).messages
    assert said["tool_calls"][0]["function"] == {"name": "get", "arguments": '{"a": null}'}
    turns[1]["value"] = "<tool_call>get the x</tool_call>"
    assert parse_row({"conversations": turns}, {}).messages[1] == {"role": "assistant", "content": turns[1]["value"]}


def test_a_task_with_instances_is_a_row_for_each(tmp_path: Path) -> None:
    """As Self-Instruct writes its seed tasks."""
    many = {
        "id": "t1",
        "instruction": "Sort.",
        "instances": [{"input": "b a", "output": "a b"}, {"input": "d c", "output": "c d"}],
    }
    one = {"id": "t2", "instruction": "Greet.", "instances": [{"input": "", "output": "Hi"}]}
    (tmp_path / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (many, one)))
    found = [row.conversation for row in read_rows(tmp_path / "seed.jsonl")]
    assert [(talk.metadata["id"], [m["content"] for m in talk.messages]) for talk in found if talk] == [
        ("t1.1", ["Sort.\nb a", "a b"]),
        ("t1.2", ["Sort.\nd c", "c d"]),
        ("t2", ["Greet.", "Hi"]),
    ]
