"""Lines of the spool as typed records, and records as nouns. What a record may hold is derived from the nouns themselves, so a
new field of Inference needs no change here."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import typing
from datetime import datetime
from typing import Any

import msgspec

from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.store.log.lines import Line, whole

BODIES = ("request", "response")
_HINTS = typing.get_type_hints(Inference)


class Row(msgspec.Struct, kw_only=True):
    """What every stored inference has; `Ended` adds the rest of Inference's fields."""

    request_id: str
    timestamp: datetime
    model_id: str


def _plain(hint: Any) -> Any:
    """A noun's type as read from a line: closed lists of words are plain strings, so that an unknown word loses no record."""
    if typing.get_origin(hint) is typing.Literal:
        return str
    arguments = typing.get_args(hint)
    if type(None) in arguments:
        return _plain(arguments[0]) | None
    return hint


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return msgspec.field(default_factory=field.default_factory)
    return msgspec.field(default=field.default)


METRIC_TYPES: dict[str, Any] = {f.name: _plain(_HINTS[f.name]) for f in dataclasses.fields(Inference) if f.name not in BODIES}
"""Field of Inference → type, bodies left out."""

_OPTIONAL = [f for f in dataclasses.fields(Inference) if f.name in METRIC_TYPES and f.name not in Row.__struct_fields__]
Ended: Any = msgspec.defstruct(
    "Ended",
    [
        *((f.name, METRIC_TYPES[f.name], _default(f)) for f in _OPTIONAL),
        *((name, msgspec.Raw, msgspec.field(default=msgspec.Raw(b"null"))) for name in BODIES),
        *((name + "64", str | None, None) for name in BODIES),
    ],
    bases=(Row,),
    kw_only=True,
)
"""Line kinds E and O: an inference with its bodies as raw bytes."""


class Partial(msgspec.Struct):
    """Line kind P."""

    request_id: str
    text: str
    request: msgspec.Raw = msgspec.Raw(b"null")
    request64: str | None = None
    sealed: str | None = None


class Tokens(msgspec.Struct):
    """Line kind T."""

    request_id: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "E": msgspec.json.Decoder(Ended, strict=False),
    "O": msgspec.json.Decoder(Ended, strict=False),
    "P": msgspec.json.Decoder(Partial),
    "F": msgspec.json.Decoder(Feedback, strict=False),
    "T": msgspec.json.Decoder(Tokens, strict=False),
}


def decode(line: Line) -> Any | None:
    """The typed record of a line: Ended, Partial, Feedback or Tokens; None for an erased line, an unknown kind (of a newer
    version) and a record that is not one of ours."""
    decoder = _DECODERS.get(line.kind)
    if decoder is None:
        return None
    try:
        return decoder.decode(line.json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def body_bytes(record: Any, name: str) -> bytes | None:
    """The bytes of `request` or `response` as they were given to the spool; None when there were none."""
    encoded: str | None = getattr(record, name + "64", None)
    if encoded is not None:
        return base64.b64decode(encoded)
    raw = bytes(getattr(record, name))
    return None if raw == b"null" else raw


def parse_body(raw: bytes | None) -> Any:
    """A body as a value that every other part can handle: lone surrogates become U+FFFD, numbers out of range None, and what is
    not JSON at all is given as text. None stays None."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    text = raw.decode("utf-8", "replace")
    try:
        return _clean(json.loads(text, parse_constant=lambda _: None, parse_float=_finite))
    except (ValueError, RecursionError):
        return text


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list) else value


def interrupted(opened: Any, partials: list[Partial]) -> Any:
    """The record of a request that was opened and never ended, because its gateway died: same id, the text that had already
    been streamed to the client, and no invented ending."""
    text = "".join(p.text for p in partials)
    request = next((body for p in partials if (body := body_bytes(p, "request")) is not None), None)
    boxes = [p.sealed for p in partials if p.sealed is not None]
    if request is not None and boxes:
        request = _with_boxes(request, boxes)
    response = None
    if text:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": None}
        response = msgspec.json.encode({"object": "chat.completion", "choices": [choice]})
    changes: dict[str, Any] = {"status": "interrupted", "error": "interrupted", "finish_reason": None}
    if request is not None:
        changes |= {"request64": base64.b64encode(request).decode()}
    if response is not None:
        changes |= {"response": msgspec.Raw(response)}
    return msgspec.structs.replace(opened, **changes)


def _with_boxes(request: bytes, boxes: list[str]) -> bytes:
    """A request body with the boxes of its answer's pieces beside its own; as it is where it is no object."""
    try:
        fields = msgspec.json.decode(request, type=dict[str, msgspec.Raw])
        known = [msgspec.json.decode(fields["sealed"], type=str)] if "sealed" in fields else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return request
    return msgspec.json.encode({**fields, "sealed": ".".join([*known, *boxes])})


def inference(values: dict[str, Any], request: bytes | None, response: bytes | None) -> Inference:
    """The noun of one stored row: `values` is metric field → value (typed as METRIC_TYPES says), bodies raw."""
    return Inference(**values, request=parse_body(request), response=parse_body(response))
