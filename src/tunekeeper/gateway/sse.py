"""Server-sent events, incrementally: bytes in, whole events out, in the bytes they came in. Pure; never waits, never guesses.

Line ends may be LF, CRLF or CR, and a piece may end anywhere. An event is passed on byte for byte; its `data` is what its data
lines say together (WHATWG HTML, section 9.2.6).
"""

from __future__ import annotations

import re

import msgspec

DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
MAX_EVENT = 4 * 1024 * 1024
_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE = re.compile(rb"\r\n|\n|\r")


class EventTooLargeError(ValueError):
    """An event grew beyond its bound before it ended."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event."""

    raw: bytes
    """Its bytes, with the blank line that ends it; without a byte order mark before it."""
    data: bytes | None
    """Its data, lines joined by LF; None for a comment or an event whose data is absent or empty: nobody is told of such."""


class Events:
    """The parser of one stream."""

    __slots__ = ("_rest", "limit")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        """`limit`: most bytes of one event."""
        self._rest = b""
        self.limit = limit

    def feed(self, piece: bytes) -> list[Event]:
        """The events that `piece` completes. Raises EventTooLargeError."""
        if not self._rest and len(piece) <= self.limit and _is_line(piece):
            return [Event(piece, piece[6:-2])]  # nearly every piece is one event of one line
        data = self._rest + piece if self._rest else piece
        events: list[Event] = []
        at = 0
        # A blank line may lie across the two pieces: at most three of its bytes were in the rest.
        search = max(0, len(self._rest) - 3)
        while (found := _BLANK.search(data, max(at, search))) is not None:
            end = found.end()
            if end == len(data) and data.endswith(b"\r"):
                break  # `\r\r` may still become `\r\r\n`
            events.append(_event(data[at:end]))
            at = end
        self._rest = data[at:]
        if len(self._rest) > self.limit:
            raise EventTooLargeError(f"an event of more than {self.limit} bytes")
        return events

    @property
    def rest(self) -> bytes:
        """Bytes of an event that has not ended."""
        return self._rest


def _is_line(piece: bytes) -> bool:
    """Whether this is one event of one line."""
    one = piece.find(b"\n") == len(piece) - 2 and piece.endswith(b"\n\n")
    return one and piece.startswith(b"data: ") and b"\r" not in piece


def _event(raw: bytes) -> Event:
    # Nearly every event is one line `data: …` and a blank one.
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2:
        return Event(raw, raw[6:-2])
    raw = raw.removeprefix(_BOM)  # a stream may begin with one
    lines = [line[5:].removeprefix(b" ") for line in _LINE.split(raw) if line.startswith(b"data:") or line == b"data"]
    return Event(raw, b"\n".join(lines) or None)
