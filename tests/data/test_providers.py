"""Rows in the dialects of other providers: speakers, blocks, calls of tools and their answers, pictures, ends of answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.data.conversations import Conversation, Unreadable
from tunekeeper.data.formats import read_rows
from tunekeeper.data.rows import parse_row

ASKED, SAID, TOLD = "Is Dr. Weiß free on Friday?", "Yes, at 15:30.", "You answer for a clinic."
USER, ANSWER, SYSTEM = ({"role": r, "content": c} for r, c in (("user", ASKED), ("assistant", SAID), ("system", TOLD)))
GEMINI = [{"role": "user", "parts": [{"text": ASKED}]}, {"role": "model", "parts": [{"text": SAID}]}]
PLAIN: dict[str, dict[str, Any]] = {
    "gemini": {"systemInstruction": {"role": "system", "parts": [{"text": TOLD}]}, "contents": GEMINI},
    "gemini, other case": {"system_instruction": {"parts": [{"text": TOLD}]}, "contents": GEMINI},
    "vertex before gemini": {
        "context": TOLD,
        "messages": [{"author": "user", "content": ASKED}, {"author": "bot", "content": SAID}],
    },
    "anthropic": {"system": [{"type": "text", "text": TOLD, "cache_control": {"type": "ephemeral"}}], "messages": [USER, ANSWER]},
    "bedrock": {
        "system": [{"text": TOLD}],
        "messages": [{"role": "user", "content": [{"text": ASKED}]}, {"role": "assistant", "content": [{"text": SAID}]}],
    },
    "cohere": {
        "messages": [
            {"role": "System", "content": TOLD},
            {"role": "User", "content": ASKED},
            {"role": "Chatbot", "content": SAID},
        ]
    },
    "cohere, chat": {
        "preamble": TOLD,
        "chat_history": [],
        "message": ASKED,
        "text": SAID,
    },
    "responses": {
        "object": "response",
        "instructions": TOLD,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": ASKED}]}],
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": SAID}]},
        ],
        "status": "completed",
    },
}


def log(request: Any, response: Any) -> dict[str, Any]:
    return {"request": request, "response": response}


MESSAGES = {"messages": [USER]}
LOGS: dict[str, dict[str, Any]] = {
    "anthropic": log(
        {"system": TOLD, "messages": [USER]},
        {"type": "message", "content": [{"type": "text", "text": SAID}], "stop_reason": "end_turn"},
    ),
    "gemini": log(
        {"systemInstruction": {"parts": [{"text": TOLD}]}, "contents": GEMINI[:1]},
        {"candidates": [{"content": GEMINI[1], "finishReason": "STOP"}]},
    ),
    "bedrock": log(
        {"system": [{"text": TOLD}], "messages": [{"role": "user", "content": [{"text": ASKED}]}]},
        {"output": {"message": {"role": "assistant", "content": [{"text": SAID}]}}, "stopReason": "end_turn"},
    ),
    "cohere": log(
        {"messages": [SYSTEM, USER]},
        {"message": {"role": "assistant", "content": [{"type": "text", "text": SAID}]}, "finish_reason": "COMPLETE"},
    ),
    "in bodies": log(
        {"url": "/v1/chat/completions", "body": {"messages": [SYSTEM, USER]}},
        {"status_code": 200, "body": {"choices": [{"message": ANSWER}]}},
    ),
    "langfuse": {"traceId": "t", "input": {"system": TOLD, **MESSAGES}, "output": {"content": [{"type": "text", "text": SAID}]}},
    "openpipe": {
        "reqPayload": {"messages": [SYSTEM, USER]},
        "respPayload": {"choices": [{"message": ANSWER}]},
        "statusCode": 200,
    },
}


@pytest.mark.parametrize("row", [*PLAIN.values(), *LOGS.values()], ids=[*PLAIN, *(f"log of {name}" for name in LOGS)])
def test_a_conversation_of_another_provider_is_read_whole(row: dict[str, Any]) -> None:
    found = parse_row(row, {})
    assert list(found.messages) == [SYSTEM, USER, ANSWER]
    assert "finish_reason" not in found.metadata
    assert not {"system", "systemInstruction", "context", "preamble"} & found.metadata.keys()


SCHEMA = {"type": "object", "properties": {"day": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "book", "description": "Books.", "parameters": SCHEMA}}
BARE = {"name": "book", "description": "Books."}
CALLING: dict[str, dict[str, Any]] = {
    "anthropic": {
        "tools": [{**BARE, "input_schema": SCHEMA}],
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "x"},
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "call_1", "name": "book", "input": {"day": "fri"}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "ok"}]}],
            },
            ANSWER,
        ],
    },
    "bedrock": {
        "tools": [{"toolSpec": {**BARE, "inputSchema": {"json": SCHEMA}}}],
        "messages": [
            {"role": "user", "content": [{"text": ASKED}]},
            {
                "role": "assistant",
                "content": [
                    {"text": "Let me see."},
                    {"toolUse": {"toolUseId": "call_1", "name": "book", "input": {"day": "fri"}}},
                ],
            },
            {"role": "user", "content": [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "ok"}]}}]},
            {"role": "assistant", "content": [{"text": SAID}]},
        ],
    },
    "gemini": {
        "tools": [{"functionDeclarations": [{**BARE, "parameters": SCHEMA}]}],
        "contents": [
            GEMINI[0],
            {"role": "model", "parts": [{"text": "Let me see."}, {"functionCall": {"name": "book", "args": {"day": "fri"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "book", "response": "ok"}}]},
            GEMINI[1],
        ],
    },
    "responses": {
        "object": "response",
        "tools": [{"type": "function", **BARE, "parameters": SCHEMA}],
        "input": [
            USER,
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
            {"type": "function_call", "call_id": "call_1", "name": "book", "arguments": '{"day": "fri"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "ok"},
        ],
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": SAID}]}],
    },
}


@pytest.mark.parametrize("row", CALLING.values(), ids=CALLING)
def test_calls_of_tools_their_answers_and_definitions_are_those_of_openai(row: dict[str, Any]) -> None:
    found = parse_row(row, {})
    call = {"id": "call_1", "type": "function", "function": {"name": "book", "arguments": '{"day": "fri"}'}}
    calling = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    assert list(found.messages) == [USER, calling, {"role": "tool", "tool_call_id": "call_1", "content": "ok"}, ANSWER]
    assert found.tools == (TOOL,)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}},
        {"image": {"format": "png", "source": {"bytes": "iVBORw0="}}},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0="},
    ],
)
def test_a_picture_stays_a_part_of_what_is_asked(block: dict[str, Any]) -> None:
    found = parse_row({"messages": [{"role": "user", "content": [block, {"type": "text", "text": ASKED}]}, ANSWER]}, {})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}
    assert found.messages[0]["content"] == [picture, {"type": "text", "text": ASKED}]


@pytest.mark.parametrize(
    "response",
    [
        {"content": [{"type": "text", "text": SAID}], "stop_reason": "max_tokens"},
        {"candidates": [{"content": GEMINI[1], "finishReason": "MAX_TOKENS"}]},
        {"output": PLAIN["responses"]["output"], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    ],
)
def test_an_answer_that_was_cut_off_says_so_in_the_word_of_openai(response: dict[str, Any]) -> None:
    assert parse_row(log(MESSAGES, response), {}).metadata["finish_reason"] == "length"


def test_openais_own_messages_stay_as_they_are() -> None:
    parts = [{"type": "text", "text": ASKED}, {"type": "image_url", "image_url": {"url": "a.png"}}]
    messages = [{"role": "developer", "content": TOLD}, {"role": "user", "content": parts}, {**ANSWER, "weight": 1}]
    assert list(parse_row({"messages": messages}, {}).messages) == messages


def test_what_is_no_instruction_stays_beside_the_messages() -> None:
    beside = {"instructions": "Judge the tone.", "context": "chat 7", "preamble": "p"}
    found = parse_row({"messages": [USER, ANSWER], **beside}, {})
    assert (list(found.messages), found.metadata) == ([USER, ANSWER], beside)
    found = parse_row({"contents": GEMINI, "systemInstruction": {"parts": [{"text": TOLD}]}, "context": "chat 7"}, {})
    assert (found.messages[0], found.metadata) == (SYSTEM, {"context": "chat 7"})


def test_who_nobody_knows_keeps_the_name_for_the_check_of_roles() -> None:
    assert parse_row({"messages": [USER, {"role": "wizard", "content": SAID}]}, {}).messages[1]["role"] == "wizard"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"contents": []}, "the row's input is empty"),
        ({"contents": [{"role": "user", "parts": [{"codex": 1}]}]}, "a block with the keys codex has no place"),
        (
            {"contents": [*GEMINI[:1], {"role": "model", "parts": [{"functionCall": {}}]}]},
            "a call of a tool without the tool's name",
        ),
        (log({"contents": GEMINI[:1]}, {"candidates": [{"finishReason": "SAFETY"}]}), "the row's output is empty"),
    ],
)
def test_a_row_without_a_conversation_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_row(row, {})


def damaged(value: Any, rng: random.Random) -> Any:
    """The value with something in it replaced or left out."""
    odd = (None, 3, "x", [], {}, [None], True)
    if rng.random() < 0.06:
        return rng.choice(odd)
    if isinstance(value, dict):
        return {key: damaged(each, rng) for key, each in value.items() if rng.random() > 0.03}
    return [damaged(each, rng) for each in value] if isinstance(value, list) else value


def test_a_damaged_row_is_read_or_says_why() -> None:
    rng, read, reasons = random.Random(5), 0, []
    wholes = [*PLAIN.values(), *LOGS.values(), *CALLING.values()]
    for _ in range(3000):
        try:
            found = parse_row(damaged(rng.choice(wholes), rng), {})
        except Unreadable as error:
            reasons.append(error.message)
        else:
            read += 1
            assert isinstance(found, Conversation)
            assert all(isinstance(message, dict) for message in found.messages)
    assert read > 1000
    assert not [reason for reason in reasons if "\n" in reason]


def test_files_of_rows_in_these_dialects_are_recognised(tmp_path: Path) -> None:
    lines, table = tmp_path / "rows.jsonl", tmp_path / "rows.csv"
    lines.write_text("".join(f"{json.dumps(row)}\n" for row in PLAIN.values()), encoding="utf-8")
    assert [row.broken for row in read_rows(lines)] == [""] * len(PLAIN)
    cell = json.dumps(GEMINI).replace('"', '""')
    table.write_text(f'contents\n"{cell}"\n', encoding="utf-8")
    [row] = read_rows(table)
    assert row.conversation is not None
    assert list(row.conversation.messages) == [USER, ANSWER]


def test_speakers_of_a_help_desk_are_user_and_assistant() -> None:
    said = [{"role": "Customer", "content": "Where is it?"}, {"role": "agent", "content": "Here."}]
    assert [m["role"] for m in parse_row({"messages": said}, {}).messages] == ["user", "assistant"]
    turns = [{"from": "visitor", "value": "Where is it?"}, {"from": "operator", "value": "Here."}]
    assert [m["role"] for m in parse_row({"conversations": turns}, {}).messages] == ["user", "assistant"]


def test_blocks_that_say_all_under_value_are_read_as_llama_factory_writes_them() -> None:
    def block(kind: str, value: str) -> dict[str, str]:
        return {"type": kind, "value": value}

    turns = [
        {"role": "system", "content": [block("text", TOLD)], "loss_weight": 0.0},
        {"role": "user", "content": [block("image_url", "a/1.jpg"), block("text", ASKED)]},
        {
            "role": "assistant",
            "content": [block("reasoning", "Look."), block("tool_call", '{"name": "see", "arguments": {"n": 1}}')],
        },
        {"role": "tool", "content": [block("text", "free")]},
        {"role": "assistant", "content": [block("text", SAID)], "loss_weight": 0.5},
    ]
    made = parse_row({"messages": turns}, {}).messages
    call = {"id": "call_1", "type": "function", "function": {"name": "see", "arguments": '{"n": 1}'}}
    assert list(made) == [
        SYSTEM,
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a/1.jpg"}}, {"type": "text", "text": ASKED}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "free", "tool_call_id": "call_1"},
        {**ANSWER, "weight": 0.5},
    ]
    turns[2]["loss_weight"] = 0.0
    assert parse_row({"messages": turns}, {}).messages[2]["weight"] == 0
    pair = {
        "chosen_messages": turns[:2] + turns[4:],
        "rejected_messages": [*turns[:2], {"role": "assistant", "content": [block("text", "No.")]}],
    }
    preferred = parse_row(pair, {})
    assert ([m["role"] for m in preferred.messages], preferred.metadata["rejected"]) == (["system", "user", "assistant"], "No.")
