"""A moment as a person or another program wrote it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?[ T]+(.+))?")
"""The day first, as half of Europe writes a date with dots; nobody means the month by it."""
_EPOCHS = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Numbers below the first are seconds since 1970, below the others parts of a second: of 1973 until 5138 all are told apart."""
_DAY, _SECOND = 8, 14
"""Digits of a day and of a second that are written as one number, as in 20260131 and 20260131140500."""
_COUNTED = re.compile(r"\d{9,20}\.\d+")
_NAME, _DIGITS = re.compile("[A-Za-z]+"), re.compile(r"\d+")
_GREENWICH = {"UTC": "+0000", "GMT": "+0000"}
_SHAPES = {
    "9/9/9": "%Y/%m/%d",
    "9/9/9 9:9": "%Y/%m/%d %H:%M",
    "9/9/9 9:9:9": "%Y/%m/%d %H:%M:%S",
    "9-9-9 9:9:9 +9": "%Y-%m-%d %H:%M:%S %z",
    "9-9-9 9:9:9.9 +9": "%Y-%m-%d %H:%M:%S.%f %z",
    "a, 9 a 9 9:9:9 +9": "%a, %d %b %Y %H:%M:%S %z",
    "a, 9 a 9 9:9:9 -9": "%a, %d %b %Y %H:%M:%S %z",
    "a a 9 9:9:9 9": "%a %b %d %H:%M:%S %Y",
    "a a 9 9:9:9 +9 9": "%a %b %d %H:%M:%S %z %Y",
    "a a 9 9:9:9 -9 9": "%a %b %d %H:%M:%S %z %Y",
    "a 9, 9": "%b %d, %Y",
    "a 9, 9, 9:9 a": "%b %d, %Y, %I:%M %p",
    "a 9, 9 9:9 a": "%b %d, %Y %I:%M %p",
    "9 a 9": "%d %b %Y",
    "9 a 9 9:9": "%d %b %Y %H:%M",
    "9 a 9 9:9:9": "%d %b %Y %H:%M:%S",
}
"""How else programs write a moment: its names and numbers left blank → what they are. None whose day could be its month."""


def moment_of(value: object) -> datetime:
    """What a value says: a text as `written_moment` reads it, or a number since 1970 whose size says of what, also as text. UTC
    where it names no zone. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r:.60} is no moment")
    number = value if not isinstance(value, str) else _counted(value.strip())
    found = written_moment(str(value)) if number is None else _since_1970(number)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def written_moment(text: str) -> datetime:
    """What a text says: ISO 8601, `31.01.2026 14:05`, `2026/01/31 14:05`, `Sat, 31 Jan 2026 14:05:00 GMT` and the like. Without a
    zone where it names none. Raises ValueError."""
    text = text.strip()
    found = _DOTTED.fullmatch(text)
    if found is None:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return _shaped(text)
    day, month, year, hours = found.groups()
    early = "0" if hours and hours[1:2] == ":" else ""  # 9:30
    return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T{early}{hours or '00:00'}")


def _shaped(text: str) -> datetime:
    """A text of one of the other shapes; names of days and months count by their first letters."""
    text = " ".join(_NAME.sub(lambda name: _GREENWICH.get(name[0], name[0][:3]), text).split())
    shape = _SHAPES.get(_DIGITS.sub("9", _NAME.sub("a", text)))
    if shape is None:
        raise ValueError(f"{text!r:.60} is no moment (such as 2026-01-31T14:05 or 31.01.2026 14:05)")
    return datetime.strptime(text, shape)  # noqa: DTZ007 - without a zone where the text names none


def _counted(text: str) -> float | None:
    """The number that a text is; None where it is none, or a day."""
    if text.isdecimal() and text.isascii():
        return int(text) if len(text) > _DAY else None
    return float(text) if _COUNTED.fullmatch(text) else None


def _since_1970(number: float) -> datetime:
    """The moment of a number of seconds or parts of one, or one whose digits are a date."""
    digits = str(number)
    if len(digits) in (_DAY, _SECOND) and digits.isdecimal() and digits[:2] in ("19", "20"):
        return datetime.fromisoformat(f"{digits[:_DAY]}T{digits[_DAY:] or '000000'}Z")
    per = next((per for most, per in _EPOCHS if 0 <= number < most), None)
    if per is None:
        raise ValueError(f"{number!r:.60} is no moment since 1970")
    try:
        return datetime.fromtimestamp(number / per, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from None
