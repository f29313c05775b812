"""OpenAI's request bodies: the few fields we need, decoded once; everything else passes through as the bytes it came in. Pure.

A body becomes a map of name → raw JSON. Numbers keep every digit, unknown fields stay, and of a repeated key only the last one is
sent on, so that the model server cannot read another model name than the one that was authorised.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.loose import read_loosely
from tunekeeper.gateway.overflow import plainly
from tunekeeper.gateway.refusals import Refusal, RefusedError
from tunekeeper.text.prompts import prompted

Fields = dict[str, msgspec.Raw]
_FIELDS = msgspec.json.Decoder(Fields).decode
_TEXT = msgspec.json.Decoder(str).decode
_FLAG = msgspec.json.Decoder(bool | None).decode
_OBJECT = msgspec.json.Decoder(dict[str, Any] | None).decode
_RAWS = msgspec.json.Decoder(list[msgspec.Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_NOT_OPENING = bytes(sorted(set(range(256)) - set(b"[{")))
_BRACKETS_ONLY = bytes(sorted(set(range(256)) - set(b"[]{}")))
MAX_NAME = 256
_MAX_RAW_NAME = 12 * MAX_NAME + 2
"""A character takes twelve bytes at most, as two escapes; what is longer is not worth remembering."""
NEEDED = {"chat.completions": "messages", "completions": "prompt", "embeddings": "input"}
INSTEAD = {"completions": "prompt_embeds", "embeddings": "messages"}
"""What vLLM takes in its place: it is for the model server to say what it makes of it."""
_OURS = frozenset(("message", "type", "code"))
_MOST_ERROR = 16_384
NULL = msgspec.Raw(b"null")
TRUE = msgspec.Raw(b"true")
FALSE = msgspec.Raw(b"false")
ZERO = msgspec.Raw(b"0")


class Spoken(msgspec.Struct):
    """What matters here of a message."""

    role: str | None = None
    """Who speaks."""


_ROLE = msgspec.json.Decoder(Spoken).decode


@dataclass(slots=True)
class Call:
    """What one request asks for."""

    endpoint: str
    """chat.completions, completions or embeddings."""
    fields: Fields
    """Every top-level field, raw."""
    model: str
    """Model name as the client wrote it."""
    stream: bool = False
    """Whether it wants server-sent events."""
    usage: bool = False
    """Whether it asked for the usage event of a stream."""
    user: str | None = None
    """The body's `user`."""
    metadata: dict[str, Any] | None = None
    """The body's `metadata`."""


def asks_probabilities(call: Call) -> bool:
    """Whether the client itself asks for log-probabilities."""
    asked = call.fields.get("logprobs")
    if asked is None:
        asked = call.fields.get("n_probs", ZERO)  # llama.cpp's own name
        return asked not in (NULL, ZERO)
    return asked not in (NULL, FALSE)


@dataclass(frozen=True, slots=True)
class Splice:
    """What one slot (or fallback entry) changes in a body before it is sent on; made once per route change."""

    model: msgspec.Raw
    """Model name to send upstream, as JSON."""
    own: tuple[msgspec.Raw, ...] = ()
    """Its system message and examples, as JSON; empty: the messages pass through untouched."""
    lora: msgspec.Raw | None = None
    """Adapter choice of a llama.cpp server."""
    own_lora: bool = False
    """Whether the upstream understands `lora`: then a caller's own is never passed on."""


def splice_of(
    model: str, system: str | None, messages: tuple[dict[str, Any], ...], adapter: int | None, *, llamacpp: bool = False
) -> Splice:
    """The Splice for an upstream model name, a prompt of its own and an adapter index."""
    own = ({"role": "system", "content": system}, *messages) if system is not None else messages
    lora = msgspec.Raw(_ENCODE([{"id": adapter, "scale": 1}])) if adapter is not None else None
    return Splice(
        model=msgspec.Raw(_ENCODE(model)),
        own=tuple(msgspec.Raw(_ENCODE(message)) for message in own),
        lora=lora,
        own_lora=llamacpp or lora is not None,
    )


