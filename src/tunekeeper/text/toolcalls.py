"""Tool calls as chat templates take them. OpenAI's format writes a call's arguments as a text of JSON; most templates want the
object, and would quote the text once more, which no server does: vLLM and llama.cpp hand them the object."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NEEDLE = "tunekeeper_needle"
Messages = Sequence[Mapping[str, Any]]


def with_objects(messages: Messages) -> list[dict[str, Any]]:
    """The messages with the arguments of tool calls as objects, where they are texts of one."""
    return [
        {**message, "tool_calls": _calls(message["tool_calls"])} if _has_calls(message) else dict(message) for message in messages
    ]


def wants_objects(render: Callable[[list[dict[str, Any]]], str]) -> bool:
    """Whether a template writes arguments as JSON where they are an object, and does not where they are a text. `render`: how it
    renders messages; what it raises means that it does not take them."""
    return not _writes(render, json.dumps({NEEDLE: "1"})) and _writes(render, {NEEDLE: "1"})


def has_texts(messages: Messages) -> bool:
    """Whether a tool call among the messages has its arguments as a text of an object."""
    return any(_has_calls(message) and _calls(message["tool_calls"]) != list(message["tool_calls"]) for message in messages)


def _writes(render: Callable[[list[dict[str, Any]]], str], arguments: object) -> bool:
    call = {"id": "call00001", "type": "function", "function": {"name": "find", "arguments": arguments}}
    asked = {"role": "user", "content": "Hi"}
    try:
        return f'"{NEEDLE}":' in render([asked, {"role": "assistant", "content": "", "tool_calls": [call]}])
    except Exception:  # noqa: BLE001 - a template is a program from outside and raises what it likes
        return False


def _has_calls(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("tool_calls"), list | tuple)


def _calls(calls: Sequence[Any]) -> list[Any]:
    return [_call(call) if isinstance(call, Mapping) else call for call in calls]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if isinstance(function, Mapping):
        return (
            {**call, "function": {**function, "arguments": _object(function["arguments"])}}
            if "arguments" in function
            else dict(call)
        )
    return {**call, "arguments": _object(call["arguments"])} if "arguments" in call else dict(call)


def _object(arguments: Any) -> Any:
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else None
    except (ValueError, RecursionError):
        return arguments
    return found if isinstance(found, dict) else arguments
