"""What fits is read, what does not is passed over."""

from __future__ import annotations

import msgspec
import pytest

from tunekeeper.gateway.loose import read_loosely


class Part(msgspec.Struct):
    name: str | None = None
    count: int = 1


class Whole(msgspec.Struct):
    parts: list[Part] | None = None
    part: Part | None = None
    share: float | None = None
    rest: msgspec.Raw = msgspec.Raw(b"null")


def test_each_field_that_fits_is_read_and_the_others_keep_their_defaults() -> None:
    found = read_loosely(
        b'{"parts":[{"name":"a","count":"3"},{"name":5,"count":null},7],"part":[],"share":"x","more":1}', Whole, "parts"
    )
    assert found == Whole(parts=[Part(name="a", count=3), Part()])
    assert read_loosely(b'{"part":{"count":2.0},"share":1,"rest":{"a":[1]}}', Whole, "parts") == Whole(
        part=Part(count=2), share=1.0, rest=msgspec.Raw(b'{"a":[1]}')
    )


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (b"\\ud83d\\ude00 \\uD83D", "\U0001f600 \ufffd"),
        (b"\\ude00\\ud83d", "\ufffd\ufffd"),
        (b"\\\\ud83d \\ud83d \\n", "\\ud83d \ufffd \n"),
    ],
)
def test_half_of_a_character_is_no_reason_to_refuse_the_rest(said: bytes, read: str) -> None:
    assert read_loosely(b'{"part":{"name":"%s"}}' % said, Whole, "parts") == Whole(part=Part(name=read))


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b"{", b"\xff", b'{"a":"\xff"}', b"[" * 100_000, b'{"parts":5}'])
def test_what_is_something_else_altogether_is_none(data: bytes) -> None:
    assert read_loosely(data, Whole, "parts") is None
