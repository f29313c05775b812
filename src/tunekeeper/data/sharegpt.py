"""Conversations of turns: ShareGPT and what trainers and tool-calling sets made of it.

Turns say who speaks under `from` (or `role`) and what under `value` (or `content`); or each is a question with its answer under
`human` and `assistant`. Calls of tools are turns of their own (`function_call`, answered by `observation`), or stand in the text
between `<tool_call>` and `</tool_call>`. Pictures stand under `images`, and in the text as `<image>`. Read and written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tunekeeper.core.errors import DataError
from tunekeeper.data import pictures, providers
from tunekeeper.data.conversations import Conversation, NotJson, Unreadable, by_row, conversation_from, opened, unpacked
from tunekeeper.data.originals import KEY, keys_of, original_of
from tunekeeper.data.toolsets import calls_of, literal
from tunekeeper.text.fingerprints import attachments_of, text_of

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
"""Who speaks → role of the message."""
SPEAKERS = {
    "user": "human",
    "assistant": "gpt",
    "system": "system",
    "developer": "system",
    "tool": "observation",
    "function": "observation",
}
"""Role of a message → who speaks."""
_CALLED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_ANSWERED = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
_PAIRS = (("human", "assistant"), ("user", "assistant"), ("input", "output"), ("question", "answer"), ("prompt", "response"))
"""Under what a turn holds a question with its answer."""


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a row with `conversations`, or `conversation`. Raises Unreadable."""
    key = "conversations" if "conversations" in row else "conversation"
    row = unpacked(row, (key, "tools", "metadata", KEY))
    turns = by_row(row[key])
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Unreadable(f"`{key}` must be a list of objects")
    messages: list[dict[str, Any]] = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    waiting: list[str] = []
    for turn in turns:
        for each in _single(turn):
            _say(messages, each, waiting)
    told = turns, row.get("images") or []
    original = original_of(row, lambda known: written(known) == told)
    used = (key, "system", *pictures.shown(messages, row), *keys_of(row), *(("images",) if original else ()))
    return conversation_from(row, original or pictures.pictured(messages, row), used, "sharegpt")


def role_of(turn: dict[str, Any], *, named: bool = False) -> str:
    """The role of the message that a turn becomes; where people may be `named`, the name of who is none. Raises Unreadable for a
    speaker nobody knows."""
    told = turn.get("from", turn.get("role"))
    speaker = str(told).strip()
    role = ROLES.get(speaker) or ROLES.get(speaker.casefold()) or providers.ROLES.get(speaker.casefold())
    if role is None and named and isinstance(told, str) and speaker:
        return speaker
    if role is None:
        raise Unreadable(f"no role is called {speaker!r}; known: {', '.join(ROLES)}")
    return role


def _single(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """A turn; of a question with its answer both."""
    pair = None if "from" in turn or "role" in turn else next((pair for pair in _PAIRS if turn.keys() >= set(pair)), None)
    return (
        [turn] if pair is None else [{"from": side, "value": turn[key]} for side, key in zip(("human", "gpt"), pair, strict=True)]
    )


def _say(messages: list[dict[str, Any]], turn: dict[str, Any], waiting: list[str]) -> None:
    """Add what a turn says. `waiting`: ids of the calls that no tool has answered yet."""
    role, value = role_of(turn, named=True), turn.get("value", turn.get("content"))
    before = sum(len(message.get("tool_calls", ())) for message in messages)
    said, calls = _with_calls(value, before) if role == "assistant" else (value, [])
    if turn.get("from") == "function_call":
        said, calls = value, calls_of(opened(value), before)
    if calls:
        waiting += [call["id"] for call in calls]
        if said is value and messages and "tool_calls" in messages[-1]:
            messages[-1]["tool_calls"] += calls
        elif said is value and messages and messages[-1]["role"] == "assistant":  # it says something and calls in one message
            messages[-1]["tool_calls"] = calls
        else:
            messages.append({"role": role, "content": None if said is value else said, "tool_calls": calls})
    elif role == "tool" and waiting:
        for answer in _answers(value, len(waiting)):
            messages.append({"role": "tool", "tool_call_id": waiting.pop(0), "content": answer})
    else:
        messages.append({"role": role, "content": value})
    if role == "assistant":
        messages[-1] |= {key: turn[key] for key in ("weight", "train", "training") if key in turn}


def _with_calls(value: Any, before: int) -> tuple[Any, list[dict[str, Any]]]:
    """What an answer says besides the calls written into it, and these calls; the answer itself where it holds none."""
    if not isinstance(value, str) or "<tool_call>" not in value:
        return value, []
    try:
        calls = calls_of([literal(text.strip()) for text in _CALLED.findall(value)], before)
    except NotJson:
        return value, []
    return (_CALLED.sub("", value).strip() or None, calls) if calls else (value, [])


def _answers(value: Any, most: int) -> list[Any]:
    """The answers of tools written into a turn; the turn itself where there are none, or more than were asked for."""
    found = _ANSWERED.findall(value) if isinstance(value, str) else []
    return [answer.strip() for answer in found] if 0 < len(found) <= most else [value]


def written(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Turns and images of a conversation: the calls of tools of a message become one turn of `function_call`, a picture `<image>`
    with its address under the images. Raises DataError for other attachments."""
    turns: list[dict[str, Any]] = []
    images: list[str] = []
    for message in messages:
        made = [call.get("function", call) for call in message.get("tool_calls") or ()]
        calls = [_called(call) for call in (*made, *filter(None, [message.get("function_call")]))]
        images += _addresses(message)
        text = _with_marks(message.get("content"))
        learned = {"weight": message["weight"]} if message.get("weight", 1) != 1 else {}
        if message.get("content") is not None and (text or not calls):
            turns.append({"from": SPEAKERS.get(str(message.get("role")), "human"), "value": text, **learned})
        if calls:
            value = orjson.dumps(calls if len(calls) > 1 else calls[0]).decode()
            turns.append({"from": "function_call", "value": value, **learned})
    return turns, images


def _with_marks(content: Any) -> str:
    """The text of a message with `<image>` where its pictures stand."""
    if not isinstance(content, list) or all("text" in part for part in content if isinstance(part, dict)):
        return text_of(content)
    texts = (part.get("text", pictures.MARK) for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _addresses(message: Mapping[str, Any]) -> list[str]:
    """The addresses of a message's pictures. Raises DataError for what else is attached to it."""
    parts = attachments_of(message)
    for part in parts:
        if not isinstance(part.get("image_url"), dict) or not isinstance(part["image_url"].get("url"), str):
            what = part.get("type", "an attachment")
            raise DataError(f"ShareGPT has no place for {what}", fix="export with --format openai")
    return [part["image_url"]["url"] for part in parts]


def _called(function: Mapping[str, Any]) -> dict[str, Any]:
    """A call as that format has it: name, and arguments as an object where they are one."""
    arguments = function.get("arguments", {})
    try:
        given = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    except orjson.JSONDecodeError:
        given = arguments
    return {**function, "arguments": given}
