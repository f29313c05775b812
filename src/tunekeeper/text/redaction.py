"""Redaction of personal data and secrets: e-mail, phone, card, IBAN, IP address, keys.

Every expression is bounded or begins where its own class cannot go on to the left, so that the time grows with the length of the
text and no input makes it explode; numbers are confirmed by their check digits. Names and postal addresses are not structured
kinds: this file does not look for them.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import re2

from tunekeeper.core.errors import ConfigError

KINDS = ("key", "email", "iban", "card", "ip", "phone")
"""In the order they are looked for: the longer and the checked ones first."""

Span = tuple[int, int]
_IBAN_TABLE = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18
    FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20
    LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24
    SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""
_IBAN_LENGTH = {entry[:2]: int(entry[2:]) for entry in _IBAN_TABLE.split()}
"""Country → characters of its IBAN, from the ISO 13616 registry."""

_LOCAL = re.compile(r"[\w.%+'!#$&*/=?^`{|}~-]{1,64}\Z")
_DOMAIN = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[^\W\d_]{2,24}(?![\w])|\[?\d{1,3}(?:\.\d{1,3}){3}\]?")
_DIGITS = re.compile(r"(?<![\w.,])\d(?:[ \-\u00a0]?\d){12,30}(?![\w])(?![.,]\d)")
_DIGIT_RUN = re.compile(r"\d+")
MOST_RUNS = 2_000
"""Long runs of digits of one text that are looked at for cards; further ones are taken for such as they are. A text with more is
a table of numbers or made to cost time, and whoever writes the log may not stand still for seconds."""
_CARD_GROUPS = {(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 5), (6, 13)}
_ISSUERS = (
    (4000, 4999, (13, 16, 19)),
    (5100, 5599, (16,)),
    (2221, 2720, (16,)),
    (3400, 3499, (15,)),
    (3700, 3799, (15,)),
    (3000, 3059, (14, 16, 19)),
    (3600, 3699, (14, 16, 19)),
    (3800, 3999, (14, 16, 19)),
    (3528, 3589, (16, 17, 18, 19)),
    (6000, 6999, (16, 17, 18, 19)),
    (5000, 5099, (13, 16, 18, 19)),
    (5600, 5899, (13, 16, 18, 19)),
)
"""First four digits, from and to, and the lengths that issuers of that range use."""
_LENGTHS: dict[str, frozenset[int]] = {}
"""First four digits → lengths, worked out from it."""
for _low, _high, _sizes in _ISSUERS:
    for _lead in range(_low, _high + 1):
        _LENGTHS[f"{_lead:04}"] = _LENGTHS.get(f"{_lead:04}", frozenset()).union(_sizes)
_TWICE = str.maketrans("0123456789", "0246813579")
"""Digit → digit sum of its double."""
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \-\u00a0]?[A-Za-z0-9]){11,30}")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w)(?!\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![\w:])")
_VERSION_BEFORE = re.compile(r"(?:\bv|version|release|build|firmware)\W{0,2}\Z", re.IGNORECASE)

_PHONES = (
    # +49 30 1234567, +1 (415) 555-0123, 0049-30-1234567
    re.compile(
        r"(?<![\w+])(?:\+\d{1,3}|00[1-9]\d{0,2}(?=[ .\-(/]))[ .\-/\u00a0]?(?:\(\d{1,5}\)[ .\-/\u00a0]?)?"
        r"\d{1,12}(?:[ .\-/\u00a0]\d{1,9}){0,6}"
    ),
    # 415-555-0123, (415) 555-0123, 1-415-555-0123
    re.compile(r"(?<![\w.+-])(?<!\d )(?:1[ .-])?(?:\(\d{3}\)[ .-]?|\d{3}[.-]|[2-9]\d{2} )\d{3}[ .-]\d{4}(?![^\Wx])(?![.-]\d)"),
    # 030 1234567, (030) 1234567, 0170/1234567, 01 23 45 67 89
    re.compile(r"(?<![\w.+-])(?<!\d )\(?0\d{1,5}\)?[ /.\-\u00a0]\d{2,9}(?:[ .\-\u00a0]\d{2,6}){0,4}(?![\w])(?![.,-]\d)"),
)
_PHONE_BARE = re.compile(r"(?<![\w.+-])(?:\d[ .\-/()]{0,2}){6,14}\d(?![\w])(?![.,]\d)")
_PHONE_WORD = re.compile(
    r"\b(?:phone|tel|telephone|telefon|mobile|mobil|cell|call(?: me| us| back)?(?: at| on)?|fax|whatsapp|sms|ring|"
    r"reach(?: me| us)?(?: at| on)|dial|handy|hotline)\b[^\n\d]{0,20}\Z",
    re.IGNORECASE,
)
_EXTENSION = re.compile(r" ?(?:x|ext\.?) ?\d{1,6}(?!\w)")
_DATE = re.compile(r"(?:\d{4}[.\-/ ]\d{1,2}[.\-/ ]\d{1,2}|\d{1,2}[.\-/ ]\d{1,2}[.\-/ ](?:\d{2}|\d{4}))(?!\d)")

_KEY = re.compile(
    r"(?<![A-Za-z0-9_\-])(?:"
    r"(?:sk|pk|rk|tk|ak)[-_][A-Za-z0-9_\-]{16,512}"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_\-]{16,255}|npm_[A-Za-z0-9]{30,64}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{30,64}|hf_[A-Za-z0-9]{20,64}|xox[abeoprs]-[A-Za-z0-9\-]{10,255}"
    r"|SG\.[A-Za-z0-9_\-]{16,64}\.[A-Za-z0-9_\-]{16,64}|eyJ[A-Za-z0-9_\-]{8,4096}\.eyJ[A-Za-z0-9_\-]{8,8192}\.[A-Za-z0-9_\-]{8,2048}"
    r"|dop_v1_[a-f0-9]{64}|ya29\.[A-Za-z0-9_\-]{20,512}"
    r")(?![A-Za-z0-9_\-])"
)
_BEARER = re.compile(
    r"\b(?:[Bb]earer|[Aa]pi[-_ ]?[Kk]ey|API[-_ ]?KEY|[Ss]ecret|[Tt]oken|[Pp]assword)(?:\s{0,3}[:=]\s{0,3}|\s)[\"']?"
    r"([A-Za-z0-9_\-./+=]{16,512})"
)
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
_PEM_END = re.compile(r"-----END [A-Z ]{0,30}PRIVATE KEY-----")

# ---- the filter before them ----
#
# One pass of RE2 over the bytes says which kinds could be there at all; the exact expressions run for those only. It must never
# say no where an exact one hits, in a plain text as in the same text inside JSON, so it looks at less: no checks on what follows,
# any byte that is not ASCII stands for any letter or blank, and an escape is whatever it could be.

_ESCAPED = rb"\\u00[0-7]"  # ASCII written as an escape could be anything
_BEFORE = rb"(?:^|[^0-9A-Za-z_.,]|\\[bfnrt]|\\u[0-9A-Fa-f]{4})"
_JOINT = rb"(?:[ \-]|\xc2\xa0|\\u00[aA]0)?"
_WORD = rb"[A-Za-z0-9_\-]"
_KEY_FILTER = rb"(?:^|[^0-9A-Za-z_\-]|\\[bfnrt]|\\u[0-9A-Fa-f]{4})(?:" + rb"|".join(
    (
        rb"(?:sk|pk|rk|tk|ak)[-_]" + _WORD + rb"{16}",
        rb"gh[pousr]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|glpat-" + _WORD + rb"{16}|npm_[A-Za-z0-9]{30}",
        rb"(?:AKIA|ASIA)[0-9A-Z]{16}|AIza" + _WORD + rb"{30}|hf_[A-Za-z0-9]{20}|xox[abeoprs]-[A-Za-z0-9\-]{10}",
        rb"SG\." + _WORD + rb"{16}|eyJ" + _WORD + rb"{8}|dop_v1_[a-f0-9]{64}|ya29\." + _WORD + rb"{20}",
    )
) + rb")"  # fmt: skip
_BEARER_FILTER = (
    rb"(?:[Bb]earer|[Aa]pi[-_ ]?[Kk]ey|API[-_ ]?KEY|[Ss]ecret|[Tt]oken|[Pp]assword)"
    rb"(?:[\x00-\x20:=\x22\x27\x80-\xff]|\\[bfnrt\x22]|\\u[0-9A-Fa-f]{4})+(?:[A-Za-z0-9_\-./+=]|\\/){16}"
)
# Digits of every script, by the first bytes of their UTF-8 or of their escapes.
_DIGIT_FILTER = (
    rb"(?:[0-9]|[\xd9-\xdf][\x80-\xbf]|[\xe0\xe1\xea][\x80-\xbf]{2}|\xef\xbc[\x80-\xbf]|\xf0[\x80-\xbf]{3}"
    rb"|\\u(?:0[6-9A-Fa-f]|1[0-9A-Fa-f]|[Aa][0-9A-Fa-f]|[Ff][Ff])[0-9A-Fa-f]{2}|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[0-9A-Fa-f]{4})"
)
_FILTERS = {
    "key": rb"|".join((_KEY_FILTER, _BEARER_FILTER, rb"-----BEGIN ")),
    "email": rb"@",
    "iban": rb"(?:^|[^A-Za-z0-9]|\\[bfnrt]|\\u[0-9A-Fa-f]{4})(?i:"
    + "|".join(sorted(_IBAN_LENGTH)).encode()
    + rb")[0-9]{2}(?:"
    + _JOINT
    + rb"[A-Za-z0-9]){11}",
    "card": _BEFORE + rb"[2-6](?:" + _JOINT + rb"[0-9]){12}",
    "ip": rb"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|:[0-9A-Fa-f]{0,4}:",
    "phone": _DIGIT_FILTER + rb"(?:(?:[ .\-/()]|\xc2\xa0|\\/|\\u00[aA]0){0,2}" + _DIGIT_FILTER + rb"){6}",
}
_SHORTEST = 5
"""No kind is shorter."""


@lru_cache(maxsize=64)
def _filter_of(kinds: tuple[str, ...]) -> Callable[[bytes], list[int] | None]:
    """Bytes → places in `kinds` of those that could be in them."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    both = re2.Set.SearchSet(options)
    for kind in kinds:
        both.Add(_FILTERS[kind] + rb"|" + _ESCAPED)
    both.Compile()
    match: Callable[[bytes], list[int] | None] = both.Match
    return match


