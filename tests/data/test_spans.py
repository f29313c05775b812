from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, import_files
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.rows import parse_row
from tunekeeper.data.spans import spans_in
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]
ARGUMENTS = '{"city": "Oslo"}'
WANTED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Oslo?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": ARGUMENTS}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    {"role": "assistant", "content": "Rain."},
]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def newest() -> dict[str, Any]:
    asked = [
        {"role": "user", "parts": [{"type": "text", "content": "Weather in Oslo?"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "call_1", "name": "look", "arguments": {"city": "Oslo"}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "rain"}]},
    ]
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "Rain."}], "finish_reason": "stop"}]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "desk@v1",
        "gen_ai.conversation.id": "conv-1",
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps(said),
        "gen_ai.tool.definitions": json.dumps([TOOL]),
        "gen_ai.response.finish_reasons": ["stop"],
    }


def numbered() -> dict[str, Any]:
    made: dict[str, Any] = {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Rain."}
    for i, message in enumerate(WANTED[:-1]):
        made[f"gen_ai.prompt.{i}.role"] = message["role"]
        if message.get("content") is not None:
            made[f"gen_ai.prompt.{i}.content"] = message["content"]
    made |= {"gen_ai.prompt.2.tool_calls.0.id": "call_1", "gen_ai.prompt.2.tool_calls.0.name": "look"}
    return made | {"gen_ai.prompt.2.tool_calls.0.arguments": ARGUMENTS, "gen_ai.prompt.3.tool_call_id": "call_1"}


def inferred() -> dict[str, Any]:
    made: dict[str, Any] = {"openinference.span.kind": "LLM", "llm.model_name": "desk@v1"}
    for i, message in enumerate(WANTED[:-1]):
        made[f"llm.input_messages.{i}.message.role"] = message["role"]
        if message.get("content") is not None:
            made[f"llm.input_messages.{i}.message.content"] = message["content"]
    call = "llm.input_messages.2.message.tool_calls.0.tool_call"
    made |= {f"{call}.id": "call_1", f"{call}.function.name": "look", f"{call}.function.arguments": ARGUMENTS}
    made |= {"llm.input_messages.3.message.tool_call_id": "call_1", "llm.tools.0.tool.json_schema": json.dumps(TOOL)}
    return made | {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Rain."}


def nested() -> dict[str, Any]:
    """As Phoenix gives spans through its API: objects, and lists of messages whose names carry dots."""
    asked: list[dict[str, Any]] = [{"message.role": m["role"], "message.content": m["content"]} for m in WANTED[:-1]]
    call = {"tool_call": {"id": "call_1", "function": {"name": "look", "arguments": ARGUMENTS}}}
    asked[2] = {"message": {"role": "assistant", "tool_calls": [call]}}
    asked[3]["message.tool_call_id"] = "call_1"
    return {"llm": {"input_messages": asked, "output_messages": [{"message": {"role": "assistant", "content": "Rain."}}]}}


def evented() -> list[dict[str, Any]]:
    """The convention before the newest one: an event for each message."""
    calls = json.dumps(WANTED[2]["tool_calls"])
    return [
        {"name": "gen_ai.system.message", "attributes": {"content": "Be brief."}},
        {"name": "gen_ai.user.message", "attributes": {"content": "Weather in Oslo?"}},
        {"name": "gen_ai.assistant.message", "attributes": {"tool_calls": calls}},
        {"name": "gen_ai.tool.message", "attributes": {"id": "call_1", "content": "rain"}},
        {"name": "gen_ai.choice", "attributes": {"index": 0, "finish_reason": "stop", "message": json.dumps(WANTED[4])}},
    ]


def vercel() -> dict[str, Any]:
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather in Oslo?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "text": "hm"},
                {"type": "tool-call", "toolCallId": "call_1", "toolName": "look", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "tool",
            "content": [
                {"type": "tool-result", "toolCallId": "call_1", "toolName": "look", "output": {"type": "text", "value": "rain"}}
            ],
        },
    ]
    said = {"ai.response.text": "Rain.", "ai.response.finishReason": "stop", "ai.model.id": "desk@v1"}
    return {"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.messages": json.dumps(asked), **said}


