"""Words that no row should hold, also where somebody wrote them so that a list does not know them: `d4mn`, `d a m n`, `d*mn`.

A disguise is one word from end to end: letters put in place of others, set apart one by one, drawn out, or starred out. What
short words would be by chance (`A55`, `8x`) is left alone: digits stand for letters only from four letters on, and for half of
them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from tunekeeper.text.vocabulary import Glossary

_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_DIGITS = {"a": "4", "b": "8", "e": "3", "i": "1", "l": "1", "o": "0", "s": "5", "t": "7", "z": "2"}
_SIGNS = {"a": "@", "c": "¢", "e": "€", "i": "!|", "l": "|", "s": "$"}
_LATIN, _ALIKE = "aceopxyikmth", "асеорхуікмтн"
"""Latin letters and the Cyrillic ones that look like them."""
_LOOKS = {**dict(zip(_LATIN, _ALIKE, strict=True)), **dict(zip(_ALIKE, _LATIN, strict=True))}
_WORD = re.compile(r"[^\W\d_]{3,}")
_TOKEN = re.compile(r"[\w@$¢€](?:[\w@$¢€!|*#.-]*[\w@$¢€*#])?")
_APART = re.compile(r"(?<!\w)[\w@$](?: [\w@$]){2,}(?!\w)")
_DRAWN_OUT = re.compile(r"(.)\1\1", re.IGNORECASE)
_ASCII = re.compile("[A-Za-z]")
_DISGUISED = 4
"""Letters from which a word is known with digits and stars, drawn out, and with marks between some letters."""
_STAR = "*#"


def profane(text: str, bad_words: Sequence[str]) -> str:
    """Which of `bad_words` stand in a text, as whole words in any case or disguised; empty when none."""
    found = list(_found(text, tuple(bad_words))) if bad_words else []
    return f"bad words: {', '.join(dict.fromkeys(found))}" if found else ""


def _found(text: str, bad_words: tuple[str, ...]) -> Iterator[str]:
    plain, disguised = _patterns(bad_words)
    known = plain.find(text)
    yield from known
    if disguised is None:
        return
    seen = _INVISIBLE.sub("", text if text.isascii() else unicodedata.normalize("NFKC", text))
    if seen != text:
        yield from (hidden := [each for each in plain.find(seen) if each not in known])
        known += hidden
    suspects = "\n".join([*filter(_is_odd, _TOKEN.findall(seen)), *_APART.findall(seen)])
    yield from (written for match in disguised.finditer(suspects) if (written := match[0]) not in known and _tells(written))


def _is_odd(token: str) -> bool:
    """Whether a run of letters and marks may be a word in disguise: most are plain words or numbers."""
    if token.isalpha():
        return _DRAWN_OUT.search(token) is not None or (not token.isascii() and _ASCII.search(token) is not None)
    return _ASCII.search(token) is not None or not token.isascii()


def _tells(written: str) -> bool:
    """Whether enough letters of a disguised word stand there to know it by: half of them."""
    letters = sum(map(str.isalpha, written))
    return 2 * letters >= letters + sum(each.isdigit() or each in _STAR for each in written)


@lru_cache(maxsize=8)
def _patterns(bad_words: tuple[str, ...]) -> tuple[Glossary, re.Pattern[str] | None]:
    words = sorted({word.casefold().strip() for word in bad_words if _WORD.fullmatch(word.strip())}, key=len, reverse=True)
    joined = "|".join(map(_disguised, words))
    return Glossary(dict.fromkeys(bad_words, "")), re.compile(rf"(?<![\w*#@$])(?:{joined})(?![\w*#@$])", re.I) if words else None


def _disguised(word: str) -> str:
    """The pattern of a word in disguise: its letters drawn out or replaced, a mark between some, or the same mark between all."""
    long = len(word) >= _DISGUISED
    letters = [_letter(letter, long=long, first=not place) for place, letter in enumerate(word)]
    between = "[-_.]?" if long else ""
    apart = "".join(rf"(?:(?P=sep_{_name(word)}){letter})" for letter in letters[2:])
    return f"{between.join(letters)}|{letters[0]}(?P<sep_{_name(word)}>[ ._*-]){letters[1]}{apart}"


def _name(word: str) -> str:
    return word.encode().hex()


def _letter(letter: str, *, long: bool, first: bool) -> str:
    """The pattern of a letter and of what stands for it; in a `long` word it may be drawn out, which is three times or more."""
    others = _SIGNS.get(letter, "") + _LOOKS.get(letter, "")
    if long:
        others += _DIGITS.get(letter, "") + ("" if first else _STAR)
    one = f"[{re.escape(letter + others)}]"
    return rf"(?:{one}|{re.escape(letter)}{{3,}})" if long else one