def parse_fields(body: bytes, depth: int) -> Fields:
    """A JSON object's top-level fields. Raises RefusedError `invalid_json` for anything else, for any encoding but UTF-8, and for
    nesting deeper than `depth`."""
    try:
        if not body.isascii():
            body.decode()
        fields = _FIELDS(body)
    except msgspec.ValidationError as error:
        raise RefusedError(Refusal("invalid_json", "the body must be a JSON object")) from error
    except UnicodeDecodeError as error:
        raise RefusedError(Refusal("invalid_json", "the body is not UTF-8")) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(Refusal("invalid_json", _no_json(body, str(error)))) from error
    if len(body.translate(None, _NOT_OPENING)) > depth and _deeper_than(body, depth):
        raise RefusedError(Refusal("invalid_json", f"the body is nested deeper than {depth} levels"))
    return fields


def _no_json(body: bytes, why: str) -> str:
    if not body.strip():
        return "the request has no body"
    if body.startswith(BOM_UTF8):
        return "the body begins with a byte order mark, which JSON has none of: save it as UTF-8 without one"
    if "surrogate" in why or _HALF.search(body):  # clients that cut a text to a length cut emojis too
        return "the body holds half of a character: a text in it was cut between the two \\u escapes of one"
    return f"the body is not JSON: {why[:120]}"


def _deeper_than(body: bytes, depth: int) -> bool:
    """Whether valid JSON is nested deeper than `depth`: strings are cut out, then innermost pairs removed level by level."""
    outside = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(None, _BRACKETS_ONLY)
    for _ in range(depth):
        if not brackets:
            return False
        brackets = _without_leaves(brackets)
    return bool(brackets)


def _without_leaves(brackets: bytes) -> bytes:
    """The brackets without their innermost pairs, each removed once: one level of depth."""
    marked = brackets.replace(b"[]", b".").replace(b"{}", b".")
    return marked.replace(b".", b"")


def parse_call(body: bytes, endpoint: str, limits: Limits) -> Call:
    """A request body as a Call. Raises RefusedError with `invalid_json` or `invalid_value`, naming the field."""
    fields = parse_fields(body, limits.depth)
    found = fields.get("model")
    model = _name(bytes(found)) if found is not None and len(found) <= _MAX_RAW_NAME else ""
    if not 0 < len(model) <= MAX_NAME:
        raise RefusedError(Refusal("invalid_value", "field model must name a model", "model"))
    call = Call(endpoint, fields, model)
    needed = NEEDED[endpoint]
    content = fields.get(needed)
    if (content is None or content == NULL) and fields.get(INSTEAD.get(endpoint, needed), NULL) == NULL:
        raise RefusedError(Refusal("invalid_value", f"field {needed} is missing", needed))
    if needed == "messages":
        _check_messages(bytes(content or b""), limits)
    found = fields.get("stream")
    if found is not None and found != FALSE:
        call.stream = bool(_decoded(found, "stream", _FLAG, "true or false")) and endpoint != "embeddings"
    found = fields.get("stream_options")
    if found is not None:
        options = _decoded(found, "stream_options", _OBJECT, "an object")
        call.usage = bool((options or {}).get("include_usage"))
    found = fields.get("user")
    if found is not None and found != NULL:
        call.user = _decoded(found, "user", _TEXT, "a string")
    found = fields.get("metadata")
    if found is not None:
        call.metadata = _decoded(found, "metadata", _OBJECT, "an object")
    return call


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    """A model name, of which there are few."""
    return str(_decoded(raw, "model", _TEXT, "a string"))


def _decoded(raw: msgspec.Raw | bytes, name: str, decode: Any, kind: str) -> Any:
    try:
        return decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(Refusal("invalid_value", f"field {name} must be {kind}", name)) from error


def _check_messages(raw: bytes, limits: Limits) -> None:
    if raw[:1] != b"[" or (not raw[1:9].strip(b" \t\r\n]") and raw[1:-1].strip() == b""):
        raise RefusedError(Refusal("invalid_value", "field messages must be a list with at least one message", "messages"))
    # One character and a comma are the least that an entry costs: a shorter list cannot hold too many.
    if len(raw) > 2 * limits.messages and len(_RAWS(raw)) > limits.messages:
        raise RefusedError(Refusal("invalid_value", f"field messages holds more than {limits.messages} messages", "messages"))


