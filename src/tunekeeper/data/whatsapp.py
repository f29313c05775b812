"""Chats of WhatsApp, exported as text: a message a line, going on in the lines below it that begin with no date.

A notice that nobody said, and what stands for a picture, are no messages. Which of the two first numbers of a date is its day
differs by country; nothing depends on it but how long nobody spoke, and so either will do that is a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tunekeeper.data import tables
from tunekeeper.data.tables import LINE_LIMIT

_BEGIN = re.compile(
    r"\u200e?\[?(?P<date>\d{1,4}[./-]\d{1,2}[./-]\d{1,4}),?\s(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.]\d{2})?"
    r"(?:\s?(?P<half>[apAP])\.?\s?[mM]\.?)?(?:\]|\s[-\u2013])\s(?P<said>.*)"
)
_NOTHING = re.compile(r"\u200e|<[^<>]*>\s*\Z")
"""How a message begins, or what is all of it, that holds no text of its sender."""


def holds(path: Path) -> bool:
    """Whether a text is such a chat, by its first line."""
    with path.open("rb") as file:
        return _BEGIN.match(file.readline(4096).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")) is not None


@dataclass(slots=True)
class _Said:
    """A message, as far as it was read."""

    line: int
    sender: str
    date: str
    pieces: list[str]
    length: int

    def take(self, piece: str | None) -> None:
        """The next line of it; None: one that is too long by itself. What is beyond the limit is let go of."""
        self.length += LINE_LIMIT + 1 if piece is None else len(piece) + 1
        if piece is None or self.length > LINE_LIMIT:
            self.pieces.clear()
        else:
            self.pieces.append(piece)

    def whole(self) -> tuple[int, dict[str, str] | None]:
        """Its line and what it says."""
        said = {"sender": self.sender, "message": "\n".join(self.pieces), "date": self.date}
        return self.line, said if self.length <= LINE_LIMIT else None


def messages(path: Path) -> Iterator[tuple[int, dict[str, str] | None]]:
    """The line of each message, and who said what and when; None for one that is longer than a row may be."""
    begun: _Said | None = None
    for number, line in tables.lines(path):
        text = None if line is None else line.decode("utf-8", "replace").rstrip("\r\n")
        mark = None if text is None else _BEGIN.match(text)
        if mark is None:
            if begun is not None:
                begun.take(text)
            continue
        if begun is not None:
            yield begun.whole()
        sender, colon, said = mark["said"].partition(": ")
        spoken = bool(colon) and not _NOTHING.match(said)
        begun = _Said(number, sender.strip("\u200e"), _time(mark), [said], len(said)) if spoken else None
    if begun is not None:
        yield begun.whole()


def _time(mark: re.Match[str]) -> str:
    first, second, third = map(int, re.split(r"[./-]", mark["date"]))
    year, month, day = (first, second, third) if first > 31 else (third, second, first)
    month, day = (month, day) if month <= 12 else (day, month)
    hour = int(mark["hour"]) % 12 + 12 * (mark["half"] in ("p", "P")) if mark["half"] else int(mark["hour"])
    try:
        return datetime(year + 2000 * (year < 100), month, day, hour, int(mark["minute"]), tzinfo=UTC).isoformat()
    except ValueError:
        return mark["date"]