class Redactor:
    """Replaces what it finds with placeholders such as `[EMAIL]`; the same text always gives the same result."""

    def __init__(self, kinds: Iterable[str] = KINDS) -> None:
        """`kinds`: which of `KINDS` to look for. Raises ConfigError for another name."""
        wanted = tuple(kinds)
        unknown = [kind for kind in wanted if kind not in KINDS]
        if unknown:
            raise ConfigError(f"no kind of personal data is called {unknown[0]!r}", fix=f"choose from {', '.join(KINDS)}")
        self.kinds = tuple(kind for kind in KINDS if kind in wanted)
        self.hints = _filter_of(self.kinds)
        """Bytes of a text in UTF-8, or of one inside JSON → places in `kinds` of those that could be in it; None: nothing to
        redact, for certain. For callers that would have to parse it first: about 2 ns a byte."""

    def may_hold(self, data: bytes) -> bool:
        """Whether `data` could hold anything to redact, as `hints` says."""
        return self.hints(data) is not None

    def redact(self, text: str) -> tuple[str, dict[str, int]]:
        """The text with placeholders, and kind → number of replacements; the text itself when there is nothing to replace."""
        spans = self.find(text)
        if not spans:
            return text, {}
        pieces, at = [], 0
        for start, end, kind in spans:
            pieces += [text[at:start], f"[{kind.upper()}]"]
            at = end
        pieces.append(text[at:])
        return "".join(pieces), dict(Counter(kind for _, _, kind in spans))

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Start, end and kind of everything found, in order, without overlaps; an earlier kind of `KINDS` wins."""
        if len(text) < _SHORTEST:
            return []
        hinted = self.hints(text.encode("utf-8", "surrogatepass"))
        if hinted is None:
            return []
        taken: list[tuple[int, int, str]] = []
        for place in sorted(hinted):
            kind = self.kinds[place]
            fresh = _FINDERS[kind](text)
            if fresh:
                taken = _merge(taken, fresh, kind)
        return taken

    def redact_json(self, value: Any) -> tuple[Any, dict[str, int]]:
        """A JSON value with every string in it redacted (keys of objects stay); the same value when nothing was found."""
        counts: Counter[str] = Counter()
        return self._walk(value, counts, 0), dict(counts)

    def _walk(self, value: Any, counts: Counter[str], depth: int) -> Any:
        if isinstance(value, str):
            text, found = self.redact(value)
            counts.update(found)
            return text
        if depth > 200:
            return "[TOO DEEP]"
        if isinstance(value, dict | Mapping):  # a plain dict first: asking Mapping costs a microsecond
            changed = {key: self._walk(item, counts, depth + 1) for key, item in value.items()}
            return changed if any(changed[key] is not value[key] for key in changed) else value
        if isinstance(value, list | tuple):
            items = [self._walk(item, counts, depth + 1) for item in value]
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else type(value)(items)
        return value


def _merge(taken: list[tuple[int, int, str]], fresh: list[Span], kind: str) -> list[tuple[int, int, str]]:
    merged: list[tuple[int, int, str]] = []
    queue = iter(sorted(fresh))
    span = next(queue, None)
    for old in taken:
        while span is not None and span[0] < old[1]:
            clear = span[1] <= old[0] and (not merged or merged[-1][1] <= span[0])
            if clear:
                merged.append((*span, kind))
            span = next(queue, None)
        merged.append(old)
    while span is not None:
        if not merged or merged[-1][1] <= span[0]:
            merged.append((*span, kind))
        span = next(queue, None)
    return merged


def _emails(text: str) -> list[Span]:
    spans: list[Span] = []
    at = text.find("@")
    while at != -1:
        before = _LOCAL.search(text[max(0, at - 64) : at])
        after = _DOMAIN.match(text, at + 1, at + 320)
        if before is not None and after is not None:
            local = before[0].lstrip(".'`/={|}*&!?#")
            if local:
                spans.append((at - len(local), after.end()))
        at = text.find("@", at + 1)
    return spans


def _cards(text: str) -> list[Span]:
    runs = [match.span() for match in _DIGITS.finditer(text)]
    exact, beyond = runs[:MOST_RUNS], runs[MOST_RUNS:]
    return [span for run in exact for span in _cards_in(text, run)] + beyond


def _cards_in(text: str, within: Span) -> list[Span]:
    """A run of digit groups may hold a card between other numbers, as in `4111 1111 1111 1111 12`: try every usual grouping."""
    groups = [m.span() for m in _DIGIT_RUN.finditer(text, *within)]
    spans: list[Span] = []
    first = 0
    while first < len(groups):
        last = None
        if text[groups[first][0]] in "23456":  # no issuer's number begins otherwise
            last = next(
                (n for n in range(min(first + 5, len(groups)), first, -1) if _is_card_groups(text, groups[first:n])), None
            )
        if last is not None:
            spans.append((groups[first][0], groups[last - 1][1]))
        first = last or first + 1
    return spans


def _is_card_groups(text: str, groups: list[Span]) -> bool:
    usual = len(groups) == 1 or tuple(end - start for start, end in groups) in _CARD_GROUPS
    return usual and is_card(text[groups[0][0] : groups[-1][1]])


def is_card(number: str) -> bool:
    """Whether `number` is a payment card's: 13 to 19 digits as its issuer uses, a valid Luhn check (ISO/IEC 7812-1)."""
    compact = number if number.isdecimal() else "".join([c for c in number if c.isdecimal()])
    if not compact.isascii() or len(compact) not in _LENGTHS.get(compact[:4], ()):
        return False
    return (sum(map(int, compact[-2::-2].translate(_TWICE))) + sum(map(int, compact[::-2]))) % 10 == 0


