"""Numbers of JSON that are no text: a telephone or a card that a program kept as a number, under the name of its field.

What a field is called says whether a number is somebody's: digits alone may be anybody's or anything's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from tunekeeper.text.leads import is_of_a_thing, leads_to
from tunekeeper.text.numbers import Span, is_card

_LEAST, _BEYOND, _FEWEST, _MOST = 10**6, 10**19, 7, 15
"""The numbers that are looked at, and the digits of telephones that are kept as numbers."""
_USUAL = (15, 16)
"""Digits of a card where no field says that it is one: ids of that length are rarer than others."""
_OF_A_CARD = re.compile(
    r"(?!.*ids?\Z)(?:card|(?<![a-z])(?:pan|cc)(?![a-z])|kart[aeęiyoı]|carte|tarjeta|cart[aã]o|carta|kaart|kort|карт|カード|卡|카드)",
    re.IGNORECASE,
)
"""Fields of cards, but for those of their ids."""
_OF_SOMEBODY = re.compile(r"(?:caller|callee|contact|sender|recipient|from|to)[ _-]?(?:number|no|nr)\Z", re.IGNORECASE)
"""Fields of telephones that no word of `text/leads.py` names."""
_DOCUMENT = re.compile(r"\s*(?:[\"\[]\s*)*{")
_BLANK = r"(?:\s|\\+[nrt])*"
_BEFORE, _BEHIND = re.compile(rf"[:,\[]{_BLANK}\Z"), re.compile(rf"{_BLANK}[,\]}}]")
_QUOTE = re.compile(rf'(\\*)"(?={_BLANK}([^\s\\]?))')
_BLANKS, _LONGEST = 64, 19
"""Blanks before a number that are looked at, and its digits."""


def kind_of(value: Any, field: str) -> str | None:
    """The kind of personal data that a number of JSON is, by the name of its field: `phone`, `card`, or None."""
    if not isinstance(value, int | float) or not _LEAST <= value < _BEYOND or value != int(value):
        return None
    digits = str(int(value))
    if is_card(digits) and (_says_card(field) or (len(digits) in _USUAL and not _is_of_a_thing(field))):
        return "card"
    return "phone" if _FEWEST <= len(digits) <= _MOST and _says_phone(field) else None


@lru_cache(maxsize=512)
def _says_card(field: str) -> bool:
    return _OF_A_CARD.search(field) is not None


@lru_cache(maxsize=512)
def _is_of_a_thing(field: str) -> bool:
    named = f'"{field}": '
    return is_of_a_thing(f"{named}0", len(named))


@lru_cache(maxsize=512)
def _says_phone(field: str) -> bool:
    named = f'"{field}": '
    called = _OF_SOMEBODY.match(field) is not None or leads_to(f"{named}55501234", len(named), "55501234")
    return called and not _is_of_a_thing(field)


def quotes(text: str, spans: Collection[Span]) -> dict[int, str]:
    """Where those of `spans` begin that are numbers of JSON, which `text` is, and the quotes that what takes their place has, so
    that it can still be read as JSON: those of JSON inside a string of JSON are escaped."""
    if _DOCUMENT.match(text) is None:
        return {}
    found = [start for start, end in spans if _is_bare(text, start, end)]
    return {start: _quote_at(text, start) for start in found} if found and is_json(text) else {}


def _quote_at(text: str, start: int) -> str:
    """The quote that strings beside a number have. The last one before it ends a name or a string beside the number, or opens the
    text that the number stands in."""
    last = text.rfind('"', 0, start)
    sign = _QUOTE.match(text, len(text[:last].rstrip("\\")) if last >= 0 else start)
    if sign is None:
        return '"'
    escapes = len(sign[1])
    return "\\" * (escapes if sign[2] in (":", ",", "]", "}") else 2 * escapes + 1) + '"'


def _is_bare(text: str, start: int, end: int) -> bool:
    around = _BEFORE.search(text, max(0, start - _BLANKS), start), _BEHIND.match(text, end)
    return end - start <= _LONGEST and None not in around and text[start:end].isdecimal()


def is_json(text: str) -> bool:
    """Whether a text is a document of JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
