"""Words of a text, phrases among words, and terms of a glossary."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from tunekeeper.text.shingles import SPACELESS

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_SEAMLESS = re.compile(f"[{SPACELESS}]")
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc]")
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


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared part of two sets, 0 to 1: |a ∩ b| / |a ∪ b|; 0 when both are empty."""
    both = len(a & b)
    union = len(a) + len(b) - both
    return both / union if union else 0.0


_HISSING = ("s", "x", "z", "ch", "sh")
"""Ends of words whose plural takes `es`."""
_Y = re.compile(r"[b-df-hj-np-tv-z]y\Z", re.IGNORECASE)
"""What becomes `ies` in the plural."""
_ENDINGS = ("'s", "’s", "s", "es", "s'", "s’", "es'", "es’")
"""What a plural and a possessive end in, in the order in which they are taken off."""
_PARTS = re.compile(r"[^\s_\-\u2010\u2011]+")
"""What a term consists of that may also be written with hyphens, or as one word."""
_HUMPS = re.compile(r"(?:[A-Z][a-z]{2,}|[A-Z]{2,}(?![a-z]))")
_ADDRESS = re.compile(
    r"(?:\b[A-Za-z][A-Za-z\d+.-]{1,20}://|\bwww\.)\S+"
    r"|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|(?<![\w.-])(?:[a-z\d-]+\.)+[a-z]{2,}(?!\w|-|\.\w)(?:/\S*)?"
)
"""A URL, an e-mail address, or a domain in small letters: written anew it would lead nowhere."""
_ADDRESSING = frozenset("./@:")
"""What a term has that is one itself."""
_FOLDED_IN_TWO = {"ss": "ß", "i\u0307": "İ"}
"""What case folding makes of a letter that becomes two → the letter, which no expression takes for them by itself."""


def _folded(term: str) -> str:
    return " ".join(term.casefold().split())


def _squeezed(term: str) -> str:
    return "".join(_PARTS.findall(term.casefold()))


def _last(new: str, renames: Mapping[str, str]) -> str:
    """The name at the end of a chain of renames; `new` itself where the chain is a circle."""
    last, seen = new, set()
    while (key := _folded(last)) in renames and key not in seen:
        seen.add(key)
        last = renames[key]
    return new if _folded(last) in renames else last


