"""Exact expressions where a filter hits, and nowhere else: a long text costs what its filter costs, not what they would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import re2

from tunekeeper.text.numbers import Span

AROUND = 288
"""Bytes before and after a hit that are looked through. Before: what stands left of an `@`, 64 characters of up to four bytes,
and what is asked of the character before that. After: more than anything needs to be known for what it is."""
PIECE = 16_384
"""Bytes of one step where hits stand close together."""
_LONG, _LONGEST = b"eyJ", 15_000
"""How a token (JWT) begins, of which a part is no token, and the most bytes that it has."""
_EDGE = 8
"""Characters at the beginning of a piece: what is found there is the rest of something else."""
_OPEN = 32
"""Characters at the end of a piece: what reaches into them may go on beyond, and more is looked through."""
_MANY = 16
"""Hits of one stretch after which it is not asked for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What came of it: characters of the text, in order."""

    found: list[Span]
    """What was found, without overlaps."""
    unread: list[Span]
    """What might have held something and was not looked through; may overlap."""


def look_near(
    find: Callable[[str], list[Span]],
    hits: re2.Pattern,
    data: bytes,
    *,
    take: Callable[[int], bool] = lambda size: True,
) -> Look:
    """What `find` finds in a text, as if it had looked everywhere.

    `data`: the text in UTF-8, lone surrogates passed. `hits`: over bytes; it hits wherever `find` finds something. `take`: asked
    before so many bytes are looked through; at a no they stay unread.
    """
    look = Look(found=[], unread=[])
    at = before = known = seen = 0
    for first, last, until in _pieces(hits, data):
        if last <= seen:
            continue
        before += len(_text(data, at, first))
        at = first
        if not take(last - first):
            look.unread.append((before, before + len(_text(data, first, last))))
            continue
        spans, seen = _grown(find, data, (first, last, until), take)
        for start, end in spans:
            if (start >= _EDGE or not first) and before + start >= known:
                known = before + end
                look.found.append((before + start, known))
    return look


def _grown(
    find: Callable[[str], list[Span]], data: bytes, piece: tuple[int, int, int], take: Callable[[int], bool]
) -> tuple[list[Span], int]:
    """What is found in a piece, and where the piece ends: it grows as long as something reaches its end. What begins in the last
    `AROUND` bytes is left to the next piece of the stretch, which holds twice as many of them."""
    first, last, until = piece
    while True:
        text = _text(data, first, last)
        spans = sorted(find(text))
        if last < until:
            ours = len(text) - len(_text(data, _character(data, last - AROUND), last))
            spans = [span for span in spans if span[0] < ours]
        more = _character(data, min(len(data), last + 2 * (last - first)))
        if last == len(data) or not spans or spans[-1][1] < len(text) - _OPEN:
            return spans, last
        if not take(more - first):
            return [*spans[:-1], (spans[-1][0], len(text))], last
        last = more


def _pieces(hits: re2.Pattern, data: bytes) -> Iterator[tuple[int, int, int]]:
    """Beginning and end, in bytes, of what is to be looked through, in order, and the end of its stretch; long stretches in steps
    that overlap."""
    for first, last in _stretches(hits, data):
        over = _LONGEST if data.find(_LONG, first, last) >= 0 else AROUND
        for step in range(first, last, PIECE):
            begin = _character(data, max(first, step - AROUND))
            end = last if last - step <= 2 * PIECE else step + PIECE + over
            yield begin, _character(data, min(last, end)), last
            if end == last:
                break


def _stretches(hits: re2.Pattern, data: bytes) -> Iterator[tuple[int, int]]:
    """Hits with what is around them, those that touch as one; after many of them all that follows for a piece, unasked."""
    first = last = at = -1
    near = 0
    while (match := hits.search(data, max(at, 0))) is not None:
        start, at = match.span()
        if last < 0 or start - AROUND > last:
            if last >= 0:
                yield first, last
            first, near = max(0, start - AROUND), 0
        near += 1
        end = at if near <= _MANY else at + PIECE
        at = max(at, end - AROUND)
        last = max(last, min(len(data), end + (_LONGEST if data.find(_LONG, start, end) >= 0 else AROUND)))
    if last >= 0:
        yield first, last


def _character(data: bytes, at: int) -> int:
    """`at`, or the first byte before it that begins a character."""
    while 0 < at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _text(data: bytes, first: int, last: int) -> str:
    return data[first:last].decode("utf-8", "surrogatepass")
