"""Shingles: the overlapping runs of three words by which two texts are compared, in any script.

Case, punctuation, apostrophes, compatibility forms and the points of Arabic and Hebrew do not count. Scripts that are written
without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are taken letter by letter: a shingle is a run of three there.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

SIZE = 3
"""Words of a shingle."""
_ASCII = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)} | dict.fromkeys(map(ord, "'"))
_DROPPED = re.compile(
    "['’ʼ\u00ad\u200b-\u200d\u2060\ufeff\u0640\u064b-\u0652\u0670\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"
)
"""Apostrophes, marks that nobody sees, and what Arabic and Hebrew may be written with or without: points, lengthened letters."""
_WORD = re.compile(r"[^\W_]+")
SPACELESS = "".join(
    (
        "\u0e00-\u0eff",  # Thai, Lao
        "\u1000-\u109f\u1780-\u17ff",  # Burmese, Khmer
        "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff",  # Japanese
        "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff",  # Chinese
    )
)
"""Letters of scripts without blanks between words, as the inside of a set in a pattern."""


@lru_cache(maxsize=1)
def _marks() -> str:
    """Vowel signs and accents that stay apart after NFKC: they are no `\\w`, and without them Hindi words fall to pieces."""
    places = (range(0x300, 0x1E00), range(0x20D0, 0x2100), range(0x3099, 0x309B), range(0xA66F, 0xAC00))
    return "".join(chr(code) for codes in places for code in codes if unicodedata.category(chr(code)).startswith("M"))


@lru_cache(maxsize=1)
def _special() -> re.Pattern[str]:
    """What a text of words with spaces between does not hold."""
    return re.compile(f"[{SPACELESS}{_marks()}]")


@lru_cache(maxsize=1)
def _letters_or_words() -> re.Pattern[str]:
    letter = rf"[^\W_{SPACELESS}]"
    return re.compile(rf"[{SPACELESS}][{_marks()}]*|{letter}+(?:[{_marks()}]+{letter}*)*")


def tokens(text: str) -> list[str]:
    """The words of a text in order, as near duplicates are told by; letters where the script knows no spaces."""
    if not text.isascii():
        text = _DROPPED.sub("", unicodedata.normalize("NFKC", text).casefold())
    if text.isascii():
        return text.translate(_ASCII).split()
    return (_letters_or_words() if _special().search(text) else _WORD).findall(text)


def shingles(text: str) -> frozenset[str]:
    """The set of runs of three words; a text of up to three is one shingle. A text without words has none."""
    found = tokens(text)
    if not found:
        return frozenset()
    return frozenset(" ".join(found[i : i + SIZE]) for i in range(max(1, len(found) - SIZE + 1)))
