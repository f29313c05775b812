"""A stream on its way through: events passed on in their own bytes, folded for the log, the last one held back. Pure."""

from __future__ import annotations

import json

import msgspec

from tunekeeper.gateway.fold import Chunk, Fold, is_error, parse_chunk
from tunekeeper.gateway.overflow import OVERFLOW, overflows
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.sse import DONE, Event, Events, EventTooLargeError
from tunekeeper.gateway.wire import NULL, Call, asks_probabilities, error_message

DONE_EVENT = b"data: [DONE]\n\n"
OPENINGS = (b"data:", b"event:", b":")
"""How a stream begins, and no JSON."""
NO_USAGE = b',"usage":null'
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

    __slots__ = ("_call", "_events", "done", "fold", "last")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._events = Events()
        self.fold = Fold(chat=call.endpoint == "chat.completions", probabilities=asks_probabilities(call))
        self.done = False
        self.last = DONE_EVENT

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
            self.last = event.raw
            return None, False
        chunk = parse_chunk(data)
        if chunk is None:
            return Refusal("upstream_garbage", "the model server sent an event that is no chunk"), False
        if chunk.error != NULL or (chunk.choices is None and is_error(data)):
            out.append(event.raw)
            message = error_message(data)
            code = OVERFLOW if overflows(data, message) else "upstream_error"
            return Refusal(code, f"the model server failed: {message or 'no reason given'}"), True
        if self._call.usage:
            out.append(event.raw)
        elif chunk.choices or chunk.usage is None or self._is_news(chunk):
            out.append(_without_usage(event.raw, data) if b'"usage"' in data else event.raw)
        self.fold.add(chunk)
        return None, False

    def _is_news(self, chunk: Chunk) -> bool:
        """Whether counts bring along what the client was not told yet: a list, as of citations. Objects beside counts are counts
        too (`timings`, `x_groq`). Without news such a chunk, which came because we asked for it, stays here: many clients look
        into the first choice of each."""
        told = self.fold.more
        return any(isinstance(found, list) and found and found != told.get(name) for name, found in (chunk.more or {}).items())


def _without_usage(raw: bytes, data: bytes) -> bytes:
    """An event without the usage that nobody asked for: its empty field, or the counts that some servers put into every chunk."""
    if NO_USAGE in raw:
        return raw.replace(NO_USAGE, b"", 1)  # outside a string this text can only be that field
    clean = _popped(data)
    if clean is None:
        return raw  # the word stands deeper, or in a text
    if data in raw:
        return raw.replace(data, clean, 1)
    return b"data: %s\n\n" % clean.replace(b"\n", b" ")  # it came in several lines; a line end is never part of a value


def _popped(data: bytes) -> bytes | None:
    """A chunk without its field `usage`; None when it has none."""
    try:
        fields = _FIELDS(data)
        return None if fields.pop("usage", None) is None else _ENCODE(fields)
    except UnicodeDecodeError:
        return None
    except msgspec.DecodeError:  # half an emoji, which the standard library gives back as it came
        told = json.loads(data)
        return None if told.pop("usage", None) is None else json.dumps(told).encode()
