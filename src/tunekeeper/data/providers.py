"""Conversations as the APIs of other providers write them, turned into OpenAI's chat messages.

Anthropic's Messages, Amazon Bedrock's Converse, Google's Gemini, OpenAI's Responses and Cohere's Chat differ in how a
message names its speaker and in the blocks it is made of: a text, a call of a tool, what the tool answered, a picture, a
thought. Thoughts are left out: nothing is taught by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.data.calls import LEARNED
from tunekeeper.data.conversations import Unreadable, opened

ROLES = {
    "human": "user",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "gpt": "assistant",
    "customer": "user",
    "client": "user",
    "visitor": "user",
    "end_user": "user",
    "end-user": "user",
    "requester": "user",
    "agent": "assistant",
    "operator": "assistant",
    "support": "assistant",
    "representative": "assistant",
    "advisor": "assistant",
}
"""Who speaks, in small letters → role of the message; OpenAI's own roles stand for themselves."""
_OPENAI_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_OPENAI_PARTS = frozenset(("text", "image_url", "input_audio", "file", "refusal", "video_url", "audio_url"))
_INSTRUCTIONS = ("system", "systemInstruction", "system_instruction", "instructions", "preamble")
_TURNS = ("messages", "contents", "input")
_SPEAKERS = ("role", "author", "sender", "speaker", "from", "from_role", "username")
_SAID = ("content", "parts", "message", "text", "value", "body", "utterance", "Contents")
_TEXTS = ("text", "input_text", "output_text", "summary_text")
_CALLS = ("tool_use", "toolUse", "functionCall", "function_call", "tool_call", "tool-call")
_RESULTS = (
    "tool_result",
    "toolResult",
    "functionResponse",
    "function_response",
    "function_call_output",
    "tool_call_response",
    "tool-result",
)
_PICTURES = ("image", "input_image", "inlineData", "inline_data", "fileData", "file_data")
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning", "reasoningContent", "reasoning_content", "thought", "cachePoint")
_ADDRESSES = ("image_url", "video_url", "audio_url")
_UNTYPED = ("text", *_CALLS, *_RESULTS, *_PICTURES, *_THOUGHTS)
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "incomplete": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "tool-calls": "tool_calls",
    "content-filter": "content_filter",
    "safety": "content_filter",
}
"""Why an answer ended, in small letters → OpenAI's word for it; other words stand as they are."""


@dataclass(kw_only=True, slots=True)
class _Talk:
    """The messages made so far."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    """OpenAI chat messages."""
    waiting: list[tuple[str, str]] = field(default_factory=list)
    """Id and name of each call that no tool has answered yet."""
    calls: int = 0
    """Calls made so far: Gemini's have no ids of their own."""

    def call(self, id: Any, name: Any, arguments: Any) -> None:
        """Add a call to the assistant's message, which begins with it where nothing was said before."""
        if not isinstance(name, str):
            raise Unreadable("a call of a tool without the tool's name")
        self.calls += 1
        known = str(id or f"call_{self.calls}")
        self.waiting.append((known, name))
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": None})
        made = {
            "id": known,
            "type": "function",
            "function": {"name": name, "arguments": text_of_value({} if arguments is None else arguments)},
        }
        self.messages[-1].setdefault("tool_calls", []).append(made)

    def answered(self, id: Any) -> dict[str, Any]:
        """The id of the call that a tool answers, where that is known: the one it names, else the oldest that waits."""
        known = str(id or next((call[0] for call in self.waiting), ""))
        self.waiting = [call for call in self.waiting if call[0] != known]
        return {"tool_call_id": known} if known else {}

    def result(self, id: Any, name: Any, content: Any) -> None:
        """Add what a tool answered: the call of this id, else the oldest one of this name, else the oldest."""
        open_ = [call for call in self.waiting if call[0] == id] or [call for call in self.waiting if name and call[1] == name]
        chosen = (open_ or self.waiting or [(str(id or ""), "")])[0]
        if chosen in self.waiting:
            self.waiting.remove(chosen)
        known = str(id) if id and not open_ else chosen[0]
        self.messages.append({"role": "tool", "tool_call_id": known, "content": _result_text(content)})


