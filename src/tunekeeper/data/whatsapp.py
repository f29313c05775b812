"""Chats of WhatsApp, exported as text: a message a line, going on in the lines below it that begin with no date.

A notice that nobody said, and what stands for a picture, are no messages. Which of the two first numbers of a date is its day
differs by country; nothing depends on it but how long nobody spoke, and so either will do that is a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tunekeeper.data import tables

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


def messages(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line of each message, and who said what and when."""
    begun: tuple[int, dict[str, str]] | None = None
    for number, line in tables.lines(path):
        text = "" if line is None else line.decode("utf-8", "replace").rstrip("\r\n")
        mark = _BEGIN.match(text)
        if mark is None:
            if begun is not None:
                begun[1]["message"] += f"\n{text}"
            continue
        if begun is not None:
            yield begun
        sender, colon, said = mark["said"].partition(": ")
        spoken = bool(colon) and not _NOTHING.match(said)
        begun = (number, {"sender": sender.strip("\u200e"), "message": said, "date": _time(mark)}) if spoken else None
    if begun is not None:
        yield begun


def _time(mark: re.Match[str]) -> str:
    first, second, third = map(int, re.split(r"[./-]", mark["date"]))
    year, month, day = (first, second, third) if first > 31 else (third, second, first)
    month, day = (month, day) if month <= 12 else (day, month)
    hour = int(mark["hour"]) % 12 + 12 * (mark["half"] in ("p", "P")) if mark["half"] else int(mark["hour"])
    try:
        return datetime(year + 2000 * (year < 100), month, day, hour, int(mark["minute"]), tzinfo=UTC).isoformat()
    except ValueError:
        return mark["date"]
