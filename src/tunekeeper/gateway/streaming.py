"""A stream on its way through: events passed on in their own bytes, folded for the log, the last one held back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import msgspec

from tunekeeper.gateway.fold import Fold, is_error, parse_chunk
from tunekeeper.gateway.overflow import OVERFLOW, UNSUPPORTED, overflows, unsupported
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.sse import DONE, Event, Events, EventTooLargeError
from tunekeeper.gateway.wire import NULL, Call, asks_probabilities, error_message

DONE_EVENT = b"data: [DONE]\n\n"
OPENINGS = (b"data:", b"event:", b":")
"""How a stream begins, and no JSON."""
NO_USAGE = b',"usage":null'
EMPTY: Mapping[str, msgspec.Raw] = MappingProxyType({})
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ENCODE = msgspec.json.Encoder().encode


class Step(msgspec.Struct, gc=False):
    """What one piece of upstream bytes leads to."""

    forward: bytes
    """Bytes for the client now."""
    failed: Refusal | None = None
    """Why the stream cannot become whole."""
    told: bool = False
    """Whether `forward` already tells the client so, in the model server's own words."""
    spoke: bool = True
    """Whether a chunk was in it; comments, by which a server keeps its connection open, are no answer."""


class Stream:
    """One stream of one attempt."""

    __slots__ = ("_beside", "_call", "_end", "_events", "_held", "done", "fold")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._events = Events()
        self.fold = Fold(chat=call.endpoint == "chat.completions", probabilities=asks_probabilities(call))
        self.done = False
        self._end = DONE_EVENT
        self._held: Event | None = None
        self._beside: dict[str, msgspec.Raw] = {}

    @property
    def held(self) -> bytes:
        """The chunk that gives the reason to finish: it waits for what the counts, which follow it, bring along."""
        held = self._held
        return b"" if held is None else _told(held.raw, held.data or b"", self._beside)

    @property
    def last(self) -> bytes:
        """What the client is still to get of a whole stream."""
        return self.held + self._end

    def feed(self, piece: bytes) -> Step:
        """Take upstream bytes in; what came after `[DONE]` is dropped."""
        try:
            events = self._events.feed(piece)
        except EventTooLargeError:
            return Step(b"", Refusal("upstream_garbage", "the model server sent an event without an end"))
        out: list[bytes] = []
        spoke = False
        for event in events:
            if self.done:
                break
            spoke = spoke or event.data is not None
            failed, told = self._take(event, out)
            if failed is not None:
                return Step(b"".join(out), failed, told)
        return Step(out[0] if len(out) == 1 else b"".join(out), spoke=spoke)

    def _take(self, event: Event, out: list[bytes]) -> tuple[Refusal | None, bool]:
        data = event.data
        if data is None:
            # A comment before the first chunk would commit us to this model server: it is not worth a fallback.
            if self.fold.choices:
                out.append(event.raw)
            return None, False
        if data.startswith(DONE):  # clients read on to nothing behind it either
            if not self.fold.choices:
                return Refusal("upstream_truncated", "the model server ended the stream without an answer"), False
            # An answer that upstream calls done is whole, though some servers never say why it ended: then nor do we.
            self.done = True
            self._end = event.raw
            return None, False
        chunk = parse_chunk(data)
        if chunk is None:
            return Refusal("upstream_garbage", "the model server sent an event that is no chunk"), False
        if chunk.error != NULL or (chunk.choices is None and is_error(data)):
            out += (self._released(), event.raw)
            message = error_message(data)
            if overflows(data, message):
                return Refusal(OVERFLOW, f"the model server failed: {message or 'no reason given'}"), True
            if unsupported(200, self._call.endpoint, message):
                return Refusal(UNSUPPORTED, message or ""), True
            return Refusal("upstream_error", f"the model server failed: {message or 'no reason given'}"), True
        if self._call.usage:
            out.append(event.raw)
        elif chunk.choices or chunk.usage is None:
            if self._held is not None:
                out.append(self._released())
            if chunk.choices and chunk.choices[-1].finish_reason:
                self._held = event
            else:
                out.append(_told(event.raw, data) if b'"usage"' in data else event.raw)
        elif chunk.more is not None:
            self._keep_news(chunk.more, data)
        self.fold.add(chunk)
        return None, False

    def _released(self) -> bytes:
        held = self.held
        self._held = None
        return held

    def _keep_news(self, chunk: dict[str, Any], data: bytes) -> None:
        """Keep what counts bring along, as llama.cpp its `timings`, for the chunk before them. Many clients look into the first
        choice of each chunk, so that this one, which came because we asked for it, stays here."""
        news = [name for name, found in chunk.items() if found not in (None, [], {}) and name != "usage"]
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            fields = _FIELDS(data)
            self._beside = {name: fields[name] for name in news}


def _told(raw: bytes, data: bytes, beside: Mapping[str, msgspec.Raw] = EMPTY) -> bytes:
    """An event with the fields `beside` that it does not have, and without the usage that nobody asked for: its empty field, or
    the counts that some servers put into every chunk."""
    if not beside and NO_USAGE in raw:
        return raw.replace(NO_USAGE, b"", 1)  # outside a string this text can only be that field
    clean = _changed(data, beside)
    if clean is None:
        return raw  # the word stands deeper, or in a text
    if data in raw:
        return raw.replace(data, clean, 1)
    return b"data: %s\n\n" % clean.replace(b"\n", b" ")  # it came in several lines; a line end is never part of a value


def _changed(data: bytes, beside: Mapping[str, msgspec.Raw]) -> bytes | None:
    """A chunk without its field `usage` and with those `beside`; None when that is what it is."""
    try:
        fields = _FIELDS(data)
        same = fields.pop("usage", None) is None and beside.keys() <= fields.keys()
        return None if same else _ENCODE({**beside, **fields})
    except UnicodeDecodeError:
        return None
    except msgspec.DecodeError:  # half an emoji, which the standard library gives back as it came
        told = json.loads(data)
        return None if told.pop("usage", None) is None else json.dumps(told).encode()
