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
    ],
    ids=["newest", "details", "openllmetry", "openinference", "phoenix", "events"],
)
def test_a_span_says_the_same_in_every_convention(row: dict[str, Any]) -> None:
    made = parse_row(row, {})
    assert list(made.messages) == WANTED
    assert (made.metadata["id"], made.metadata["request_id"], made.shape) == ("0xs1", "0xt1", "otel")


def test_tools_and_the_conversation_come_along() -> None:
    made = parse_row(span(newest()), {})
    assert (made.tools, made.metadata["conversation_id"], made.metadata["model"]) == ((TOOL,), "conv-1", "desk@v1")
    assert parse_row(span(inferred()), {}).tools == (TOOL,)


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
