"""A stream's chunks folded into the one answer they amount to, for the log. Pure; a reason to finish is upstream's or absent."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import msgspec

from tunekeeper.gateway.loose import read_loosely
from tunekeeper.gateway.pieces import grown, sound, whole
from tunekeeper.gateway.wire import NULL, Probabilities, Usage

_ENCODE = msgspec.json.Encoder().encode
_LISTS = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None]).decode


class Delta(msgspec.Struct):
    """What one chunk adds to one choice."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


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
    more: dict[str, Any] | None = msgspec.field(default=None, name="")
    """All of it as it came, where it has fields besides these."""


class _Delta(Delta, forbid_unknown_fields=True):
    """A delta without other fields."""


class _ChunkChoice(ChunkChoice, forbid_unknown_fields=True):
    """A choice without other fields; vLLM gives its token ids only to those who ask, and says null to the others."""

    delta: _Delta | None = None
    token_ids: None = None


class _Usage(Usage, forbid_unknown_fields=True):
    """Counts without other fields."""


class _Chunk(Chunk, forbid_unknown_fields=True):
    """What nearly every event is: the fields above and such as say nothing of the answer. `obfuscation` only hides its length."""

    choices: list[_ChunkChoice] | None = None  # type: ignore[assignment]  # nothing is ever put into the list
    usage: _Usage | None = None
    object: str | None = None
    obfuscation: str | None = None


class _Kind(msgspec.Struct):
    object: str | None = None


_CHUNK = msgspec.json.Decoder(_Chunk).decode
_ODD_CHUNK = msgspec.json.Decoder(Chunk).decode
_ANYTHING = msgspec.json.Decoder().decode
_OF_CHUNK = frozenset(_Chunk.__struct_fields__)
_OF_CHOICE = frozenset(ChunkChoice.__struct_fields__) | {"message"}
"""`message` is where some say beside the delta all that they have said so far."""
_OF_DELTA = frozenset(Delta.__struct_fields__)
_OF_USAGE = frozenset(Usage.__struct_fields__)
_KIND = msgspec.json.Decoder(_Kind).decode
_PROBABILITIES = msgspec.json.Decoder(Probabilities).decode


def parse_chunk(data: bytes) -> Chunk | None:
    """A chunk; None when the data is none."""
    try:
        return _CHUNK(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        chunk = _odd_chunk(data)
    if chunk is not None:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            chunk.more = _ANYTHING(data)
    return chunk


def _odd_chunk(data: bytes) -> Chunk | None:
    """A chunk with other fields, or with ours of another type."""
    try:
        return _ODD_CHUNK(data)
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
        "blocks", "empty", "finish_reason", "logprobs", "more", "parts", "raw_logprobs", "reasoning", "refusal", "role", "said",
        "thoughts", "tools",
    )  # fmt: skip

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.blocks: list[Any] = []
        self.empty = False  # whether its server says "" beside a call, where others say null
        self.reasoning: list[str] = []
        self.thoughts: list[str] = []
        self.refusal: list[str] = []
        self.role: str | None = None
        self.tools: dict[int, list[dict[str, Any]]] = {}
        self.said: dict[str, Any] = {}
        self.more: dict[str, Any] = {}
        self.finish_reason: str | None = None
        self.logprobs: list[float] = []
        self.raw_logprobs: list[msgspec.Raw] = []


