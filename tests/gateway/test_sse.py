"""Events come out whole however the bytes are cut."""

from __future__ import annotations

import random

import pytest

from tunekeeper.gateway.sse import Event, Events, EventTooLargeError


def all_of(stream: bytes, cuts: list[int]) -> list[Event]:
    events, parser, at = [], Events(), 0
    for cut in [*sorted(cuts), len(stream)]:
        events += parser.feed(stream[at:cut])
        at = cut
    return events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_three_line_ends_are_read(end: bytes) -> None:
    stream = (
        b"data: one" + end * 2 + b": ping" + end * 2 + b"event: x" + end + b"data: two" + end + b"data:three" + end * 2 + b"x"
    )
    events = Events().feed(stream)
    assert [e.data for e in events] == [b"one", None, b"two\nthree"]


def test_bytes_are_passed_on_as_they_came() -> None:
    stream = b"data: a\n\ndata:b\r\n\r\n: c\n\nretry: 5\ndata\n\n"
    events = Events().feed(stream)
    assert b"".join(e.raw for e in events) == stream
    assert [e.data for e in events] == [b"a", b"b", None, None]


def test_a_byte_order_mark_before_the_first_event_is_taken_off() -> None:
    events = all_of(b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", [1, 2, 5])
    assert [(e.raw, e.data) for e in events] == [(b"data: a\n\n", b"a"), (b"data: b\n\n", b"b")]


def test_an_event_with_empty_data_tells_nobody_anything() -> None:
    assert [e.data for e in Events().feed(b"data:\n\nevent: x\ndata: \n\ndata: a\n\n")] == [None, None, b"a"]


def test_cuts_anywhere_change_nothing() -> None:
    rng = random.Random(3)
    for end in (b"\n", b"\r\n"):
        stream = b"".join(b"data: %d%s%s%s" % (i, b"x" * rng.randint(0, 9), end, end) for i in range(50))
        whole = all_of(stream, [])
        assert len(whole) == 50
        for _ in range(200):
            cuts = [rng.randrange(len(stream)) for _ in range(rng.randint(1, 12))]
            assert all_of(stream, cuts) == whole
        assert all_of(stream, list(range(1, len(stream)))) == whole


def test_random_bytes_lose_nothing_and_crash_nothing() -> None:
    rng = random.Random(4)
    for _ in range(500):
        stream = bytes(rng.choice(b"\r\n:data \x00\xff") for _ in range(rng.randint(0, 60)))
        parser = Events()
        got = b""
        for at in range(0, len(stream), 7):
            got += b"".join(e.raw for e in parser.feed(stream[at : at + 7]))
        assert got + parser.rest == stream


def test_an_event_without_end_is_bounded() -> None:
    parser = Events(limit=100)
    parser.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLargeError):
        parser.feed(b"x" * 20)
