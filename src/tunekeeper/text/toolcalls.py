"""Tool calls as chat templates take them. OpenAI's format writes a call's arguments as a text of JSON; most templates want the
object, and would quote the text once more or refuse it, which no server does: vLLM and llama.cpp hand them the object. What is
said beside a call is null there, which some templates do not take, or write as `None`: those are handed an empty text."""

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
    """Whether a template writes arguments where they are an object, in JSON or otherwise, and not as JSON where they are a text.
    `render`: how it renders messages; what it raises means that it does not take them."""
    text, taken = (_called(render, "", arguments) for arguments in (json.dumps({NEEDLE: "1"}), {NEEDLE: "1"}))
    return f'"{NEEDLE}":' not in (text or "") and NEEDLE in (taken or "")


def has_texts(messages: Messages) -> bool:
    """Whether a tool call among the messages has its arguments as a text of an object."""
    return any(_has_calls(message) and _calls(message["tool_calls"]) != list(message["tool_calls"]) for message in messages)


def with_texts(messages: Messages) -> list[dict[str, Any]]:
    """The messages with an empty text where nothing is said beside a tool call."""
    return [{**message, "content": ""} if _is_silent(message) else dict(message) for message in messages]


def wants_text(render: Callable[[list[dict[str, Any]]], str], arguments: object) -> bool:
    """Whether a template takes a call beside an empty text, and beside null not, or writes that as `None`. `arguments`: of the
    call, as the template takes them."""
    null, empty = (_called(render, content, arguments) for content in (None, ""))
    return empty is not None and (null is None or ("None" in null and "None" not in empty))


def has_silent(messages: Messages) -> bool:
    """Whether the content beside a tool call among the messages is null."""
    return any(map(_is_silent, messages))


def _called(render: Callable[[list[dict[str, Any]]], str], content: str | None, arguments: object) -> str | None:
    """What a template writes for a call with these arguments; None where it refuses."""
    call = {"id": "call00001", "type": "function", "function": {"name": "find", "arguments": arguments}}
    asked = {"role": "user", "content": "Hi"}
    try:
        return render([asked, {"role": "assistant", "content": content, "tool_calls": [call]}])
    except Exception:  # noqa: BLE001 - a template is a program from outside and raises what it likes
        return None


def _is_silent(message: Mapping[str, Any]) -> bool:
    return bool(_has_calls(message)) and message.get("content") is None


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
