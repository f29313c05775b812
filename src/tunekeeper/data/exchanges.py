"""A request and its answer as one conversation, however a tool logged them: what was asked in any dialect, and what was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.conversations import Conversation, Unreadable, as_tools, refusing

_MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal")


def exchange(shape: str, asked: list[dict[str, Any]], said: Any, *, metadata: Mapping[str, Any], tools: Any) -> Conversation:
    """What was `asked` with the answer in the response `said`; what of `metadata` holds something. Raises Unreadable."""
    answer, finish = answer_in(said)
    kept = present({**metadata, "finish_reason": finish if finish not in (None, "stop", "tool_calls") else None})
    return Conversation(messages=(*asked, answer), metadata=kept, tools=as_tools(tools or ()), shape=shape)


def asked_in(value: Any) -> list[dict[str, Any]]:
    """The messages of a prompt: a list of messages, a request with `messages`, the arguments of a function that sent one, one
    message, or plain text. Raises Unreadable."""
    if isinstance(value, dict) and "messages" in mapping_of(value.get("kwargs")):
        value = value["kwargs"]
    if isinstance(value, dict) and (providers.asks(value) and not _is_chat(value)):
        return providers.asked(value)
    if isinstance(value, dict) and "messages" in value:
        value = value["messages"]
    if isinstance(value, dict) and "role" in value:
        value = [value]
    if isinstance(value, list) and value and all(isinstance(m, dict) and "role" in m for m in value):
        foreign = all(isinstance(m["role"], str) for m in value) and providers.is_foreign(value)
        return providers.messages_of(value) if foreign else [_message(m) for m in value]
    if value in (None, "", [], {}):
        raise Unreadable("the row's input is empty")
    return [{"role": "user", "content": providers.text_of_value(value)}]


def _is_chat(request: Mapping[str, Any]) -> bool:
    """Whether a request asks in OpenAI's own dialect, with nothing beside its messages."""
    turns = request.get("messages")
    return isinstance(turns, list) and all(isinstance(m, dict) for m in turns) and not providers.instructions_of(request)


def answer_in(value: Any) -> tuple[dict[str, Any], Any]:
    """The assistant's message of a response, a list of its choices or a text, and why it ended. Raises Unreadable."""
    finish = None
    if isinstance(value, list) and value and isinstance(inner(value[0], "message"), dict):
        value = {"choices": value}
    if isinstance(value, dict) and isinstance(value.get("choices"), list) and value["choices"]:
        choice = mapping_of(value["choices"][0])
        finish, value = choice.get("finish_reason"), choice.get("message")
    elif isinstance(value, dict) and value.get("error"):
        raise Unreadable("the request failed: its output is an error")
    elif (foreign := providers.answered(value)) is not None:
        return foreign
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and (not {"content", "tool_calls", "refusal"}.isdisjoint(value)):
        return _message({**value, "role": "assistant"}), finish
    if value in (None, "", [], {}):
        raise Unreadable("the row's output is empty")
    return {"role": "assistant", "content": providers.text_of_value(value)}, finish


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversation keeps of a message; absent fields are left out, a missing content is None."""
    kept = {key: message[key] for key in _MESSAGE_KEYS if message.get(key) is not None and message[key] != []}
    if "content" not in kept and isinstance(message.get("content_parts"), list):
        kept["content"] = message["content_parts"]
    if not isinstance(kept.get("role"), str):
        raise Unreadable(f"a message without a role: its keys are {', '.join(map(str, message))}")
    return refusing({"role": kept.pop("role"), "content": kept.pop("content", None), **kept})


def mapping_of(value: Any) -> dict[str, Any]:
    """An object as it is; an empty one for anything else."""
    return dict(value) if isinstance(value, dict) else {}


def inner(value: Any, key: str) -> Any:
    """A field of an object; None where it has none or is none."""
    return value.get(key) if isinstance(value, dict) else None


def renamed(row: Mapping[str, Any], **names: tuple[str, ...]) -> dict[str, Any]:
    """Our name → the first of the row's names that holds something."""
    return {ours: next((row[key] for key in theirs if row.get(key) not in (None, "")), None) for ours, theirs in names.items()}


def present(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that hold something."""
    return {str(key): value for key, value in metadata.items() if value not in (None, "")}
