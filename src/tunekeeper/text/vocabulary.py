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


class Glossary:
    """Terms that were renamed: finds the old ones as whole words, in any case, and writes the new ones."""

    def __init__(self, renames: Mapping[str, str]) -> None:
        """`renames`: old term → new term. The longest old term wins where two overlap."""
        self.renames = {old.casefold(): new for old, new in renames.items() if old.strip()}
        terms = sorted(self.renames, key=len, reverse=True)
        joined = "|".join(re.escape(term).replace(r"\ ", r"\s+") for term in terms)
        self._pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)", re.IGNORECASE) if terms else None

    def find(self, text: str) -> list[str]:
        """The old terms in `text`, as written there, in order."""
        return [] if self._pattern is None else [match[0] for match in self._pattern.finditer(text)]

    def rewrite(self, text: str) -> str:
        """The text with every old term replaced by its new one."""
        return text if self._pattern is None else self._pattern.sub(lambda match: self._new(match[0]), text)

    def _new(self, written: str) -> str:
        return self.renames.get(" ".join(written.casefold().split()), written)

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
