"""What a model server's answer means. Pure: status, headers and body in; what to tell the client, or why to try another, out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from tunekeeper.gateway.overflow import OVERFLOW, UNSUPPORTED, overflows, unsupported
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.wire import Answered, error_message, error_rest, parse_answer

CALLERS_FAULT = frozenset((400, 409, 413, 415, 422))
"""Statuses by which a model server refuses this request itself: another server would refuse it too."""

_LOADING = frozenset(("loading model", "model is loading"))
"""What llama.cpp answers until it can."""


class Good(msgspec.Struct, frozen=True, gc=False):
    """A whole, well-formed answer."""

    answer: Answered
    """Its few fields."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The model server refused the request as the caller's mistake; its own words are passed on."""

    status: int
    """Its status."""
    message: str
    """Its message."""
    code: str = "upstream_rejected"
    """Our stable code: this, or that the request does not fit into the context."""
    rest: dict[str, Any] = field(default_factory=dict)
    """What else it says in OpenAI's envelope: `param`, the field that it complains of, and what only some servers add."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The model server failed: another one may be asked."""

    refusal: Refusal
    """What to tell the client when nobody else answers."""


def judge(status: int, headers: dict[bytes, bytes], body: bytes, endpoint: str) -> Good | Rejected | Failed:
    """What a plain answer amounts to."""
    if 200 <= status < 300:
        answer = parse_answer(body, endpoint)
        if answer is not None:
            return Good(answer)
        message = error_message(body)
        if message is not None and overflows(body, message):
            return Rejected(400, message, OVERFLOW)
        if message is not None and unsupported(status, endpoint, message):
            return Failed(Refusal(UNSUPPORTED, message))
        if message is not None:
            return Failed(Refusal("upstream_error", f"the model server failed: {message}"))
        return Failed(Refusal("upstream_garbage", "the model server sent something that is no answer"))
    message = error_message(body)
    if (status in CALLERS_FAULT or status >= 500) and overflows(body, message):
        # Some servers call it a fault of their own; it is none, and nobody else's requests are in danger.
        said = message or "the request does not fit into the context"
        return Rejected(status if status < 500 else 400, said, OVERFLOW, error_rest(body))
    if unsupported(status, endpoint, message):
        return Failed(Refusal(UNSUPPORTED, message or f"the model server answered {status}: it has no such endpoint"))
    if status in CALLERS_FAULT:
        return Rejected(status, message or "the model server refused the request", rest=error_rest(body))
    retry_after = _after(headers)
    if status == 503 and message is not None and message.lower() in _LOADING:
        return Failed(Refusal("slot_unavailable", "the model server is still loading its model", retry_after=retry_after or "1"))
    if status == 429:
        return Failed(Refusal("upstream_rate_limited", "the model server asks to slow down", retry_after=retry_after))
    said = f": {message}" if status == 404 and message else ""  # nearly always a wrong model name, which nothing else tells
    return Failed(Refusal("upstream_error", f"the model server answered {status}{said}", retry_after=retry_after))


def _after(headers: dict[bytes, bytes]) -> str | None:
    """The Retry-After of a head; a date as seconds from the head's own Date, since its clock need not be ours or the client's."""
    after = headers.get(b"retry-after", b"").decode("latin-1")[:64]
    began = _date(headers.get(b"date", b"").decode("latin-1"))
    seconds = wait_of(after, began) if began is not None else None
    return (after if seconds is None else f"{seconds:.0f}") or None


def wait_of(retry_after: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, at least 0: a number, or a date (`now`: UTC); None for anything else."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    when = _date(text)
    return None if when is None else max(0.0, (when - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def envelope(rejected: Rejected) -> bytes:
    """The client's body for a rejected request: OpenAI's envelope with our stable code."""
    error: dict[str, Any] = {"message": rejected.message, "type": "invalid_request_error", "param": None, "code": rejected.code}
    return msgspec.json.encode({"error": error | rejected.rest})
