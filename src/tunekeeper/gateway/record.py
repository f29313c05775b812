"""The record of one request: the fields of an Inference, filled in as it goes; what is not known is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tunekeeper.gateway.fold import confidence_of
from tunekeeper.gateway.heads import SEGMENT
from tunekeeper.gateway.routing import Choice, Unit
from tunekeeper.gateway.tables import Target
from tunekeeper.gateway.wire import Probabilities, Usage

Record = dict[str, Any]
MAX_SEGMENTS = 16
MAX_SEGMENT = 64
UNIT_FIELDS = frozenset(("user_id", "tenant_id"))


def assigned(record: Record, choice: Choice, unit: Unit | None) -> None:
    """Note the choice that was made and what it was keyed on."""
    record["slot_assigned"] = choice.slot
    if choice.variant is not None:
        record["variant"] = choice.variant
    if choice.bucket is not None:
        record["bucket"] = choice.bucket
    if choice.weight is not None:
        record["weight"] = choice.weight
    if unit is not None:
        record["unit_kind"] = unit.kind
        record["unit"] = unit.digest


class Tried(msgspec.Struct, gc=False):
    """An Attempt as it is written: one is made for each request, and this costs a tenth of it."""

    slot: str
    error: str | None
    ms: float
    confidence: float | None


def describe(record: Record, body_id: str | None, finish_reason: str | None, found: Probabilities | None) -> None:
    """Note what an answer said of itself."""
    if body_id:
        record["body_id"] = body_id[:256]
    if finish_reason:
        record["finish_reason"] = finish_reason
    confidence = confidence_of(found) if found is not None else None
    if confidence is not None:
        record["confidence"] = confidence


def spent(record: Record, usage: Usage | None, target: Target) -> None:
    """Note the model server's token counts and, where the slot has prices, the cost in USD."""
    if usage is None:
        return
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is not None:
        record["prompt_tokens"] = prompt
    if completion is not None:
        record["completion_tokens"] = completion
    if target.price_in is None and target.price_out is None:
        return
    cost = ((prompt or 0) * (target.price_in or 0.0) + (completion or 0) * (target.price_out or 0.0)) / 1e6
    record["cost_usd"] = record.get("cost_usd", 0.0) + cost


def occupied(record: Record, seconds: float, target: Target) -> None:
    """Note what it cost that a slot paid by the hour was busy with this request, answered or not."""
    if target.price_second is not None:
        record["cost_usd"] = record.get("cost_usd", 0.0) + seconds * target.price_second


def segments_of(headers: Mapping[bytes, bytes], metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """Segment name → value: from headers `x-tunekeeper-segment-*`, then from short text values of the body's metadata."""
    found: dict[str, str] = {}
    if not metadata and not any(name.startswith(SEGMENT) for name in headers):
        return found
    for name, value in headers.items():
        if name.startswith(SEGMENT) and len(name) > len(SEGMENT):
            found[name[len(SEGMENT) :].decode("latin-1")] = value.decode("latin-1").strip()[:MAX_SEGMENT]
    for key, item in (metadata or {}).items():
        if isinstance(item, str) and key not in UNIT_FIELDS and key not in found and len(item) <= MAX_SEGMENT:
            found[key] = item
    return dict(list(found.items())[:MAX_SEGMENTS])
