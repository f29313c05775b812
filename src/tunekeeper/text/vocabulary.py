"""Words of a text, phrases among words, and terms of a glossary."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
COMMON = frozenset(
    """
    a about after again all also am an and any are as at be because been before but by can cannot could did do does for
    from get had has have he her here hi him his how i if in into is it its just me more my no not now of on only or
    our out over please she since so some still than thank thanks that the their them then there these they this to too
    until up us very was we were what when where which who why will with would you your hello dear hey best regards
    cheers
    """.split()  # noqa: SIM905
)
"""English words that say nothing about a topic."""


def words(text: str) -> list[str]:
    """The words of a text in order: case-folded runs of letters and digits, inner apostrophes kept (`don't`)."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def content_words(text: str) -> list[str]:
    """The words that may tell a topic: at least three letters, no digits, none of `COMMON`."""
    return [word for word in words(text) if len(word) >= 3 and word.isalpha() and word not in COMMON]


def shingles(text: str, size: int = 3) -> frozenset[str]:
    """The set of runs of `size` words; a shorter text is one shingle. An empty text has none."""
    found = words(text)
    if not found:
        return frozenset()
    if len(found) <= size:
        return frozenset([" ".join(found)])
    return frozenset(" ".join(found[i : i + size]) for i in range(len(found) - size + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared part of two sets, 0 to 1: |a ∩ b| / |a ∪ b|; 0 when both are empty."""
    both = len(a & b)
    union = len(a) + len(b) - both
    return both / union if union else 0.0


def _folded(term: str) -> str:
    return " ".join(term.casefold().split())


def _last(new: str, renames: Mapping[str, str]) -> str:
    """The name at the end of a chain of renames; `new` itself where the chain is a circle."""
    last, seen = new, set()
    while (key := _folded(last)) in renames and key not in seen:
        seen.add(key)
        last = renames[key]
    return new if _folded(last) in renames else last


class Glossary:
    """Terms that were renamed: finds the old ones as whole words, in any case, and writes the new ones."""

    def __init__(self, renames: Mapping[str, str]) -> None:
        """`renames`: old term → new term. The longest old term wins where two overlap; one that was renamed twice becomes the
        last of its names; one inside its own new term (`Box` → `Box Pro`) is left alone there."""
        known = {_folded(old): new for old, new in renames.items() if old.strip()}
        self.renames = {old: _last(new, known) for old, new in known.items()}
        terms = sorted({*self.renames, *(_folded(new) for new in self.renames.values() if new.strip())}, key=len, reverse=True)
        joined = "|".join(re.escape(term).replace(r"\ ", r"\s+") for term in terms)
        self._pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)", re.IGNORECASE) if terms else None

    def find(self, text: str) -> list[str]:
        """The old terms in `text`, as written there, in order."""
        found = () if self._pattern is None else (match[0] for match in self._pattern.finditer(text))
        return [term for term in found if term != self._new(term)]

    def rewrite(self, text: str) -> str:
        """The text with every old term replaced by its new one."""
        return text if self._pattern is None else self._pattern.sub(lambda match: self._new(match[0]), text)

    def _new(self, written: str) -> str:
        return self.renames.get(_folded(written), written)

    def suggestions(self, text: str) -> list[tuple[str, str]]:
        """(old term as written, new term), each pair once."""
        return list(dict.fromkeys((old, self._new(old)) for old in self.find(text)))


def document_frequency(texts: Iterable[str]) -> dict[str, int]:
    """Content word → number of texts that hold it."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in set(content_words(text)):
            counts[word] = counts.get(word, 0) + 1
    return counts
