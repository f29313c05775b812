"""Finished inferences as sinks take them: a record of each, as JSON of bounded length, in batches of bounded length."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tunekeeper.core.nouns.serving import Inference

Record = dict[str, Any]
BODIES = ("request", "response")


def record_of(inference: Inference, *, bodies: bool) -> Record:
    """What a sink is given: `event: inference`, then the fields of `Inference`, times in ISO 8601; `request` and `response` only
    with `bodies`; without the two fields that are only known later, `quality_score` and `drift_flags`, while they say nothing."""
    told: Record = {"event": "inference", **msgspec.to_builtins(inference, str_keys=True, enc_hook=str)}
    for name in ("quality_score", "drift_flags", *(() if bodies else BODIES)):
        if name in BODIES or not told[name]:
            del told[name]
    return told


def line(record: Record) -> bytes:
    """A record as one line of JSON."""
    return encoded(record) + b"\n"


def encoded(value: Any) -> bytes:
    """JSON, of what clients put into it too: numbers of any length, halves of surrogate pairs, any depth that a parser took."""
    try:
        return msgspec.json.encode(value)
    except (OverflowError, ValueError, RecursionError):
        return json.dumps(value).encode()


def fitted(entry: Record, most: int) -> bytes:
    """An entry as JSON of at most `most` bytes where that can be had by leaving out the bodies; then `bodies_off` says `size`,
    and metadata that alone is too long is left out as well."""
    found = encoded(entry)
    if len(found) > most:
        lean = {name: value for name, value in entry.items() if name not in BODIES}
        found = encoded({**lean, "bodies_off": "size"})
        if len(found) > most:
            found = encoded({**lean, "bodies_off": "size", "metadata": {}, "segments": {}})
    return found


def batches(entries: Sequence[bytes], items: int, size: int) -> Iterator[list[bytes]]:
    """Entries in order, at most `items` and `size` bytes (one comma each) at once; one that is longer goes alone."""
    held: list[bytes] = []
    total = 0
    for entry in entries:
        if held and (len(held) >= items or total + len(entry) + 1 > size):
            yield held
            held, total = [], 0
        held.append(entry)
        total += len(entry) + 1
    if held:
        yield held