def upstream_body(call: Call, splice: Splice) -> bytes:
    """The body to send upstream: the client's, with the slot's model name, prompt and adapter, always asking for usage."""
    fields = dict(call.fields)
    fields["model"] = splice.model
    if call.stream:
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    if splice.own and call.endpoint == "chat.completions":
        asked = prompted(_RAWS(fields["messages"]), splice.own, _role)
        fields["messages"] = msgspec.Raw(b"[" + b",".join(map(bytes, asked)) + b"]")
    if splice.lora is not None:
        fields["lora"] = splice.lora
    elif splice.own_lora:
        fields.pop("lora", None)
    return _ENCODE(fields)


def _role(message: msgspec.Raw) -> object:
    try:
        return _ROLE(message).role
    except msgspec.DecodeError:  # whatever it is, the model server shall say so
        return None


def _with_usage(raw: msgspec.Raw | None) -> msgspec.Raw:
    options = _FIELDS(raw) if raw is not None and raw != NULL else {}
    return msgspec.Raw(_ENCODE({**options, "include_usage": TRUE}))


class Usage(msgspec.Struct):
    """Token counts as the model server gives them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None


class TokenProbability(msgspec.Struct):
    """One token's log-probability."""

    logprob: float | None = None


class Probabilities(msgspec.Struct):
    """Log-probabilities of a choice: chat shape, or the older completion shape."""

    content: list[TokenProbability] | None = None
    token_logprobs: list[float | None] | None = None


class AnsweredChoice(msgspec.Struct):
    """What the log needs of one choice of a plain answer."""

    finish_reason: str | None = None
    logprobs: Probabilities | None = None


class Answered(msgspec.Struct):
    """What the log needs of a plain answer."""

    id: str | None = None
    choices: list[AnsweredChoice] | None = None
    data: msgspec.Raw = NULL
    usage: Usage | None = None
    error: msgspec.Raw = NULL


_ANSWERED = msgspec.json.Decoder(Answered).decode


def parse_answer(body: bytes, endpoint: str) -> Answered | None:
    """A plain answer's few fields; None when it is no answer of this endpoint (garbage, or an error object in a 200)."""
    answer: Answered | None
    try:
        if not body.isascii():
            body.decode()
        answer = _ANSWERED(body)
    except UnicodeDecodeError:
        return None
    except (msgspec.DecodeError, RecursionError):
        answer = read_loosely(body, Answered, "choices")
    if answer is None:
        return None
    if endpoint == "embeddings":
        return answer if bytes(answer.data)[:1] == b"[" else None
    return answer if answer.choices else None


def error_message(body: bytes) -> str | None:
    """The message inside an error body, at most 300 characters; None when there is none.

    OpenAI's envelope, the same in a list (Gemini), `error` or `detail` as text (Ollama, FastAPI), FastAPI's list of what is wrong
    with which field, and a bare `message` (older vLLM).
    """
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    told = told[0] if isinstance(told, list) and told else told
    if not isinstance(told, dict):
        return None
    said = next((told[name] for name in ("error", "message", "detail") if told.get(name)), None)
    if isinstance(said, list):
        said = "; ".join(_complaint(each) for each in said[:8] if isinstance(each, dict))
    message = said.get("message") if isinstance(said, dict) else said
    return plainly(message)[:300] if isinstance(message, str) and message else None


class _Envelope(msgspec.Struct):
    error: dict[str, Any]


_ENVELOPE = msgspec.json.Decoder(_Envelope).decode


def error_rest(body: bytes) -> dict[str, Any]:
    """What an error body in OpenAI's envelope says besides its message, type and code: the field that it complains of, and what
    servers add, as Azure does of its content filter. Empty without an envelope, and for one of more than `_MOST_ERROR` bytes."""
    try:
        told = _ENVELOPE(body).error if len(body) <= _MOST_ERROR else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    named = isinstance(told.get("param"), str)
    return {name: found for name, found in told.items() if name not in _OURS and (named or name != "param")}


def _complaint(item: dict[str, Any]) -> str:
    """One entry of FastAPI's `detail`: where, and what."""
    place = item.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {item.get('msg')}" if where else str(item.get("msg"))
