"""Which language a text is in, told by its script and its most common little words: small, and silent where it is not sure.

It knows 27 languages. Of code, of names, and of a text with fewer than three such words in letters that many languages share,
it says nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Language
from tunekeeper.data.examples import parsed
from tunekeeper.data.findings import Finding, finding
from tunekeeper.text.fingerprints import answer_of, text_of
from tunekeeper.text.vocabulary import words

KNOWN: tuple[str, ...] = get_args(Language)
LEAST_HITS = 3
"""Little words of a language below which nothing is said."""
LEAST_SHARE = 0.12
"""Part of all words that these must be."""
LEAD = 1.5
"""How many times as many as of the next language."""

LOOKED_AT = 600
"""Characters of a question or an answer by which their languages are compared."""
LEAST_TOLD = 20
"""Rows whose question and answer have a known language, below which nothing is said of their switching."""
MOST_SWITCHED = 0.1
"""Part of these rows above which switching is what they are about (translation)."""

_SCRIPTS = {
    "kana": re.compile("[\u3040-\u30ff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "han": re.compile("[\u4e00-\u9fff]"),
    "cyrillic": re.compile("[\u0400-\u04ff]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "latin": re.compile("[A-Za-z\u00c0-\u024f]"),
}
_CYRILLIC = {"uk": re.compile("[іїєґІЇЄҐ]"), "ru": re.compile("[ыэёЫЭЁ]")}
"""Letters that one of them has and the other has not: a text without them may be in either, or in Bulgarian."""
_NEITHER = re.compile("[ђјљњћџѓќѕўЂЈЉЊЋЏЃЌЅЎ]")
"""Letters of Serbian, Macedonian and Belarusian."""
_QUOTED = re.compile('「[^「」]*」|『[^『』]*』|[“"][^“”"]*[”"]')
"""What a question may name in a language of its own."""
_LITTLE = {
    "en": "the and is are was to of in for with that this it you we my your not have has be on at can please from what when i a "
    "as do no me or an by if so",
    "de": "der die das und ist nicht ich sie wir ein eine mit auf für zu den dem von es wie haben kann bitte auch mein meine ihr",
    "fr": "le la les et est pas je vous nous un une avec pour dans de des du que qui sur mon ma votre être avez au ne ce",
    "es": "el la los las y es no yo usted un una con para en de del que por mi su está se lo como al me",
    "it": "il lo la gli e è non io un una con per in di del della che mio mia si sono come ho al nel questo",
    "pt": "o a os as e é não eu você um uma com para em de do da que por meu minha se está como ao no na",
    "nl": "de het een en is niet ik u wij we met voor in van dat op te mijn uw zijn kan hebben er aan deze",
    "sv": "och är inte jag ni vi en ett med för i av att på min som det den har kan till från om",
    "da": "og er ikke jeg vi en et med for i af at på min som det den har kan til fra om de",
    "pl": "i jest nie ja w na z do się to że jak mój moja dla po od za czy proszę są o tak mam",
    "cs": "je se na že jsem jak pro ale nebo jako mohu prosím můj moje vaše není aby když která který jsou můžete kde už by v",
    "fi": "ja on ei se että olen minun voi kuin tai miten mutta missä ole voit jos mikä niin sen ovat myös kun minä te",
    "hu": "és az nem hogy van egy meg ez mert vagy kell kérem hol azt már csak ha még lesz volt nincs tudom is de a",
    "id": "yang dan di untuk tidak ini itu dengan saya anda dari akan ke bisa adalah pada apa bagaimana sudah belum karena mana",
    "ro": "și este nu în pentru cu pe din care mai sunt poate dacă mea meu dumneavoastră vă la un o că fi să când unde am ați",
    "tr": "ve bir bu için ile nasıl değil var yok olarak gibi daha çok lütfen benim ancak ama ne mi mı kadar sonra olan",
    "vi": "của và là không có cho bạn tôi được với này các những một trong để đã sẽ ở nào gì thể khi hàng vì",
}
_HOLDERS: dict[str, list[str]] = {}
for _code, _text in _LITTLE.items():
    for _word in set(_text.split()):
        _HOLDERS.setdefault(_word, []).append(_code)


def language_of(text: str) -> str | None:
    """The language of `text`, one of `KNOWN`; None where it cannot be told."""
    found = languages_of(text)
    return found[0] if len(found) == 1 else None


def languages_of(text: str) -> tuple[str, ...]:
    """The languages that `text` may be in, of `KNOWN`; several where it has no letter that tells them apart, none where nothing
    can be told."""
    if text.isascii():
        return _by_little_words(words(text))
    text = _QUOTED.sub("", text) if _SCRIPTS["kana"].search(text) else text
    letters = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    total = sum(letters.values())
    if total == 0:
        return ()
    script = max(letters, key=lambda name: letters[name])
    if letters["kana"] and 2 * (letters["kana"] + letters["han"]) > total:
        return ("ja",)
    if 2 * letters[script] <= total:
        return ()
    if script == "latin":
        return _by_little_words(words(text))
    if script == "cyrillic":
        told = tuple(code for code, pattern in _CYRILLIC.items() if pattern.search(text))
        return told if len(told) == 1 and not _NEITHER.search(text) else tuple(_CYRILLIC)
    return ({"han": "zh"}.get(script, script),)


def _by_little_words(found: list[str]) -> tuple[str, ...]:
    hits = Counter(code for word in found for code in _HOLDERS.get(word, ()))
    ranked = hits.most_common(2)
    if not ranked or ranked[0][1] < max(LEAST_HITS, LEAST_SHARE * len(found)):
        return ()
    return (ranked[0][0],) if len(ranked) == 1 or ranked[0][1] >= LEAD * ranked[1][1] else ()


def switched(examples: Iterable[Example]) -> list[Finding]:
    """A finding for each row that is answered in another language than it asks in, in a set where hardly any row is."""
    told = 0
    odd: list[tuple[Example, str, str]] = []
    for example in examples:
        answer = answer_of(example.messages)
        asked = next((text_of(m.get("content")) for m in reversed(example.messages) if m.get("role") == "user"), "")
        a = language_of(asked[:LOOKED_AT])
        b = None if a is None or parsed(answer) is not None else language_of(answer[:LOOKED_AT])
        told += b is not None
        if b is not None and a is not None and a != b:
            odd.append((example, a, b))
    if told < LEAST_TOLD or len(odd) > MOST_SWITCHED * told:
        return []
    share = f"{told - len(odd)} of {told} rows are answered in the language they ask in"
    return [finding("language", example, f"asked in {a}, answered in {b}; {share}") for example, a, b in odd]
