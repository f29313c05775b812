"""A value that grows from its pieces."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tunekeeper.gateway.pieces import grown, sound, whole


def of(*pieces: Any) -> Any:
    held = None
    for piece in pieces:
        held = grown(held, piece)
    return whole(held)


@pytest.mark.parametrize(
    ("pieces", "value"),
    [
        (("a", None, "b"), "ab"),
        ((1, 2), 2),
        ((None, None), None),
        (({"a": "x"}, {"a": "y", "b": True}), {"a": "xy", "b": True}),
        (({"id": "c1", "type": "t"}, {"id": "c1", "type": "t"}, {"id": ""}), {"id": "c1", "type": "t"}),
        (([1, 2], [3]), [1, 2, 3]),
        (([{"index": 1, "t": "b"}], [{"index": 0}, {"index": 1, "t": "c"}]), [{"index": 1, "t": "bc"}, {"index": 0}]),
        (([{"url": "u"}], [{"url": "u"}]), [{"url": "u"}, {"url": "u"}]),
        (("text", ["parts"]), ["parts"]),
    ],
)  # fmt: skip
def test_texts_go_on_objects_grow_and_of_anything_else_the_last_counts(pieces: tuple[Any, ...], value: Any) -> None:
    assert of(*pieces) == value


def test_a_thought_goes_on_until_it_is_signed() -> None:
    pieces = [
        {"type": "thinking", "thinking": text, "signature": sign} for text, sign in (("a", ""), ("b", ""), ("", "S"), ("c", "T"))
    ]
    assert of(*([piece] for piece in pieces)) == [
        {"type": "thinking", "thinking": "ab", "signature": "S"},
        {"type": "thinking", "thinking": "c", "signature": "T"},
    ]


def test_what_is_nested_without_end_is_cut() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": [deep]}
    depth, value = 0, of(deep)
    while isinstance(value, dict | list) and value:
        value, depth = (value["a"] if isinstance(value, dict) else value[0]), depth + 1
    assert 32 < depth < 100


def test_sound_in_padded_pieces_is_one_sound() -> None:
    pieces = "".join(base64.b64encode(part).decode() for part in (b"abcd", b"xy", b"abc"))
    assert base64.b64decode(sound(pieces), validate=True) == b"abcdxyabc"
    assert sound("YWJj") == "YWJj"
    assert sound("no=base64") == "no=base64"
