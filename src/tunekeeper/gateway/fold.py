"""A stream's chunks folded into the one answer they amount to, for the log. Pure; a reason to finish is upstream's or absent."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tunekeeper.gateway.loose import read_loosely
from tunekeeper.gateway.wire import NULL, Probabilities, Usage

_ENCODE = msgspec.json.Encoder().encode
_LISTS = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None]).decode


class Function(msgspec.Struct):
    """A piece of a tool call."""

    name: str | None = None
    arguments: str | None = None


class ToolPiece(msgspec.Struct):
    """A piece of one tool call of a delta."""

    index: int = 0
    id: str | None = None
    type: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    """What one chunk adds to one choice."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolPiece] | None = None
    function_call: Function | None = None


class ChunkChoice(msgspec.Struct):
    """One choice of a chunk; `delta` in a chat stream, `text` in a completion stream."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = NULL


class Chunk(msgspec.Struct):
    """One event of a stream."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[ChunkChoice] | None = None
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    error: msgspec.Raw = NULL


class _Kind(msgspec.Struct):
    object: str | None = None


_CHUNK = msgspec.json.Decoder(Chunk).decode
_KIND = msgspec.json.Decoder(_Kind).decode
_PROBABILITIES = msgspec.json.Decoder(Probabilities).decode


