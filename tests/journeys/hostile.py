"""Bytes that nobody should send, made from a seed: wrong JSON, wrong heads, and plain damage to what was right."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

WORDS = (
    b"\x00", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n\r\n", b"{", b"}", b"[", b"]", b'"',
    b"\\", b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"NaN", b"Infinity", b"-0", b"1e400", b"1e-400", b"9999999999999999999999",
    b"null", b"true", b":", b",", b"data:", b"data: [DONE]\n\n", b"%00", b"%2e%2e", b"..", b"//", b"' OR 1=1 --", b"\x1b[31m",
    b"chunked", b"content-length: 0\r\n", b"0\r\n\r\n", b'{"c":"', b"- ", b"&a", b"*a", b"!!python/object", b"? ",
    b"---\n", b"<<: ", b"\xe2\x80\xae",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, "", "x", "\x00", "\ud800", "é" * 40, [], {}, [None], [[]], {"": None}, {"a": {"b": []}},
    2**31, -(2**63), 2**64, 10**400, "0", "NaN", [1, "a", None, {}], "x" * 5000,
)  # fmt: skip


def damaged(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`data` after a few random changes: bytes, words, cuts, repeats, and pieces of `others`."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at = rng.randrange(len(found) + 1)
        end = min(len(found), at + rng.choice((1, 1, 2, 8, 64)))
        kind = rng.randrange(8)
        if kind == 0 and at < len(found):
            found[at] = rng.randrange(256)
        elif kind == 1 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del found[at:end]
        elif kind == 3:
            found[at:at] = rng.choice(WORDS)
        elif kind == 4:
            found[at:end] = rng.choice(WORDS)
        elif kind == 5:
            found[at:at] = bytes(found[at:end]) * rng.choice((1, 2, 40))
        elif kind == 6:
            del found[at:]
        elif others:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            found[at:end] = other[start : start + rng.choice((4, 16, 256))]
    return bytes(found)


def _swapped(rng: random.Random, value: Any) -> Any:
    """A JSON value in which something, somewhere, is something else."""
    if rng.random() < 0.3 or not isinstance(value, (dict, list)) or not value:
        return rng.choice(VALUES)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], _swapped(rng, value[at]), *value[at + 1 :]]
    key = rng.choice(list(value))
    return {**value, key: _swapped(rng, value[key])}


def _number(rng: random.Random, right: dict[str, Any]) -> bytes:
    text = rng.choice(("NaN", "-Infinity", "Infinity", "1e400", "-1e999", "01", "1.", ".5", "+1", "0x10", "1e", "9" * 400))
    return json.dumps({**right, rng.choice((*right, "temperature", "seed")): "@"}).replace('"@"', text).encode()


def _deep(rng: random.Random, right: dict[str, Any]) -> bytes:
    depth = rng.choice((63, 64, 65, 100, 1_000, 10_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    return (
        json.dumps({**right, rng.choice((*right, "tools")): "@"}).replace('"@"', opening * depth + "1" + closing * depth).encode()
    )


def _twice(rng: random.Random, right: dict[str, Any]) -> bytes:
    key = rng.choice(list(right))
    other = json.dumps({key: rng.choice(VALUES)})[1:-1]
    whole = json.dumps(right)
    return (whole[:-1] + ", " + other + "}" if rng.random() < 0.5 else "{" + other + ", " + whole[1:]).encode()


def _text(rng: random.Random, right: dict[str, Any]) -> bytes:
    strange = rng.choice(
        (r"\ud800", r"\udfff\ud800", r"\u0000", "\x00", "\x01", "\x7f", "\u202e", "\ufeff", "\\x", "\\u12", "\n")
    )
    key = rng.choice(list(right))
    return json.dumps({**right, key: "@"}).replace("@", strange * rng.choice((1, 50))).encode()


def _coded(rng: random.Random, right: dict[str, Any]) -> bytes:
    whole = json.dumps({**right, "user": "Zoë \U0001f600"}, ensure_ascii=False)
    return whole.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "cp1252", "utf-8-sig")), "replace")


def _swapped_body(rng: random.Random, right: dict[str, Any]) -> bytes:
    value = _swapped(rng, right)
    return json.dumps(value, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")


def _cut(rng: random.Random, right: dict[str, Any]) -> bytes:
    whole = json.dumps(right).encode()
    return whole[: rng.randrange(len(whole))]


def _damaged_body(rng: random.Random, right: dict[str, Any]) -> bytes:
    return damaged(rng, json.dumps(right).encode())


BODIES: dict[str, Callable[[random.Random, dict[str, Any]], bytes]] = {
    "type": _swapped_body,
    "number": _number,
    "depth": _deep,
    "twice": _twice,
    "text": _text,
    "charset": _coded,
    "cut": _cut,
    "damage": _damaged_body,
}
"""Kind of wrong body → what makes one out of a right one."""