def is_foreign(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a message is written in another dialect than OpenAI's chat: its speaker, or a block of its content."""
    return any(
        str(message.get("role")) not in _OPENAI_ROLES
        or _foreign_parts(message.get("content"))
        or ("content" not in message and not message.keys().isdisjoint(_SAID))
        for message in messages
    )


def _foreign_parts(content: Any) -> bool:
    parts = content if isinstance(content, list) else ()
    return any(
        isinstance(part, dict) and (str(part.get("type")) not in _OPENAI_PARTS or _named(part) is not part) for part in parts
    )


def asks(request: Mapping[str, Any]) -> bool:
    """Whether an object is a request to an API: it holds turns, or the items of OpenAI's Responses."""
    return any(isinstance(request.get(key), list) for key in _TURNS) or ("input" in request and "instructions" in request)


def asked(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages that a request asks with, its instructions first. Raises Unreadable."""
    turns = next((request[key] for key in _TURNS if request.get(key)), None)
    if isinstance(turns, str):
        turns = [{"role": "user", "content": turns}]
    if not isinstance(turns, list) or not turns:
        raise Unreadable("the row's input is empty")
    return [*instructions_of(request), *messages_of(turns)]


def instructions_of(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The system message of a request that gives its instructions beside the turns; nothing where it gives none."""
    key = told_under(request)
    return [] if key is None else [{"role": "system", "content": instruction_text(request[key])}]


def told_under(request: Mapping[str, Any]) -> str | None:
    """The field of a request that holds its instructions; None where none does."""
    return next((key for key in _INSTRUCTIONS if instruction_text(request.get(key))), None)


def answered(response: Any) -> tuple[dict[str, Any], Any] | None:
    """The assistant's message of a response and why it ended; None for what is no response of these APIs. Raises Unreadable."""
    said, finish = _said(response)
    if said is None:
        return None
    made = messages_of(said if isinstance(said, list) else [said])
    if not made or made[-1]["role"] != "assistant" or not (made[-1].get("content") or made[-1].get("tool_calls")):
        raise Unreadable("the row's output is empty")
    return made[-1], finish


def _said(response: Any) -> tuple[Any, Any]:
    """The turns of a response, None where it has none, and why it ended."""
    if isinstance(response, list):
        items = [item for item in response if isinstance(item, dict)]
        spoken = any("content" in item or "parts" in item for item in items)
        return (items, None) if spoken and is_foreign(items) else (None, None)
    if not isinstance(response, dict):
        return None, None
    candidates = response.get("candidates")
    if isinstance(candidates, list) and candidates and isinstance(candidates[0], dict):  # Gemini
        return {"role": "model", **_mapping(candidates[0].get("content"))}, finish_of(candidates[0].get("finishReason"))
    if isinstance(response.get("output"), list):  # OpenAI's Responses
        why = _mapping(response.get("incomplete_details")).get("reason")
        return response["output"], finish_of(why or response.get("status"))
    if isinstance(_mapping(response.get("output")).get("message"), dict):  # Bedrock's Converse
        return response["output"]["message"], finish_of(response.get("stopReason"))
    if isinstance(response.get("message"), dict) and "content" in response["message"]:  # Cohere
        return {"role": "assistant", **response["message"]}, finish_of(response.get("finish_reason"))
    if isinstance(response.get("content", response.get("parts")), list):  # Anthropic, OpenTelemetry
        return {"role": "assistant", **response}, finish_of(response.get("stop_reason", response.get("finish_reason")))
    return None, None


def finish_of(reason: Any) -> Any:
    """Why an answer ended, in OpenAI's words; None for what is no text."""
    return _FINISHES.get(reason.casefold(), reason.casefold()) if isinstance(reason, str) else None


def messages_of(turns: Any) -> list[dict[str, Any]]:
    """The chat messages of turns in any of the dialects; who is unknown keeps the name. Raises Unreadable for what is no turn and
    for a block of a kind that no chat message has."""
    if not isinstance(turns, list):
        raise Unreadable("the turns of a conversation must be a list")
    talk = _Talk()
    for turn in turns:
        if not isinstance(turn, dict):
            raise Unreadable("a turn must be an object")
        _turn(talk, turn)
    return talk.messages


def _turn(talk: _Talk, turn: Mapping[str, Any]) -> None:
    speaker = speaker_of(turn)
    kind = turn.get("type")
    if speaker is None and kind in (*_CALLS, *_RESULTS, *_THOUGHTS):  # an item of OpenAI's Responses
        _parts(talk, [turn])
        return
    known = ROLES.get(str(speaker).casefold(), str(speaker).casefold())
    role = known if known in _OPENAI_ROLES else speaker
    content = next((turn[key] for key in _SAID if turn.get(key) is not None), None)
    if content is None and isinstance(turn.get("data"), dict):  # LangChain, as its memories are saved
        content = turn["data"].get("content")
    content = [_named(part) for part in content] if isinstance(content, list) else content
    learned = {key: turn[key] for key in ("weight", *LEARNED) if turn.get(key) is not None}
    rest = {key: turn[key] for key in ("name", "tool_calls", "tool_call_id", "refusal") if turn.get(key) is not None} | learned
    if role == "tool" and not (isinstance(content, list) and _holds(content, _RESULTS)):
        talk.messages.append({"role": role, "content": _result_text(content), **rest, **talk.answered(turn.get("tool_call_id"))})
        return
    if not isinstance(content, list):
        talk.messages.append({"role": role, "content": content, **rest})
        return
    before = len(talk.messages)
    parts = _parts(talk, [part for part in content if not _is_call(part)])
    if parts or (len(talk.messages) == before and not _holds(content, _CALLS)):
        talk.messages.append({"role": role, "content": _collapsed(parts), **rest})
    _parts(talk, [part for part in content if _is_call(part)])
    if talk.messages[before:]:
        talk.messages[-1] |= learned


def speaker_of(turn: Mapping[str, Any]) -> Any:
    """Who says a turn: what is named so, by its name where that is an object; None where nothing is."""
    said = next((turn[key] for key in _SPEAKERS if turn.get(key) not in (None, "")), None)
    if isinstance(said, dict):
        said = next((said[key] for key in ("role", "name", "id") if said.get(key)), None)
    kind = turn.get("type")
    if said is None and isinstance(turn.get("is_inbound"), bool):  # Front
        return "user" if turn["is_inbound"] else "assistant"
    return kind if said is None and kind in ("human", "ai", "system", "tool", "user", "assistant", "bot") else said


def _holds(parts: list[Any], kinds: Sequence[str]) -> bool:
    return any(_kind(part) in kinds for part in parts)


def _is_call(part: Any) -> bool:
    return _kind(part) in _CALLS


def _kind(part: Any) -> str:
    """What a block is: its `type`, or the key that Gemini and Bedrock write it under."""
    if not isinstance(part, dict):
        return "text"
    kind = part.get("type")
    return kind if isinstance(kind, str) else next((key for key in _UNTYPED if key in part), "")


def _named(part: Any) -> Any:
    """A block with what it says under the key that its kind has elsewhere: LLaMA-Factory calls all of it `value`."""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or "value" not in part or kind in part or not isinstance(part["value"], str):
        return part
    value: Any = {"url": part["value"]} if kind in _ADDRESSES else opened(part["value"]) if kind in _CALLS else part["value"]
    return {"type": kind, ("text" if kind in (*_TEXTS, *_THOUGHTS) else kind): value}


def _parts(talk: _Talk, blocks: list[Any]) -> list[dict[str, Any]]:
    """The parts of a message's content; calls of tools and their results go into the talk."""
    made: list[dict[str, Any]] = []
    for block in blocks:
        kind = _kind(block)
        if not isinstance(block, dict):
            made.append({"type": "text", "text": text_of_value(block)})
            continue
        inner = block[kind] if isinstance(block.get(kind), dict) else block
        if kind in _THOUGHTS or block.get("thought") is True:
            continue
        if kind in _TEXTS:
            made.append({"type": "text", "text": text_of_value(block.get("text", block.get("content", "")))})
        elif kind in _CALLS:
            id = next((inner[key] for key in ("call_id", "toolUseId", "toolCallId", "id") if inner.get(key)), None)
            arguments = next((inner[key] for key in ("arguments", "input", "args") if inner.get(key) is not None), None)
            talk.call(id, inner.get("name", inner.get("toolName")), arguments)
        elif kind in _RESULTS:
            id = next((inner[key] for key in ("tool_use_id", "toolUseId", "toolCallId", "call_id", "id") if inner.get(key)), None)
            said = next((inner[key] for key in ("content", "response", "output", "result") if inner.get(key) is not None), "")
            talk.result(id, inner.get("name", inner.get("toolName")), said)
        elif kind in _PICTURES:
            made.append(_picture(inner))
        elif kind in _OPENAI_PARTS or "type" in block:
            made.append(block)
        else:
            raise Unreadable(f"a block with the keys {', '.join(map(str, block))} has no place in a chat message")
    return made


def _picture(image: Mapping[str, Any]) -> dict[str, Any]:
    """A picture in OpenAI's form: its address, or its bytes as a data URL. What cannot be told stays as it is."""
    source = image["source"] if isinstance(image.get("source"), dict) else image
    url = next((source[key] for key in ("url", "image_url", "fileUri", "file_uri") if isinstance(source.get(key), str)), None)
    data = next((source[key] for key in ("data", "bytes") if isinstance(source.get(key), str)), None)
    if url is None and data is not None:
        kind = (
            source.get("media_type") or source.get("mimeType") or source.get("mime_type") or f"image/{image.get('format', 'png')}"
        )
        url = f"data:{kind};base64,{data}"
    return {"type": "image_url", "image_url": {"url": url}} if url else dict(image)


def _collapsed(parts: list[dict[str, Any]]) -> Any:
    """Parts that are texts alone as one text: the templates of text models know no parts."""
    if all(part.get("type") == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def instruction_text(given: Any) -> str:
    """Instructions as one text: a text, or the texts of blocks, however they are wrapped; empty for none."""
    if isinstance(given, dict):
        given = given.get("parts", given.get("content", [given]))
    if isinstance(given, str):
        return given
    blocks = given if isinstance(given, list) else ()
    texts = [block if isinstance(block, str) else block.get("text") for block in blocks if isinstance(block, str | dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _result_text(content: Any) -> str:
    """What a tool answered, as text: the texts of its blocks, else its JSON."""
    if isinstance(content, dict) and content.keys() == {"type", "value"}:  # the AI SDK of Vercel
        content = content["value"]
    blocks = content if isinstance(content, list) else None
    if blocks and all(isinstance(block, dict) and isinstance(block.get("text"), str) for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    if blocks and len(blocks) == 1 and isinstance(blocks[0], dict) and "json" in blocks[0]:
        content = blocks[0]["json"]
    return text_of_value("" if content is None else content)


def text_of_value(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