def traced() -> dict[str, Any]:
    """As MLflow keeps the span of a chat model: every value is JSON text."""
    asked = {"model": "desk@v1", "messages": WANTED[:-1], "tools": [TOOL]}
    said = {"choices": [{"message": WANTED[-1], "finish_reason": "stop"}]}
    told = {"mlflow.spanType": "CHAT_MODEL", "mlflow.spanInputs": asked, "mlflow.spanOutputs": said}
    return {key: json.dumps(value) for key, value in told.items()}


def span(attributes: Any, events: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "name": "chat desk@v1",
        "context": {"trace_id": "0xt1", "span_id": "0xs1"},
        "start_time": "2026-01-05T09:00:00Z",
        "attributes": attributes,
        "events": list(events),
        **more,
    }


@pytest.mark.parametrize(
    "row",
    [
        span(newest()),
        span(
            {"gen_ai.request.model": "desk@v1"}, [{"name": "gen_ai.client.inference.operation.details", "attributes": newest()}]
        ),
        span(numbered()),
        span(inferred()),
        span(nested()),
        span({"gen_ai.system": "openai"}, evented()),
        span(vercel()),
        span(traced()),
    ],
    ids=["newest", "details", "openllmetry", "openinference", "phoenix", "events", "vercel", "mlflow"],
)
def test_a_span_says_the_same_in_every_convention(row: dict[str, Any]) -> None:
    made = parse_row(row, {})
    assert list(made.messages) == WANTED
    assert (made.metadata["id"], made.metadata["request_id"], made.shape) == ("0xs1", "0xt1", "otel")


def test_tools_and_the_conversation_come_along() -> None:
    made = parse_row(span(newest()), {})
    assert (made.tools, made.metadata["conversation_id"], made.metadata["model"]) == ((TOOL,), "conv-1", "desk@v1")
    assert parse_row(span(inferred()), {}).tools == (TOOL,)
    assert parse_row(span(traced()), {}).tools == (TOOL,)
    told = vercel() | {"ai.prompt.tools": [json.dumps(TOOL["function"])]}
    assert parse_row(span(told), {}).tools == (TOOL,)


def test_why_an_answer_ended_is_told_wherever_the_span_says_it() -> None:
    cut = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "Rai"}], "finish_reason": "length"}])
    said = {key: value for key, value in newest().items() if key != "gen_ai.response.finish_reasons"}
    rows = [
        said | {"gen_ai.output.messages": cut},
        newest() | {"gen_ai.response.finish_reasons": '["max_tokens"]'},
        vercel() | {"ai.response.finishReason": "length"},
        traced() | {"mlflow.spanOutputs": json.dumps({"choices": [{"message": WANTED[-1], "finish_reason": "length"}]})},
    ]
    assert [parse_row(span(row), {}).metadata["finish_reason"] for row in rows] == ["length"] * 4
    assert "finish_reason" not in parse_row(span(newest() | {"gen_ai.response.finish_reasons": ["end_turn"]}), {}).metadata


def test_attributes_that_were_cut_off_or_hold_one_message_are_named() -> None:
    for broken in (newest()["gen_ai.input.messages"][:50], json.dumps({"role": "user", "content": "Hi"})):
        for key in ("gen_ai.input.messages", "gen_ai.output.messages"):
            with pytest.raises(Unreadable, match=f"`{key}` is no list of messages: was it cut off"):
                parse_row(span(newest() | {key: broken}), {})


@pytest.mark.parametrize(
    ("begun", "created"),
    [
        ({"start_time": [1767603600, 500]}, "2026-01-05T09:00:00+00:00"),
        ({"start_time": None, "start_time_unix_nano": 1767603600000000000}, "2026-01-05T09:00:00+00:00"),
        ({"start_time": "9" * 40}, None),
    ],
)
def test_the_moment_of_a_span_is_read_as_each_sdk_writes_it(begun: dict[str, Any], created: str | None) -> None:
    assert parse_row(span(newest(), **begun), {}).metadata.get("created") == created


def test_a_span_that_failed_says_so_in_a_column_of_its_own_too() -> None:
    flat = {f"attributes.{key}": value for key, value in inferred().items()}
    row = {"context.span_id": "s1", "context.trace_id": "t1", "events": [], "status_code": "OK", **flat}
    assert list(parse_row(row, {}).messages) == WANTED
    with pytest.raises(Unreadable, match="failed"):
        parse_row(row | {"status_code": "ERROR"}, {})


