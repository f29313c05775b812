"""Looking near the hits of a filter finds what looking everywhere finds."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.text.personal import MAKERS, carried
from tunekeeper.text.numbers import Span
from tunekeeper.text.places import PIECE, look_near
from tunekeeper.text.redaction import _FINDERS, KINDS, _hits

WORDS = (
    "parcel",
    "has",
    "not",
    "arrived",
    "number",
    "call",
    "at",
    "dot",
    "Größe",
    "号码",
    "12",
    "3.5",
    "key:",
    "(a)",
    "2026-11-21",
    "x@",
    "é",
)


def look(kind: str, text: str, take: Callable[[int], bool] = lambda size: True) -> tuple[list[Span], list[Span]]:
    found = look_near(_FINDERS[kind], _hits((kind,), escaped=False), text.encode("utf-8", "surrogatepass"), take=take)
    return found.found, found.unread


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_gives_what_looking_everywhere_gives(kind: str) -> None:
    rng, planted, seen = random.Random(f"places {kind}"), 0, 0
    for _ in range(8):
        pieces = []
        for _ in range(rng.randint(100, 300)):
            filler = " ".join(rng.choices(WORDS, k=rng.choice((1, 3, 40, 200))))
            some = rng.random() < 0.15
            planted += some
            pieces.append(f"{filler}\n{carried(rng, MAKERS[kind](rng))}\n" if some else f"{filler}\n")
        text = "".join(pieces)
        found, unread = look(kind, text)
        assert found == sorted(_FINDERS[kind](text))
        assert not unread
        seen += len(found)
    assert seen > 0.9 * planted > 90


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", ["é" * 90, "€\n" * 60, "\ud800 " * 70, "🙂 " * 70])
def test_a_piece_never_begins_or_ends_within_a_character(kind: str, before: str) -> None:
    rng = random.Random(f"character {kind}")
    for shift in range(4):
        text = f"{'z' * shift}{before * 9} {MAKERS[kind](rng)} {before * 9}"
        assert look(kind, text)[0] == _FINDERS[kind](text)


def test_what_is_longer_than_a_piece_is_found_whole() -> None:
    rng = random.Random(3)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    token = ".".join(("eyJ" + "".join(rng.choices(letters, k=3000)), "eyJ" + "".join(rng.choices(letters, k=8000)), "s" * 900))
    private = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join("M" * 64 for _ in range(700)) + "\n-----END RSA PRIVATE KEY-----"
    vendor = "sk-" + "a1" * 250
    for secret in (token, private, vendor, f"password: {'x1' * 60}"):
        for before in (0, 1, PIECE - 40, 3 * PIECE + 7):
            text = f"{'word ' * (before // 5)}{'.' * (before % 5)} {secret} {'word ' * 9000}"
            found = look("key", text)[0]
            assert found == _FINDERS["key"](text)
            assert len(found) == 1
    endless = f"{'word ' * 9000}-----BEGIN PRIVATE KEY-----\n{'M' * 100_000}"
    assert look("key", endless)[0] == [(45_000, len(endless))], "a key without an end goes on to the end"


def test_where_hits_stand_close_together_nothing_between_two_steps_is_lost() -> None:
    rng = random.Random(4)
    lines = [
        f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)} GET /a/{rng.randrange(10**6)}" for _ in range(6000)
    ]
    text = "\n".join(lines)
    found = look("ip", text)[0]
    assert found == _FINDERS["ip"](text)
    assert len(found) == 6000


def test_a_number_far_behind_the_word_that_leads_to_it_is_found_at_the_price_of_its_end() -> None:
    looked: list[int] = []
    text = f"phone {'of my dear old friend ' * 20_000} call 0301234567 now"
    found = look("phone", text, lambda size: looked.append(size) is None)[0]
    assert found == _FINDERS["phone"](text)
    assert len(found) == 1
    assert sum(looked) < 2_000


def test_what_may_not_be_looked_through_is_named_and_covers_whatever_could_be_there() -> None:
    text = " and ".join(f"user{n}@example.com {'words ' * 300}" for n in range(50))
    left = [20_000]

    def take(size: int) -> bool:
        left[0] -= size
        return left[0] >= 0

    found, unread = look("email", text, take)
    everything = _FINDERS["email"](text)
    assert 5 < len(found) < 45
    assert all(any(a <= start and end <= b for a, b in [*found, *unread]) for start, end in everything)
    assert sum(b - a for a, b in unread) < len(text) / 2, "the rest of the text stays"


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_nothing_else_is_looked_through_hardly_more_than_once(kind: str) -> None:
    rng, sizes = random.Random(f"table {kind}"), list[int]()
    text = "".join(f"{MAKERS[kind](rng)}{rng.choice(('; ', chr(10)))}" for _ in range(1900))

    def counted(part: str) -> list[Span]:
        sizes.append(len(part))
        return _FINDERS[kind](part)

    found = look_near(counted, _hits((kind,), escaped=False), text.encode()).found
    assert found == sorted(_FINDERS[kind](text))
    if "eyJ" not in text:  # pieces with such tokens overlap by as much as one may be long
        assert sum(sizes) < 1.3 * len(text)
