"""A text as people read it, where programs wrote it otherwise: escapes of JSON inside a text, entities of HTML, bytes of a URL
(`%40`), digits of other scripts, letters as wide as Chinese ones, and signs that nobody sees.

What leads to a person is looked for in both, the text and its reading.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable

from tunekeeper.text.numbers import Span

LEVELS = 3
"""How often a text is read anew: JSON inside JSON inside JSON."""
_UNSEEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\u20e3\ufe0e\ufe0f\ufeff"
_DIGITS = "\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\u0e50-\u0e59"
_WIDE = "\uff0b\uff0d-\uff19\uff20-\uff3a\uff3f\uff41-\uff5a"
_SIGNS = r"_.\-@+()"
_WRITTEN = re.compile(
    rf"\\(?:u[0-9A-Fa-f]{{4}}|x[0-9A-Fa-f]{{2}}|[\\nrtfbv/{_SIGNS}])"
    r"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,16});"
    r"|%[0-7][0-9A-Fa-f]|%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}"
    rf"|[{_UNSEEN}{_DIGITS}{_WIDE}]"
)
_LINES = dict.fromkeys("nrfbv", "\n") | {"t": "\t"}

_HIDDEN = (
    rb"(?:\xc2\xad|\xcd\x8f|\xd8\x9c|\xe1\xa0\x8e|\xe2(?:\x80[\x8b-\x8f\xaa-\xae]|\x81[\xa0-\xa9])|\xef\xbb\xbf"
    rb"|\\u(?:00[aA][dD]|034[fF]|061[cC]|180[eE]|200[b-fB-F]|202[a-eA-E]|206[0-9]|[fF][eE][fF][fF]))"
)
_OTHERWISE = (
    rb"&(?:#[0-9xX]|[A-Za-z]{2,16};)|%[0-7][0-9A-Fa-f]|%[C-Fc-f][0-9A-Fa-f]%"
    rb"|[0-9A-Za-z@._+\-]" + _HIDDEN + rb"|" + _HIDDEN + rb"[0-9A-Za-z@._+\-]"
    rb"|[0-9](?:\xef\xb8[\x8e\x8f]|\xe2\x83\xa3|\\u[fF][eE]0[eEfF]|\\u20[eE]3)"
    rb"|\xef(?:\xbc[\x8b\x8d-\x99\xa0-\xba\xbf]|\xbd[\x81-\x9a])"
    rb"|\xd9[\xa0-\xa9]|\xdb[\xb0-\xb9]|\xe0(?:\xa5[\xa6-\xaf]|\xa7[\xa6-\xaf]|\xb9[\x90-\x99])"
)
TEXT_FILTER = rb"\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[nrtfbv/_.\-@+()])|" + _OTHERWISE
"""RE2 over the bytes of a text: hits wherever its reading could hold what the text itself does not. Signs that nobody sees count
beside what could be part of something, since emoji and whole scripts are full of them."""
JSON_FILTER = (
    rb"\\\\/|\\[x_.\-@+()]|[0-9A-Za-z:=](?:\\\\[nrtfbv] ?){1,3}[0-9A-Za-z]"
    rb"|\\\\u(?:00[0-7aA]|0[369eE]|180|20|22|30|[fF][eEfF])"
    rb"|\\u(?:[fF][fF][0-5]|06[6fF]|09[6eE]|0[eE]5)|" + _OTHERWISE
)
"""The same over a text that may stand inside JSON, whose own escapes are none of the text's. What a kind's own filter sees all
the same, such as an escape before a number, is left to it."""


class Reading:
    """What a text reads like, and where each part of it stands in the text."""

    def __init__(self, text: str, take: Callable[[int], bool] = lambda size: True) -> None:
        """`take`: asked before so many characters are read as something else; after a no the rest stays as it is written."""
        pieces: list[str] = []
        self._first: list[int] = []
        self._signs: list[tuple[int, int, int]] = []
        known = size = 0
        for sign in _WRITTEN.finditer(text):
            start, end = sign.span()
            if not take(end - start):
                break
            value = _value(sign[0])
            size += start - known
            self._first.append(size)
            size += len(value)
            self._signs.append((size, start, end))
            pieces += [text[known:start], value]
            known = end
        self.text = "".join([*pieces, text[known:]])
        """What it reads like."""

    def written(self, span: Span) -> Span:
        """Where a part of the reading, not empty, stands in the text."""
        return self._stands(span[0])[0], self._stands(span[1] - 1)[1]

    def _stands(self, at: int) -> Span:
        """Where the character `at` of the reading stands in the text."""
        place = bisect_right(self._first, at) - 1
        if place < 0:
            return at, at + 1
        size, start, end = self._signs[place]
        return (start, end) if at < size else (end + at - size, end + at - size + 1)


def readings(text: str, take: Callable[[int], bool] = lambda size: True) -> list[Reading]:
    """The text read once, that reading read again, and so on until nothing changes, `LEVELS` times at most; empty where it reads
    as it is written."""
    found: list[Reading] = []
    while len(found) < LEVELS:
        reading = Reading(text, take)
        if reading.text == text:
            break
        found.append(reading)
        text = reading.text
    return found


def written(levels: list[Reading], span: Span) -> Span:
    """Where a part of the last of `readings` stands in the text itself."""
    for reading in reversed(levels):
        span = reading.written(span)
    return span


def _value(sign: str) -> str:
    """What a sign is read as."""
    match sign[0]:
        case "\\":
            kind = sign[1]
            return chr(int(sign[2:], 16)) if len(sign) > 2 else _LINES.get(kind, kind)
        case "&":
            return html.unescape(sign)
        case "%":
            return bytes.fromhex(sign.replace("%", "")).decode("utf-8", "replace")
        case c:
            return str(unicodedata.decimal(c, "")) or (chr(ord(c) - 0xFEE0) if "\uff00" < c < "\uff5f" else "")
