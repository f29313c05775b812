"""Exports of LangSmith: runs, and examples of its datasets, with the messages of LangChain in each form they are written in.

A run has `run_type`, `inputs` and `outputs`; an example has `dataset_id` instead. What is in those depends on who traced it: a
request and response of OpenAI, a LangChain chat model (`messages` as a list of lists, `generations`), a chain's or graph's own
state, or one text. A message of LangChain is `{"type": "human", "content": …}`, the same under `data`, or, as `dumpd` writes it,
`{"lc": 1, "id": […, "HumanMessage"], "kwargs": {…}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.conversations import Conversation, Unreadable, as_tools, unpacked

_ROLES = {
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "function": "function",
}
_ANSWERING = ("llm", "chain", "agent")
"""Types of runs that may hold a question with its answer."""
_SAID = ("output", "answer", "response", "text", "result", "completion", "content")
"""Under what an answer stands in the outputs of a chain."""


def holds(row: Mapping[str, Any]) -> bool:
    """Whether a row is a run or an example of LangSmith."""
    return "inputs" in row and "outputs" in row and any(key in row for key in ("run_type", "dataset_id", "reference_example_id"))


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a run or an example. Raises Unreadable."""
    row = unpacked(row, ("inputs", "outputs", "extra", "metadata"))
    kind = row.get("run_type")
    if kind is not None and str(kind).casefold() not in _ANSWERING:
        raise Unreadable(f"a {kind} run of LangSmith, no answer of a model")
    if row.get("error"):
        raise Unreadable("the run of LangSmith failed")
    given, said = row["inputs"], row["outputs"]
    if given in (None, "", [], {}) or said in (None, "", [], {}):
        raise Unreadable("a LangSmith row without inputs or outputs")
    messages, finish = _talk(given, said)
    extra = _mapping(row.get("extra"))
    told, params = _mapping(extra.get("metadata")), _mapping(extra.get("invocation_params"))
    metadata: dict[str, Any] = {key: value for key, value in told.items() if not key.startswith(("ls_", "LANGSMITH_", "lc_"))}
    metadata |= _mapping(row.get("metadata"))
    metadata |= {"id": row.get("id") or row.get("run_id"), "request_id": row.get("trace_id") or row.get("source_run_id")}
    metadata |= {"created": row.get("start_time") or row.get("created_at"), "name": row.get("name"), "tags": row.get("tags")}
    metadata |= {"model": told.get("ls_model_name") or params.get("model") or params.get("model_name"), "finish_reason": finish}
    tools = _inner(given, "tools") or params.get("tools") or ()
    kept = {key: value for key, value in metadata.items() if value not in (None, "", [], {})}
    return Conversation(messages=tuple(messages), metadata=kept, tools=as_tools(tools), shape="langsmith")


def _talk(given: Any, said: Any) -> tuple[list[dict[str, Any]], Any]:
    """The messages of inputs and outputs, and why the answer ended where that is no stop."""
    asked = _asked(given)
    finish = None
    if isinstance(said, dict) and isinstance(said.get("generations"), list):
        generation = _first(said["generations"])
        reason = _inner(generation.get("generation_info"), "finish_reason")
        finish = None if reason in (None, "stop", "tool_calls") else reason
        answer = _listed(generation.get("message")) or [{"role": "assistant", "content": generation.get("text")}]
    elif isinstance(said, dict) and "choices" in said:
        choice = _mapping(_first(said["choices"]))
        answer = _listed(choice.get("message"))
    else:
        answer = _answers(said)
    if not answer:
        raise Unreadable("the outputs of the LangSmith row hold no answer")
    # The state of a graph holds the whole talk, what was asked included.
    whole = answer[: len(asked)] == asked and len(answer) > len(asked)
    return (answer if whole else [*asked, *answer]), finish


def _asked(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, dict):
        for key in ("messages", "chat_history", "input", "prompt", "prompts", "question", "query"):
            if found := _listed(given.get(key)):
                rest = _listed(given.get("input") or given.get("question")) if key == "chat_history" else []
                return [*providers.instructions_of(given), *found, *rest]
        texts = [value for value in given.values() if isinstance(value, str) and value]
        text = texts[0] if len(texts) == 1 else json.dumps(given, ensure_ascii=False)
        return [{"role": "user", "content": text}]
    return _listed(given)


def _answers(said: Any) -> list[dict[str, Any]]:
    if isinstance(said, dict):
        if "role" in said or "type" in said or "lc" in said:
            return _listed(said)
        for key in ("messages", "message", *_SAID):
            value = said.get(key)
            if isinstance(value, str) and value:
                return [{"role": "assistant", "content": value}]
            if found := _listed(value):
                return found
        return [{"role": "assistant", "content": json.dumps(said, ensure_ascii=False)}]
    return [{"role": "assistant", "content": said}] if isinstance(said, str) else _listed(said)


def _listed(value: Any) -> list[dict[str, Any]]:
    """The messages of a value: a message, a list of them, a list that holds one such list, or a text of the user; else none."""
    if isinstance(value, str) and value:
        return [{"role": "user", "content": value}]
    if isinstance(value, dict):
        value = [value] if _is_message(value) else value.get("messages")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return [{"role": "user", "content": value[0]}]
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) and _is_message(each) for each in value):
        return []
    made = [_message(each) for each in value]
    return providers.messages_of(made) if providers.is_foreign(made) else made


def _is_message(value: Mapping[str, Any]) -> bool:
    return "lc" in value or "role" in value or ("type" in value and ("content" in value or "data" in value))


def _message(value: Mapping[str, Any]) -> dict[str, Any]:
    """A message in OpenAI's form. Raises Unreadable for one of an unknown kind."""
    held, kind = value, value.get("type")
    if "lc" in value:
        held = _mapping(value.get("kwargs"))
        kind, names = held.get("type"), value.get("id")
        if isinstance(names, list) and names:
            kind = str(names[-1]).removesuffix("Chunk").removesuffix("Message")
    elif isinstance(value.get("data"), dict):
        held = value["data"]
    named = held.get("role") or value.get("role") or kind
    role = _ROLES.get(str(named).casefold())
    if role is None:
        raise Unreadable(f"no message of LangChain is called {named!r}")
    more = _mapping(held.get("additional_kwargs"))
    calls = [_call(each) for each in held.get("tool_calls") or more.get("tool_calls") or () if isinstance(each, dict)]
    content = held.get("content")
    if calls and isinstance(content, list):  # Anthropic's blocks say the calls once more
        content = [part for part in content if _inner(part, "type") not in ("tool_use", "input_json_delta", "function_call")]
    made: dict[str, Any] = {"role": role, "content": content if content not in ("", []) or not calls else None}
    made |= {"tool_calls": calls} if calls else {}
    return made | {key: held[key] for key in ("name", "tool_call_id") if held.get(key)}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call of a tool: OpenAI's form stays, LangChain's `name` and `args` become it."""
    if isinstance(call.get("function"), dict):
        return {"id": call.get("id"), "type": "function", "function": dict(call["function"])}
    arguments = call.get("args", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call.get("id"), "type": "function", "function": {"name": call.get("name"), "arguments": text}}


def _first(value: Any) -> dict[str, Any]:
    while isinstance(value, list):
        value = value[0] if value else None
    return _mapping(value)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _inner(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
