"""Calls of tools in messages, in the form that chat templates know, whoever wrote them.

OpenAI's of the time before there were tools (`function_call`, answered by a `function`), and LangChain's (`name` and `args`): a
template passes both over, and the model would learn to say nothing where it should call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

LEARNED = ("train", "training", "loss", "loss_weight")
"""Under what a message says whether, or by how much, it is to be learned (Axolotl, ms-swift, LLaMA-Factory)."""
_ODD = ("function_call", "tool_calls", *LEARNED)


def modern(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with each call of a tool under `tool_calls`, and its answer as that of a `tool`."""
    if all(message.keys().isdisjoint(_ODD) for message in messages):  # nearly always
        return list(messages)
    made: list[dict[str, Any]] = []
    waiting = ""
    for message in messages:
        if _calls_once(message):
            waiting = f"call_{len(made) + 1}"
            called = {"id": waiting, "type": "function", "function": _function(message["function_call"])}
            rest = {key: value for key, value in message.items() if key != "function_call"}
            made.append({**rest, "content": message.get("content") or None, "tool_calls": [called]})
        elif message.get("role") == "function" and waiting:
            made.append({**message, "role": "tool", "tool_call_id": waiting})
            waiting = ""
        else:
            made.append(_with_functions(message))
    return list(map(_learned, made))


def _learned(message: dict[str, Any]) -> dict[str, Any]:
    """A message that says in another trainer's words whether it is to be learned, with that as its weight; any other as it is."""
    key = next((key for key in LEARNED if isinstance(message.get(key), int | float if key == "loss_weight" else bool)), None)
    if key is None:
        return message
    rest = {name: value for name, value in message.items() if name != key}
    told = message.get("role") == "assistant" and "weight" not in rest and message[key] != 1
    return {**rest, "weight": message[key] or 0} if told else rest


def _calls_once(message: Mapping[str, Any]) -> bool:
    called = message.get("function_call")
    return isinstance(called, dict) and isinstance(called.get("name"), str) and not message.get("tool_calls")


def _with_functions(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose calls each name their `function`; as it is where they do."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not any(map(_is_bare, calls)):
        return message
    made = [{"id": c.get("id"), "type": "function", "function": _function(c)} if _is_bare(c) else c for c in calls]
    return {**message, "content": message.get("content") or None, "tool_calls": made}


def _is_bare(call: Any) -> bool:
    return isinstance(call, dict) and "function" not in call and isinstance(call.get("name"), str) and "args" in call


def _function(call: Mapping[str, Any]) -> dict[str, Any]:
    """Name and arguments of a call, the arguments as the text that models write."""
    given = call.get("arguments", call.get("args", "{}"))
    return {"name": call["name"], "arguments": given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)}