def test_the_oldest_convention_and_spans_without_an_answer() -> None:
    said = {
        "gen_ai.prompt": json.dumps([{"role": "user", "content": "Hi?"}]),
        "gen_ai.completion": json.dumps([{"role": "assistant", "content": "Hello."}]),
    }
    events = [{"name": name.replace("gen_ai", "gen_ai.content"), "attributes": {name: text}} for name, text in said.items()]
    assert [m["content"] for m in parse_row(span({}, events), {}).messages] == ["Hi?", "Hello."]
    with pytest.raises(Unreadable, match="holds no answer"):
        parse_row(span({"gen_ai.input.messages": newest()["gen_ai.input.messages"]}), {})
    with pytest.raises(Unreadable, match="failed"):
        parse_row(span(newest(), status={"status_code": "ERROR"}), {})


def typed(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [typed(each) for each in value]}}
    return {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.json"])
def test_an_otlp_document_holds_many_spans_and_others_between_them(ws: Workspace, task: Model, write: Write, name: str) -> None:
    def otlp(number: int, attributes: dict[str, Any]) -> dict[str, Any]:
        listed = [{"key": key, "value": typed(value)} for key, value in attributes.items()]
        ids = {"traceId": f"t{number}", "spanId": f"s{number}", "startTimeUnixNano": "1767603600000000000"}
        return {**ids, "name": "chat", "attributes": listed, "events": [], "status": {}}

    other = {"gen_ai.output.messages": newest()["gen_ai.output.messages"].replace("Rain", "Snow")}
    other["gen_ai.input.messages"] = newest()["gen_ai.input.messages"].replace("Weather", "Forecast")
    spans = [otlp(1, newest()), otlp(2, {"http.method": "GET"}), otlp(3, {**newest(), **other})]
    document = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "x"}, "spans": spans}]}]}
    report = import_files(ws, task, Config(), [write(name, [document])])
    assert (report.rows, report.added, report.dropped) == (2, 2, {})
    found = {e.id: e for e in drafts.load_draft(ws, "desk")}
    assert found["s1"].messages == tuple(WANTED)
    assert found["s3"].messages[-1]["content"] == "Snow."
    assert found["s3"].metadata["created"] == "2026-01-05T09:00:00+00:00"


@pytest.mark.parametrize("packed", [False, True], ids=["as an object", "as JSON text"])
def test_a_trace_of_mlflow_gives_the_spans_that_called_a_model(packed: bool) -> None:
    spans = [span({"mlflow.spanType": '"CHAIN"', "mlflow.spanInputs": "{}"}), span(traced()), span({"x": 1})]
    data: Any = {"request": "…", "spans": spans}
    document = {"info": {"trace_id": "tr-1"}, "data": json.dumps(data) if packed else data}
    assert spans_in(document) == [spans[1]]


def test_the_fields_of_an_otlp_document_may_be_written_with_underscores() -> None:
    listed = [{"key": "gen_ai.response.finish_reasons", "value": {"array_value": {"values": [{"string_value": "length"}]}}}]
    listed += [{"key": key, "value": {"string_value": value}} for key, value in newest().items() if isinstance(value, str)]
    document = {"resource_spans": [{"scope_spans": [{"spans": [{"span_id": "s1", "attributes": listed}]}]}]}
    [found] = spans_in(document) or []
    assert parse_row(found, {}).metadata["finish_reason"] == "length"


def test_numbered_messages_come_in_the_order_of_their_numbers_however_long_these_are() -> None:
    asked = {f"gen_ai.prompt.{n}.content": f"turn {len(n)}" for n in ("9" * 5000, "10", "9")}
    values = {**asked, "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Rain."}
    found = parse_row({"attributes": values}, {})
    assert [m["content"] for m in found.messages] == ["turn 1", "turn 2", "turn 5000", "Rain."]


def test_a_column_that_a_trace_has_too_makes_no_trace_of_a_row(ws: Workspace, task: Model, write: Write) -> None:
    rows = [{"question": f"Where is parcel {i}?", "answer": "On its way.", "info": info} for i, info in enumerate(("x", {}))]
    done = import_files(ws, task, Config(), [write("a.jsonl", rows), write("b.json", [json.dumps(rows)])])
    assert (done.added, done.dropped) == (2, {"exact_duplicate": 2})
