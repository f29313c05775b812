"""What many texts of a set share word for word at their beginning or end: the instruction in which a text is asked about.

It is no likeness of two texts. With it, all that ask under one long instruction would be near duplicates, belong together on one
side, and give each other away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tunekeeper.text.shingles import tokens

LEAST_WORDS = 3
"""Words that must be left of a text: what differs in fewer is one text over and over."""
BLOCK = 5_000
"""Texts that are looked at together."""
LEAST_TEXTS = 20
LEAST_SHARE = 0.05
"""Part of a block, 0 to 1, that must share a frame."""
LENGTHS = (300, 600, 1200, 2400, 4800, 9600)
"""Characters that texts share at least, longest last: less is an opening that people write alike."""


def without_frames(texts: Iterable[str]) -> Iterator[str]:
    """The texts, in order, without the frames that each begins and ends with. A frame that one block has is known from then on; a
    text that is hardly anything else is left as it is."""
    rest = iter(texts)
    begins, ends = dict[str, str](), dict[str, str]()
    while block := list(islice(rest, BLOCK)):
        long = [text for text in block if len(text) > LENGTHS[0]]
        least = max(LEAST_TEXTS, LEAST_SHARE * len(long))
        begins |= _frames(_alike(long, slice(LENGTHS[0]), least), least)
        ends |= _frames([text[::-1] for text in _alike(long, slice(-LENGTHS[0], None), least)], least)
        if not begins and not ends:
            yield from block
            continue
        for text in block:
            inside = _behind(_behind(text, begins)[::-1], ends)[::-1]
            yield inside if len(inside) == len(text) or len(tokens(inside)) >= LEAST_WORDS else text


def _alike(texts: Sequence[str], part: slice, least: float) -> list[str]:
    """The texts whose `part` at least so many have."""
    counts = Counter(text[part] for text in texts)
    return [text for text in texts if counts[text[part]] >= least]


def _frames(texts: Sequence[str], least: float) -> dict[str, str]:
    """The first characters that at least so many texts begin with → all that those have in common there, in whole words."""
    found: dict[str, str] = {}
    some = list(texts)
    for length in LENGTHS:
        some = _alike([text for text in some if len(text) > length], slice(length), least)
        for begin in {text[:length] for text in some}:
            common = _shared([text for text in some if text.startswith(begin)])
            found[begin] = common[: max(common.rfind(" "), common.rfind("\n")) + 1] or common
    return found


def _shared(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    first, last = min(texts), max(texts)
    return first[: next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _behind(text: str, frames: dict[str, str]) -> str:
    """A text behind the longest frame that it begins with."""
    for length in reversed(LENGTHS) if frames and len(text) > LENGTHS[0] else ():
        frame = frames.get(text[:length])
        if frame is not None and text.startswith(frame):
            return text[len(frame) :]
    return text