class Glossary:
    """Terms that were renamed: finds the old ones as whole words, in any case, and writes the new ones in the same number, as
    possessives where they were, and in capitals where they were. A term of several words is also known with hyphens (`acme-pay`)
    and with capitals (`AcmePay`). In an address a term is left alone, unless it is one itself. A compound (`Padhülle`,
    `Pad-Hülle`) is another word."""

    def __init__(self, renames: Mapping[str, str]) -> None:
        """`renames`: old term → new term. The longest old term wins where two overlap; one that was renamed twice becomes the
        last of its names; one inside its own new term (`Box` → `Box Pro`) is left alone there, and so is one that is its own new
        term, which keeps a shorter one away from it (`Windows` → `Windows` from `Window`)."""
        kept = {_folded(old) for old, new in renames.items() if old.strip() == new.strip()} - {""}
        known = {_folded(old): new for old, new in renames.items() if old.strip() and _folded(old) not in kept}
        self.renames = {old: _last(new, known) for old, new in known.items()}
        others = {_squeezed(old): old for old in reversed(self.renames) if _squeezed(old) != _squeezed(self.renames[old])}
        self._otherwise = {key: old for key, old in others.items() if key}
        self._current = {*kept, *(_folded(new) for new in self.renames.values())} - self.renames.keys()
        self._lower = {_folded(old) for old in renames if old == old.lower()}
        self._upper = {_folded(old) for old in renames if old == old.upper()}
        written = {_folded(term): term for term in (*self.renames.values(), *renames) if term.strip()}
        terms = sorted({*self.renames, *kept, *map(_folded, self.renames.values())} - {""}, key=len, reverse=True)
        joined = "|".join(filter(None, (each for t in terms for each in (_bounded(t), _otherwise(written.get(t, t))))))
        self._pattern = re.compile(joined, re.IGNORECASE) if terms else None

    def find(self, text: str) -> list[str]:
        """The old terms in `text`, as written there, in order."""
        found = [] if self._pattern is None else list(self._pattern.finditer(text))
        spans = _addresses(text) if found else []
        return [match[0] for match in found if match[0] != self._new(match[0]) and not _inside(match, spans)]

    def rewrite(self, text: str) -> str:
        """The text with every old term replaced by its new one."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        spans = _addresses(text)
        return self._pattern.sub(lambda match: match[0] if _inside(match, spans) else self._new(match[0]), text)

    def _new(self, written: str) -> str:
        if _folded(written) in self._current:
            return written
        single = _single(written)
        if single != written and _folded(single) in self.renames:
            renamed = self.renames[_folded(single)]
            plural = "S" if written.isupper() else "s"
            return _in_number(self._in_case(single, _folded(single), renamed), plural) if renamed else ""
        for ending in ("", *_ENDINGS):
            term = written.removesuffix(written[-len(ending) :]) if ending else written
            old = _folded(term) if _folded(term) in self.renames else self._otherwise.get(_squeezed(term))
            if old is not None and written.casefold().endswith(ending):
                new = self.renames[old]
                return _in_number(self._in_case(term, old, new), written[len(term) :]) if new else ""
        return written

    def _in_case(self, written: str, old: str, new: str) -> str:
        """The new term as the old one was written: a name has its own capitals, a plain word takes those of its place."""
        if new.casefold() == old:
            return new
        loud = written.isupper() and old not in self._upper and sum(map(str.isalpha, written)) > 1
        if loud and (len(written) > 3 or old in self._lower):
            return new.upper()  # up to three letters may be an acronym, also where the glossary does not write it so
        return new[:1].upper() + new[1:] if written[:1].isupper() and old in self._lower else new

    def suggestions(self, text: str) -> list[tuple[str, str]]:
        """(old term as written, new term), each pair once."""
        return list(dict.fromkeys((old, self._new(old)) for old in self.find(text)))


def _addresses(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in _ADDRESS.finditer(text)]


def _inside(match: re.Match[str], spans: Iterable[tuple[int, int]]) -> bool:
    """Whether a term stands in an address without being one."""
    return any(start <= match.start() < end for start, end in spans) and _ADDRESSING.isdisjoint(match[0])


def _single(written: str) -> str:
    """A term in the plural of words in `y` as it is in the singular; any other as it is."""
    return f"{written[:-3]}{'Y' if written.isupper() else 'y'}" if written[-3:].casefold() == "ies" else written


def _bounded(term: str) -> str:
    """The pattern of a term as a whole word: no letter beside it, unless its script has no blanks between words."""
    before = _beside(term[:1], "(?<!{})")
    after = _beside(term[-1:], "(?!{})")
    written = re.escape(term).replace(r"\ ", r"\s+")
    for folded, letter in _FOLDED_IN_TWO.items():
        written = written.replace(folded, f"(?:{folded}|{letter})")
    if _Y.search(term) and len(term) > 3:
        return before + f"(?:{written}{_endings(term)}|{written[:-1]}ies)" + after
    return before + written + _endings(term) + after


def _otherwise(term: str) -> str:
    """The pattern of a term of several words, or with capitals inside, as it is written otherwise: with hyphens, as one word with
    capitals, or as several; empty for one word. In an address it is left alone, and in a longer word with hyphens."""
    parts = _PARTS.findall(term)
    inside = _HUMPS.findall(term) if len(parts) == 1 else []
    if len(parts) < 2 and (len(inside) < 2 or "".join(inside) != term):
        return ""
    words = [re.escape(part) for part in inside or parts]
    spaced = r"\s+".join(words)
    as_one = _capital_first(parts[0], "") + "".join(_capital_first(part, part[:1].upper()) for part in parts[1:])
    other = f"{spaced}|{spaced.upper().replace('S+', 's+')}" if inside else as_one
    forms = [r"[-_\u2010\u2011]".join(words), f"(?-i:{other})", *(() if inside or " " in term else (spaced,))]
    return rf"(?<![\w/.@-])(?:{'|'.join(forms)}){_endings(term)}(?![\w/@-]|\.\w)"


def _capital_first(part: str, first: str) -> str:
    """The pattern of a part of a word whose first letter is `first`, or either one; the others are small or as in the part."""
    begin = re.escape(first) if first else f"[{re.escape(part[0].lower() + part[0].upper())}]"
    return f"{begin}(?:{re.escape(part[1:])}|{re.escape(part[1:].lower())})"


def _beside(letter: str, look: str) -> str:
    """What may not stand beside a term that begins or ends with this letter: a word of katakana ends where others begin."""
    if _KATAKANA.match(letter):
        return look.format(_KATAKANA.pattern)
    return "" if _SEAMLESS.match(letter) else look.format(r"\w")


def _endings(term: str) -> str:
    """The pattern of what a term takes for its plural, from three letters on, and as a possessive."""
    if not term[-1:].isalpha():
        return ""
    plural = "es" if term.endswith(_HISSING) else "s"
    return f"(?:['’]s|{plural}['’]?)?" if len(term) > 2 else "(?:['’]s)?"


def _in_number(term: str, ending: str) -> str:
    """A new term with the ending that the old one had."""
    if not ending or ending[0] in "'’":
        return term + ending
    mark = ending[-1] if ending[-1] in "'’" else ""
    loud = term.isupper() and len(term) > 3
    if _Y.search(term):
        return term[:-1] + ("IES" if loud else "ies") + mark
    plural = "es" if term.casefold().endswith(_HISSING) else "s"
    return term + (plural.upper() if loud else plural) + mark


def document_frequency(texts: Iterable[str]) -> dict[str, int]:
    """Content word → number of texts that hold it."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in set(content_words(text)):
            counts[word] = counts.get(word, 0) + 1
    return counts
