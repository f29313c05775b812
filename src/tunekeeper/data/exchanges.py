"""A request and its answer as one conversation, however a tool logged them: what was asked in any dialect, and what was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.calls import modern
from tunekeeper.data.conversations import Conversation, Unreadable, as_tools, opened, refusing

_MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "function_call")
_SAYING = frozenset(("content", "tool_calls", "refusal", "function_call"))
_OF_MESSAGE = frozenset(
    (
        *(
            *_MESSAGE_KEYS,
            "content_parts",
            "annotations",
            "audio",
            "id",
            "index",
            "type",
            "status",
            "parsed",
            "metadata",
            "weight",
        ),
        *(
            "reasoning",
            "reasoning_content",
            "reasoning_details",
            "thinking_blocks",
            "provider_specific_fields",
            "images",
            "prefix",
        ),
        *("additional_kwargs", "response_metadata", "usage_metadata", "invalid_tool_calls", "example"),
    )
)
"""What a message without a role may hold: an object with other fields is an answer in JSON, whatever they are called."""
_OF_ERROR = frozenset(("error", "message", "code", "status", "status_code", "statusCode", "type", "detail", "details", "success"))
"""What an error may hold that is told as a text."""


def exchange(shape: str, asked: list[dict[str, Any]], said: Any, *, metadata: Mapping[str, Any], tools: Any) -> Conversation:
    """What was `asked` with the answer in the response `said`; what of `metadata` holds something. Raises Unreadable."""
    if (state := _state_in(said)) is not None:
        asked, said = _before_last(asked, state), state[-1]
    answer, finish = answer_in(said)
    kept = present({**metadata, "finish_reason": finish if finish not in (None, "stop", "tool_calls", "function_call") else None})
    return Conversation(messages=tuple(modern([*asked, answer])), metadata=kept, tools=as_tools(tools or ()), shape=shape)


def _state_in(said: Any) -> list[dict[str, Any]] | None:
    """The messages of an answer that is the whole talk with its last word, as graphs of LangChain answer; None for any other."""
    value = opened(said)
    turns = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(turns, list) or not turns or not (all(map(_is_langchain, turns)) or all(map(_says, turns))):
        return None
    made = providers.messages_of(turns)
    return made if made[-1]["role"] == "assistant" else None


def _before_last(asked: list[dict[str, Any]], state: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was asked and what was said until the last word: graphs give the question back, and leave their instructions out."""
    told = [message for message in asked if message["role"] in ("system", "developer")]
    asks = [message for message in asked if message["role"] not in ("system", "developer")]
    if asks and asks[0]["content"] not in [message["content"] for message in state]:
        return [*asked, *state[:-1]]
    return [*(told if state[0]["role"] != "system" else []), *state[:-1]]


def _is_langchain(turn: Any) -> bool:
    return isinstance(turn, dict) and "content" in turn and turn.get("type") in ("human", "ai", "system", "tool")


def asked_in(value: Any) -> list[dict[str, Any]]:
    """The messages of a prompt: a list of messages, a request with `messages`, the arguments of a function that sent one, one
    message, or plain text; also as JSON text, which stays as it is written where it is none of these. Raises Unreadable."""
    told, value = value, opened(value)
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
    if isinstance(value, list) and value and all(map(_is_langchain, value)):
        return providers.messages_of(value)
    if value in (None, "", [], {}):
        raise Unreadable("the row's input is empty")
    return [{"role": "user", "content": providers.text_of_value(value if told is None else told)}]


def _is_chat(request: Mapping[str, Any]) -> bool:
    """Whether a request asks in OpenAI's own dialect, with nothing beside its messages."""
    turns = request.get("messages")
    return isinstance(turns, list) and all(isinstance(m, dict) for m in turns) and not providers.instructions_of(request)


def answer_in(value: Any) -> tuple[dict[str, Any], Any]:
    """The assistant's message of a response, a list of its choices or a text, and why it ended. JSON that is no message is what
    was answered, as it is written. Raises Unreadable."""
    finish, told, value = None, value, opened(value)
    if isinstance(value, list) and value and isinstance(inner(value[0], "message"), dict):
        value = {"choices": value}
    if isinstance(value, dict) and isinstance(value.get("choices"), list) and value["choices"]:
        choice = mapping_of(value["choices"][0])
        finish, value = choice.get("finish_reason"), choice.get("message")
        told = value
    elif _failed(value):
        raise Unreadable("the request failed: its output is an error")
    elif (foreign := providers.answered(value)) is not None:
        return foreign
    said = value[0] if isinstance(value, list) and len(value) == 1 else value
    if _says(said):
        return _message({**said, "role": "assistant"}), finish
    if value in (None, "", [], {}):
        raise Unreadable("the row's output is empty")
    return {"role": "assistant", "content": providers.text_of_value(told)}, finish


def _says(value: Any) -> bool:
    """Whether a value is a message, and no answer in JSON that has a field of such a name."""
    if not isinstance(value, dict) or _SAYING.isdisjoint(value):
        return False
    return "role" in value or (value.keys() <= _OF_MESSAGE and isinstance(value.get("content"), str | list | None))


def _failed(value: Any) -> bool:
    error = inner(value, "error")
    return bool(error) and (isinstance(error, dict) or value.keys() <= _OF_ERROR)


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
