"""One JSON value grown from the pieces that a stream gives of it, whatever its fields are called. Pure.

Texts go on where they ended, objects field by field, entries of a list by their `index`; of anything else the last one counts.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

_NAMES = frozenset(("id", "type", "index", "role", "format"))
"""Texts that some servers say again with each piece, and that no server cuts."""
_GOES_ON = ("text", "thinking")
"""Entries without a number that go on while they are of one type; a `signature` ends a thought."""
_DEEPEST = 64
"""What is nested deeper is left out: no model server means it, and recursion must end."""
_PADDED = re.compile(r"[^=]+=*")


class Text:
    """A text so far; joining it once costs less than once a piece."""

    __slots__ = ("parts",)

    def __init__(self, first: str) -> None:
        """`first`: how it begins."""
        self.parts = [first]

    def __bool__(self) -> bool:
        return any(self.parts)


def grown(held: Any, piece: Any, name: str = "", depth: int = 0) -> Any:
    """What `held` (None: nothing yet) becomes with one more piece of the field `name`, `depth` levels down; `whole` gives it as
    JSON."""
    if piece is None or depth > _DEEPEST:
        return held
    if isinstance(piece, str):
        return _text(held, piece, name)
    if isinstance(piece, dict):
        held = held if isinstance(held, dict) else {}
        for key, each in piece.items():
            held[key] = grown(held.get(key), each, key, depth + 1)
        return held
    if isinstance(piece, list):
        held = held if isinstance(held, list) else []
        for each in piece:
            _add_entry(held, each, depth + 1)
        return held
    return piece


def _text(held: Any, piece: str, name: str) -> Any:
    if name in _NAMES:
        return piece or held
    if not isinstance(held, Text):
        return Text(piece)
    held.parts.append(piece)
    return held


def _add_entry(held: list[Any], entry: Any, depth: int) -> None:
    at = _place_of(held, entry) if isinstance(entry, dict) else None
    if at is None:
        held.append(grown(None, entry, depth=depth))
    else:
        held[at] = grown(held[at], entry, depth=depth)


def _place_of(held: list[Any], entry: dict[str, Any]) -> int | None:
    """Which entry of the list this one goes on with; None: it is another."""
    number = entry.get("index")
    if type(number) is int:
        return next((at for at, each in enumerate(held) if isinstance(each, dict) and each.get("index") == number), None)
    last = held[-1] if held else None
    if not isinstance(last, dict) or entry.get("type") not in _GOES_ON or last.get("type") != entry["type"]:
        return None
    return len(held) - 1 if not last.get("signature") else None


def whole(held: Any) -> Any:
    """The value that has grown, as JSON."""
    if isinstance(held, Text):
        return "".join(held.parts)
    if isinstance(held, dict):
        return {name: whole(each) for name, each in held.items()}
    return [whole(each) for each in held] if isinstance(held, list) else held


def sound(pieces: str) -> str:
    """Base64 whose pieces, each perhaps padded, stand one after the other, as one; as it is where it is no base64."""
    if "=" not in pieces.rstrip("="):
        return pieces
    try:
        raw = b"".join(base64.b64decode(piece, validate=True) for piece in _PADDED.findall(pieces))
    except binascii.Error:
        return pieces
    return base64.b64encode(raw).decode()
