from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.outside import rows_of
from tunekeeper.data.rows import parse_row

ASKED = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
SAID = {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": None}
TALK = [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")]
FUNCTION = {"name": "weather", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
COMPLETION = {
    "object": "chat.completion",
    "id": "chatcmpl-1",
    "created": 1738960610,
    "model": "gpt-x",
    "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}],
}
OPENPIPE = {"input": {"model": "m", "messages": ASKED, "tools": [TOOL]}, "output": COMPLETION, "tags": {"prompt_id": "p1"}}
LANGFUSE = {
    "id": "obs-1",
    "traceId": "tr-1",
    "type": "GENERATION",
    "startTime": "2026-01-02T03:04:05Z",
    "input": ASKED,
    "output": SAID,
    "metadata": {"tier": "pro"},
    "userId": "u7",
}
TENSORZERO = {
    "type": "chat",
    "function_name": "triage",
    "variant_name": "v1",
    "episode_id": "ep-1",
    "inference_id": "inf-1",
    "timestamp": "2026-01-02T03:04:05Z",
    "input": {"system": "Be kind", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    "output": [{"type": "thought", "text": "hm"}, {"type": "text", "text": "Hello"}],
    "tags": {"user_id": "u7"},
    "dispreferred_outputs": [[{"type": "text", "text": "Go away"}]],
    "tool_params": {"tools_available": [FUNCTION]},
}
STORED = COMPLETION | {"messages": ASKED, "request_id": "req_9", "metadata": {"app": "desk"}, "tools": [TOOL]}


def as_stored(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The row with JSON text in some fields, as ClickHouse and CSV files hold them."""
    return row | {key: json.dumps(row[key]) for key in keys}


@pytest.mark.parametrize(
    ("shape", "row", "metadata"),
    [
        (
            "openai-stored",
            STORED,
            {"id": "chatcmpl-1", "request_id": "req_9", "created": 1738960610, "model": "gpt-x", "app": "desk"},
        ),
        (
            "openai-stored",
            COMPLETION | {"messages": {"object": "list", "data": [m | {"id": f"c-{i}"} for i, m in enumerate(ASKED)]}},
            {"id": "chatcmpl-1", "created": 1738960610, "model": "gpt-x"},
        ),
        (
            "openpipe-log",
            OPENPIPE,
            {"id": "chatcmpl-1", "request_id": "chatcmpl-1", "created": 1738960610, "model": "gpt-x", "prompt_id": "p1"},
        ),
        (
            "langfuse",
            LANGFUSE,
            {"id": "obs-1", "request_id": "tr-1", "created": "2026-01-02T03:04:05Z", "tier": "pro", "user_id": "u7"},
        ),
        (
            "langfuse",
            {"id": "o", "trace_id": "t", "start_time": "2026-01-02 03:04:05", "input": json.dumps(ASKED), "output": "Hello"},
            {"id": "o", "request_id": "t", "created": "2026-01-02 03:04:05"},
        ),
        (
            "langfuse",
            {"id": "t", "sessionId": None, "timestamp": "2026-01-02", "input": {"messages": ASKED}, "output": [SAID]},
            {"id": "t", "created": "2026-01-02"},
        ),
        (
            "tensorzero",
            TENSORZERO,
            {
                "id": "inf-1",
                "request_id": "inf-1",
                "created": "2026-01-02T03:04:05Z",
                "conversation_id": "ep-1",
                "function": "triage",
                "variant": "v1",
                "user_id": "u7",
                "rejected": "Go away",
            },
        ),
        (
            "request-log",
            {"request_id": "r1", "timestamp": "2026-01-02", "request": {"messages": ASKED}, "response": COMPLETION},
            {"id": "r1", "request_id": "r1", "created": "2026-01-02", "model": "gpt-x"},
        ),
    ],
)
def test_an_export_is_recognised_and_keeps_ids_and_dates(shape: str, row: dict[str, Any], metadata: dict[str, Any]) -> None:
    found = parse_row(row, {})
    assert [(m["role"], m["content"]) for m in found.messages] == TALK
    assert (found.shape, found.metadata) == (shape, metadata)


def test_json_text_in_fields_reads_like_json() -> None:
    texts = as_stored(TENSORZERO, "input", "output", "tags", "tool_params") | {
        "dispreferred_outputs": [json.dumps([{"type": "text", "text": "Go away"}])]
    }
    assert parse_row(texts, {}) == parse_row(TENSORZERO, {})
    assert parse_row(as_stored(LANGFUSE, "input", "output", "metadata"), {}) == parse_row(LANGFUSE, {})


@pytest.mark.parametrize("row", [STORED, OPENPIPE, TENSORZERO])
def test_tool_definitions_come_along_in_openai_form(row: dict[str, Any]) -> None:
    assert parse_row(row, {}).tools == (TOOL,)


def test_tensorzero_calls_and_results_of_tools_become_openai_messages() -> None:
    blocks = [
        {"role": "user", "content": [{"type": "text", "value": "Rain?"}]},
        {"role": "assistant", "content": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}]},
        {"role": "user", "content": [{"type": "tool_result", "id": "c1", "name": "weather", "result": "dry"}]},
    ]
    row = {"function_name": "f", "dataset_name": "d", "id": "dp1", "input": {"messages": blocks}}
    found = parse_row(row | {"output": {"raw": '{"rain": false}', "parsed": {"rain": False}}}, {})
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    assert list(found.messages) == [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "dry"},
        {"role": "assistant", "content": '{"rain": false}'},
    ]


def test_an_answer_that_was_cut_off_says_so() -> None:
    cut = COMPLETION | {"choices": [{"message": SAID, "finish_reason": "length"}], "messages": ASKED}
    assert parse_row(cut, {}).metadata["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (COMPLETION, "stored completion chatcmpl-1 comes without its messages"),
        (LANGFUSE | {"type": "SPAN"}, "a SPAN of Langfuse, not a generation"),
        (LANGFUSE | {"output": None}, "without an output"),
        (OPENPIPE | {"output": {"error": {"message": "rate limit"}}}, "the request failed"),
        (OPENPIPE | {"output": None}, "output is empty"),
        (TENSORZERO | {"output": []}, "without an output"),
        (TENSORZERO | {"output": [{"type": "file"}]}, "a file of the kind image/png, stored elsewhere"),
        (TENSORZERO | {"input": {"messages": "x"}}, "`input.messages` must be a list"),
        (OPENPIPE | {"input": {"messages": [{"role": None, "text": "x"}]}}, "a message without a role: its keys are role, text"),
        ({"request": {}, "response": COMPLETION}, "`request` holds no messages"),
    ],
)
def test_a_row_without_a_conversation_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_row(row, {})


def test_a_message_of_parts_alone_is_read_from_a_stored_completion() -> None:
    parts = [{"type": "text", "text": "Hi"}]
    asked = [{"id": "x-0", "role": "user", "content": None, "content_parts": parts, "name": None}]
    found = parse_row({**COMPLETION, "messages": {"object": "list", "data": asked}}, {})
    assert found.messages[0] == {"role": "user", "content": parts}


def test_an_item_of_a_langfuse_dataset_teaches_what_was_expected() -> None:
    item = {"id": "i1", "datasetId": "d", "input": {"messages": ASKED}, "expectedOutput": SAID, "sourceTraceId": "tr-1"}
    found = parse_row({**item, "createdAt": "2026-01-02T03:04:05Z", "metadata": None, "status": "ACTIVE"}, {})
    assert [(m["role"], m["content"]) for m in found.messages] == TALK
    assert found.metadata == {"id": "i1", "request_id": "tr-1", "created": "2026-01-02T03:04:05Z"}
    with pytest.raises(Unreadable, match="archived"):
        parse_row({**item, "status": "ARCHIVED"}, {})


def test_a_prompt_that_langfuse_took_from_a_decorated_function_is_its_messages() -> None:
    given = {"args": [], "kwargs": {"messages": ASKED, "model": "m"}}
    found = parse_row({**LANGFUSE, "input": given, "tags": ["vip"]}, {})
    assert [(m["role"], m["content"]) for m in found.messages] == TALK
    assert found.metadata["tags"] == ["vip"]


def test_a_trace_saved_from_the_screen_gives_its_generations() -> None:
    trace = {"trace": {"id": "tr-1", "userId": "u7"}, "observations": [{**LANGFUSE, "userId": None}, {"type": "SPAN"}]}
    (row,) = rows_of(trace) or ()
    assert parse_row(row, {}).metadata["user_id"] == "u7"


def test_a_page_of_a_list_a_trace_and_a_single_row_are_taken_apart() -> None:
    assert rows_of({"object": "list", "data": [STORED], "has_more": False}) == [STORED]
    assert rows_of({"data": [LANGFUSE], "meta": {"page": 1}}) == [LANGFUSE]
    trace = {"id": "tr-1", "input": "x", "userId": "u7", "observations": [LANGFUSE, {"id": "s", "type": "SPAN"}]}
    assert rows_of(trace) == [LANGFUSE]
    assert rows_of({"data": [{"messages": []}]}) == [{"messages": []}]
    assert rows_of({"messages": []}) == [{"messages": []}]
    assert rows_of("text") is None


ODD: list[Any] = [None, "", 0, -1.5, True, [], {}, [[]], [{}], {"a": 1}, '["x"]', {"messages": None}, [{"role": None}], [1, "a"]]


def damaged(value: Any, rng: random.Random) -> Any:
    """The value with some of its parts exchanged or gone."""
    if rng.random() < 0.12:
        return rng.choice(ODD)
    if isinstance(value, dict):
        return {key: damaged(item, rng) for key, item in value.items() if rng.random() > 0.04}
    return [damaged(item, rng) for item in value] if isinstance(value, list) else value


def test_a_damaged_export_is_read_or_says_why_and_never_ends_otherwise() -> None:
    rng, read, reasons = random.Random(3), 0, []
    wholes = [STORED, OPENPIPE, LANGFUSE, TENSORZERO, {"request": {"messages": ASKED}, "response": COMPLETION}]
    wholes += [{"instruction": "a", "output": "b", "history": [["a", "b"]]}, {"input": ASKED, "preferred_output": ASKED}]
    for _ in range(2000):
        try:
            found = parse_row(damaged(rng.choice(wholes), rng), {})
        except Unreadable as error:
            reasons.append(error.message)
        else:
            read += 1
            assert all(isinstance(message, dict) for message in found.messages)
    assert read > 200
    assert len(reasons) > 200
    assert not [reason for reason in reasons if "\n" in reason]


def test_a_call_that_bedrock_logged_is_read_and_one_whose_text_lies_elsewhere_is_told() -> None:
    asked = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "system": [{"text": "Be kind"}]}
    said = {"output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}}, "stopReason": "end_turn"}
    row = {"schemaType": "ModelInvocationLog", "requestId": "r1", "timestamp": "2024-01-01T00:00:00Z"}
    made = parse_row(row | {"input": {"inputBodyJson": asked}, "output": {"outputBodyJson": said}}, {})
    assert [(m["role"], m["content"]) for m in made.messages] == [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")]
    assert made.metadata == {"id": "r1", "request_id": "r1", "created": "2024-01-01T00:00:00Z"}
    with pytest.raises(Unreadable, match="whose text lies elsewhere"):
        parse_row(row | {"input": {"inputBodyS3Path": "s3://x"}, "output": {}}, {})


def test_the_list_that_intercom_answers_holds_its_conversations() -> None:
    assert rows_of({"type": "conversation.list", "pages": {}, "total_count": 1, "conversations": [{"id": "1"}]}) == [{"id": "1"}]