class Fold:
    """One stream so far."""

    __slots__ = (
        "chat", "choices", "created", "fingerprint", "id", "model", "more", "partial_from", "probabilities", "spent", "tier",
        "usage",
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
        self.spent: dict[str, Any] = {}
        self.more: dict[str, Any] = {}
        self.partial_from = 0

    def add(self, chunk: Chunk) -> None:
        """Take one chunk in."""
        self.id = chunk.id or self.id
        self.model = chunk.model or self.model
        self.created = chunk.created or self.created
        if chunk.usage is not None:
            self.usage = chunk.usage if self.usage is None else _later(self.usage, chunk.usage)
        self.fingerprint = chunk.system_fingerprint or self.fingerprint
        self.tier = chunk.service_tier or self.tier
        for piece in chunk.choices or ():
            self._add_choice(piece)
        if chunk.more is not None:
            self._add_more(chunk.more)

    def _add_more(self, chunk: dict[str, Any]) -> None:
        """Take in what a chunk has besides the usual fields. Of the chunk and of a choice the last value counts, as servers say
        such things again or once; a delta's go on where they ended."""
        _replace(self.more, chunk, _OF_CHUNK)
        _replace(self.spent, chunk.get("usage"), _OF_USAGE)
        pieces = chunk.get("choices")
        for piece in pieces if isinstance(pieces, list) else ():
            number = piece.get("index", 0) if isinstance(piece, dict) else None
            choice = self.choices.get(number if type(number) is int else 0)
            if choice is None or not isinstance(piece, dict):
                continue
            ids = piece.get("token_ids")
            if isinstance(ids, list):
                choice.more["token_ids"] = grown(choice.more.get("token_ids"), ids)
            _replace(choice.more, piece, _OF_CHOICE | {"token_ids"})
            delta = piece.get("delta")
            if isinstance(delta, dict):
                for name in delta.keys() - _OF_DELTA:
                    choice.said[name] = grown(choice.said.get(name), delta[name], name)

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
        told: dict[str, Any] = {"id": self.id, "object": "chat.completion" if self.chat else "text_completion"}
        told |= {"created": self.created, "model": self.model}
        told["choices"] = [self._choice(index) for index in sorted(self.choices)]
        if self.usage is not None:
            told["usage"] = _usage(self.usage) | self.spent
        for name, value in (("system_fingerprint", self.fingerprint), ("service_tier", self.tier)):
            if value is not None:
                told[name] = value
        return _ENCODE(self.more | told)

    def _choice(self, index: int) -> dict[str, Any]:
        choice = self.choices[index]
        ending: dict[str, Any] = {"finish_reason": choice.finish_reason}
        if choice.raw_logprobs:
            ending["logprobs"] = _joined(choice.raw_logprobs)
        if not self.chat:
            return {**choice.more, "index": index, "text": "".join(choice.parts), **ending}
        return {**choice.more, "index": index, "message": _message(choice), **ending}


def _message(choice: _Choice) -> dict[str, Any]:
    said = {name: whole(held) for name, held in choice.said.items()}
    if isinstance(said.get("audio"), dict) and isinstance(said["audio"].get("data"), str):
        said["audio"]["data"] = sound(said["audio"]["data"])
    text = "".join(choice.parts)
    instead = choice.tools or choice.refusal or said.get("function_call") or said.get("audio")
    content = text if text or choice.empty or not instead else None
    message: dict[str, Any] = {"role": choice.role or "assistant", "content": content}
    if choice.blocks:
        message["content"] = whole(choice.blocks)
    told = (("reasoning_content", choice.reasoning), ("reasoning", choice.thoughts), ("refusal", choice.refusal))
    for name, parts in told:
        if parts:
            message[name] = "".join(parts)
    if choice.tools:
        message["tool_calls"] = [_call(held) for i in sorted(choice.tools) for held in choice.tools[i]]
    return said | message


def _call(held: dict[str, Any]) -> dict[str, Any]:
    """A tool call as a plain answer has it: of kind `function` unless its server says otherwise."""
    call: dict[str, Any] = {"id": None, "type": "custom" if "custom" in held else "function"} | whole(held)
    if call["type"] == "function":
        function = call.get("function")
        call["function"] = {"name": "", "arguments": ""} | (function if isinstance(function, dict) else {})
    return call


def _later(earlier: Usage, usage: Usage) -> Usage:
    """Counts that came in two chunks: what both tell is told better by the later one."""
    for name in usage.__struct_fields__:
        if getattr(usage, name) is None:
            setattr(usage, name, getattr(earlier, name))
    return usage


def _replace(held: dict[str, Any], fresh: Any, known: frozenset[str]) -> None:
    """Take over the fields that are not `known`; what is empty only where there was nothing."""
    if not isinstance(fresh, dict):
        return
    for name in fresh.keys() - known:
        if fresh[name] not in (None, {}, []) or name not in held:
            held[name] = whole(grown(None, fresh[name], name))


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
    if delta.content is not None:
        _add_content(choice, delta.content)
        choice.empty = choice.empty or (delta.content == "" and bool(delta.tool_calls))
    if delta.reasoning_content:
        choice.reasoning.append(delta.reasoning_content)
    if delta.reasoning:
        choice.thoughts.append(delta.reasoning)
    if delta.refusal:
        choice.refusal.append(delta.refusal)
    for piece in delta.tool_calls or ():
        _add_call(choice, piece)


def _add_content(choice: _Choice, content: str | list[dict[str, Any]]) -> None:
    """Take in a piece of text, or parts, which are kept as parts once one of them is no text."""
    if isinstance(content, str):
        if choice.blocks and content:
            choice.blocks = grown(choice.blocks, [{"type": "text", "text": content}])
        choice.parts.append(content)
        return
    if choice.blocks or any(part.get("type", "text") != "text" for part in content):
        before = [] if choice.blocks or not any(choice.parts) else [{"type": "text", "text": "".join(choice.parts)}]
        choice.blocks = grown(choice.blocks, [*before, *content])
    choice.parts += [part["text"] for part in content if isinstance(part.get("text"), str)]


def _add_call(choice: _Choice, piece: dict[str, Any]) -> None:
    """Take in a piece of a call. Some servers number every call 0, or none: a name under another id begins the next."""
    number, called = piece.get("index"), piece.get("id")
    calls = choice.tools.setdefault(number if type(number) is int else 0, [])
    named = any(isinstance(part, dict) and part.get("name") for part in piece.values())
    if not calls or (named and called and calls[-1].get("id") not in (None, called)):
        calls.append({})
    calls[-1] = grown(calls[-1], {name: part for name, part in piece.items() if name != "index"})


def _numbers(found: Probabilities) -> list[float]:
    tokens = [token.logprob for token in found.content or ()] + list(found.token_logprobs or ())
    return [number for number in tokens if number is not None]


def mean_probability(logprobs: list[float]) -> float | None:
    """exp of the mean log-probability, 0 to 1; None for an empty list."""
    return min(1.0, math.exp(sum(logprobs) / len(logprobs))) if logprobs else None


def confidence_of(found: Probabilities | None) -> float | None:
    """The same of a plain answer's choice."""
    return mean_probability(_numbers(found)) if found is not None else None