def parse_chunk(data: bytes) -> Chunk | None:
    """A chunk; None when the data is none."""
    try:
        return _CHUNK(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return read_loosely(data, Chunk, "choices")


def is_error(data: bytes) -> bool:
    """Whether a chunk without choices is an error without an envelope, as older vLLM servers send it."""
    try:
        return _KIND(data).object == "error"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


class _Choice:
    __slots__ = (
        "finish_reason", "function", "logprobs", "parts", "raw_logprobs", "reasoning", "refusal", "role", "thoughts", "tools",
    )  # fmt: skip

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.reasoning: list[str] = []
        self.thoughts: list[str] = []
        self.refusal: list[str] = []
        self.role: str | None = None
        self.tools: dict[int, list[dict[str, Any]]] = {}
        self.function: Function | None = None
        self.finish_reason: str | None = None
        self.logprobs: list[float] = []
        self.raw_logprobs: list[msgspec.Raw] = []


class Fold:
    """One stream so far."""

    __slots__ = (
        "chat", "choices", "created", "fingerprint", "id", "model", "partial_from", "probabilities", "tier", "usage",
    )  # fmt: skip

    def __init__(self, *, chat: bool, probabilities: bool = False) -> None:
        """`chat`: chat completion chunks, else completion chunks. `probabilities`: log-probabilities are part of the answer."""
        self.chat = chat
        self.probabilities = probabilities
        self.fingerprint: str | None = None
        self.tier: str | None = None
        self.id: str | None = None
        self.model: str | None = None
        self.created: int | None = None
        self.choices: dict[int, _Choice] = {}
        self.usage: Usage | None = None
        self.partial_from = 0

    def add(self, chunk: Chunk) -> None:
        """Take one chunk in."""
        self.id = chunk.id or self.id
        self.model = chunk.model or self.model
        self.created = chunk.created or self.created
        self.usage = chunk.usage or self.usage
        self.fingerprint = chunk.system_fingerprint or self.fingerprint
        self.tier = chunk.service_tier or self.tier
        for piece in chunk.choices or ():
            self._add_choice(piece)

    def _add_choice(self, piece: ChunkChoice) -> None:
        choice = self.choices.get(piece.index)
        if choice is None:
            choice = self.choices[piece.index] = _Choice()
        choice.finish_reason = piece.finish_reason or choice.finish_reason
        if piece.text:
            choice.parts.append(piece.text)
        if piece.logprobs != NULL:
            _add_probabilities(choice, piece.logprobs, keep=self.probabilities)
        if piece.delta is not None:
            _add_delta(choice, piece.delta)

    @property
    def finished(self) -> bool:
        """Whether upstream gave every choice its reason to finish."""
        return bool(self.choices) and all(choice.finish_reason for choice in self.choices.values())

    @property
    def finish_reason(self) -> str | None:
        """The first choice's reason, as upstream gave it."""
        return self.choices[min(self.choices)].finish_reason if self.choices else None

    def fresh_text(self) -> str:
        """The first choice's text since the last call, for the partial lines of the log."""
        if not self.choices:
            return ""
        parts = self.choices[min(self.choices)].parts
        text = "".join(parts[self.partial_from :])
        self.partial_from = len(parts)
        return text

    def confidence(self, first: int | None = None) -> float | None:
        """Geometric mean of the first choice's token probabilities, or of its `first` tokens; None without log-probabilities."""
        return mean_probability(self.choices[min(self.choices)].logprobs[:first]) if self.choices else None

    def weighable(self, tokens: int) -> bool:
        """Whether the first choice has `tokens` log-probabilities, or said so much without any that they will not come."""
        if not self.choices:
            return False
        choice = self.choices[min(self.choices)]
        said = len(choice.parts) + len(choice.reasoning) + len(choice.thoughts) + len(choice.refusal)
        return len(choice.logprobs) >= tokens or said > tokens or (bool(choice.tools) and not choice.logprobs)

    def answer(self) -> bytes:
        """The whole answer as JSON, in the shape of a plain one."""
        whole: dict[str, Any] = {"id": self.id, "object": "chat.completion" if self.chat else "text_completion"}
        whole |= {"created": self.created, "model": self.model}
        whole["choices"] = [self._choice(index) for index in sorted(self.choices)]
        if self.usage is not None:
            whole["usage"] = _usage(self.usage)
        for name, value in (("system_fingerprint", self.fingerprint), ("service_tier", self.tier)):
            if value is not None:
                whole[name] = value
        return _ENCODE(whole)

    def _choice(self, index: int) -> dict[str, Any]:
        choice = self.choices[index]
        text = "".join(choice.parts)
        ending: dict[str, Any] = {"finish_reason": choice.finish_reason}
        if choice.raw_logprobs:
            ending["logprobs"] = _joined(choice.raw_logprobs)
        if not self.chat:
            return {"index": index, "text": text, **ending}
        message: dict[str, Any] = {
            "role": choice.role or "assistant",
            "content": text if choice.parts or not (choice.tools or choice.function) else None,
        }
        told = (("reasoning_content", choice.reasoning), ("reasoning", choice.thoughts), ("refusal", choice.refusal))
        for name, parts in told:
            if parts:
                message[name] = "".join(parts)
        if choice.tools:
            message["tool_calls"] = [call for i in sorted(choice.tools) for call in choice.tools[i]]
        if choice.function is not None:
            message["function_call"] = {"name": choice.function.name or "", "arguments": choice.function.arguments or ""}
        return {"index": index, "message": message, **ending}


def _usage(usage: Usage) -> dict[str, Any]:
    spent = (usage.prompt_tokens, usage.completion_tokens)
    told: dict[str, Any] = {"prompt_tokens": spent[0], "completion_tokens": spent[1]}
    told["total_tokens"] = sum(n or 0 for n in spent) if usage.total_tokens is None else usage.total_tokens
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if getattr(usage, name) is not None:
            told[name] = getattr(usage, name)
    return told


def _joined(pieces: list[msgspec.Raw]) -> dict[str, list[msgspec.Raw] | None]:
    """The log-probabilities of a choice's chunks as one plain answer has them: each list goes on where the last one ended."""
    whole: dict[str, list[msgspec.Raw] | None] = {}
    for piece in pieces:
        for name, part in _LISTS(piece).items():
            held = whole.setdefault(name, part)
            if held is None:
                whole[name] = part
            elif held is not part and part is not None:
                held += part
    return whole


def _add_probabilities(choice: _Choice, raw: msgspec.Raw, *, keep: bool) -> None:
    """Take a chunk's log-probabilities in; `keep`: their text as well. Such as nobody could read are passed over."""
    try:
        choice.logprobs += _numbers(_PROBABILITIES(raw))
        if keep:
            _LISTS(raw)
            choice.raw_logprobs.append(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return


def _add_delta(choice: _Choice, delta: Delta) -> None:
    choice.role = delta.role or choice.role
    if isinstance(delta.content, str):
        choice.parts.append(delta.content)
    elif delta.content is not None:
        choice.parts += [part["text"] for part in delta.content if isinstance(part.get("text"), str)]
    if delta.reasoning_content:
        choice.reasoning.append(delta.reasoning_content)
    if delta.reasoning:
        choice.thoughts.append(delta.reasoning)
    if delta.function_call is not None:
        _add_function(choice, delta.function_call)
    if delta.refusal:
        choice.refusal.append(delta.refusal)
    for piece in delta.tool_calls or ():
        call = _call_of(choice, piece)
        call["id"] = piece.id or call["id"]
        call["type"] = piece.type or call["type"]
        if piece.function is not None:
            call["function"]["name"] += piece.function.name or ""
            call["function"]["arguments"] += piece.function.arguments or ""


def _call_of(choice: _Choice, piece: ToolPiece) -> dict[str, Any]:
    """The call that a piece goes on with. Some servers number every call 0, or none: a name under another id begins the next."""
    calls = choice.tools.setdefault(piece.index, [])
    named = piece.function is not None and piece.function.name
    if not calls or (named and piece.id and calls[-1]["id"] not in (None, piece.id)):
        calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
    return calls[-1]


def _add_function(choice: _Choice, piece: Function) -> None:
    """The single call of the older interface."""
    held = choice.function or Function(name="", arguments="")
    choice.function = Function(
        name=(held.name or "") + (piece.name or ""), arguments=(held.arguments or "") + (piece.arguments or "")
    )


def _numbers(found: Probabilities) -> list[float]:
    tokens = [token.logprob for token in found.content or ()] + list(found.token_logprobs or ())
    return [number for number in tokens if number is not None]


def mean_probability(logprobs: list[float]) -> float | None:
    """exp of the mean log-probability, 0 to 1; None for an empty list."""
    return min(1.0, math.exp(sum(logprobs) / len(logprobs))) if logprobs else None


def confidence_of(found: Probabilities | None) -> float | None:
    """The same of a plain answer's choice."""
    return mean_probability(_numbers(found)) if found is not None else None