def _ibans(text: str) -> list[Span]:
    spans: list[Span] = []
    match = _IBAN.search(text)
    while match is not None:
        length = _IBAN_LENGTH.get(match[0][:2].upper())
        size = _nth_alphanumeric(match[0], length) if length is not None else None
        end = match.start() + (size or 0)
        found = size is not None and is_iban(match[0][:size]) and not text[end : end + 1].isalnum()
        if found:
            spans.append((match.start(), end))
        match = _IBAN.search(text, end if found else match.start() + 4)
    return spans


def _nth_alphanumeric(text: str, n: int) -> int | None:
    seen = 0
    for index, c in enumerate(text):
        seen += c.isalnum()
        if seen == n:
            return index + 1
    return None


def is_iban(number: str) -> bool:
    """Whether `number` has its country's length and a remainder of 1 modulo 97 (ISO 13616)."""
    compact = "".join(c for c in number if c.isalnum()).upper()
    if not compact.isascii() or len(compact) != _IBAN_LENGTH.get(compact[:2]):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _addresses(text: str) -> list[Span]:
    spans = [
        m.span()
        for m in _IPV4.finditer(text)
        if _is_ip(m[0]) and not _VERSION_BEFORE.search(text, max(0, m.start() - 12), m.start())
    ]
    return spans + [m.span() for m in _IPV6.finditer(text) if len(m[0]) > 4 and _is_ip(m[0])]


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _phones(text: str) -> list[Span]:
    spans: list[Span] = []
    for pattern, low in zip(_PHONES, (8, 10, 9), strict=True):
        for match in pattern.finditer(text):
            digits = sum(c.isdecimal() for c in match[0])
            if low <= digits <= 15 and not _DATE.match(match[0].lstrip("(")):
                spans.append(_extended(text, match.span()))
    for match in _PHONE_BARE.finditer(text):
        told = _PHONE_WORD.search(text, max(0, match.start() - 40), match.start())
        if told is not None and not _DATE.match(match[0]):
            spans.append(_extended(text, match.span()))
    return _longest(spans)


def _extended(text: str, span: Span) -> Span:
    extension = _EXTENSION.match(text, span[1])
    return span if extension is None else (span[0], extension.end())


def _longest(spans: list[Span]) -> list[Span]:
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def _keys(text: str) -> list[Span]:
    spans = [m.span() for m in _KEY.finditer(text)]
    spans += [m.span(1) for m in _BEARER.finditer(text) if any(c.isdecimal() for c in m[1]) and any(c.isalpha() for c in m[1])]
    at = 0
    while (begin := _PEM.search(text, at)) is not None:
        end = _PEM_END.search(text, begin.end())
        at = len(text) if end is None else end.end()
        spans.append((begin.start(), at))
    return _longest(spans)


_FINDERS: dict[str, Callable[[str], list[Span]]] = {
    "key": _keys,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ip": _addresses,
    "phone": _phones,
}
