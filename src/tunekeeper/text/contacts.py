"""What leads to a person: e-mail addresses, telephone numbers, IP addresses.

The exact finders and their filters stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import ipaddress
import re

from tunekeeper.text.keys import longest
from tunekeeper.text.numbers import CODE_BEFORE, ESCAPE, NOT_IN_A_NAME, Span

# ---- e-mail ----

_AT = re.compile(r"[@\uff20]|%40|[ \u00a0]?[\[({<] ?(?i:at|@) ?[\])}>] ?|(?<=[^\W_])(?i: at )(?=[\w\-]{1,63}(?i: dot ))")
_SIGNS_OF_LOCAL = ".%+'!#$&*/=?^`{|}~-"
_LOCAL_BACK = re.compile(rf"[0-9A-Za-z_\u00c0-\u1fff{_SIGNS_OF_LOCAL}]{{1,64}}|[\w{_SIGNS_OF_LOCAL}]{{1,64}}|\"[^\"\n]{{1,62}}\"")
"""The part before the sign, read from right to left; of a script without blanks only where nothing else is there."""
_DOT = r"(?:\.| ?[\[({<] ?(?i:dot|punkt|\.) ?[\])}>] ?)"
_DOMAIN = re.compile(
    rf"[\w-]{{1,63}}(?:{_DOT}[\w-]{{1,63}}){{0,8}}{_DOT}(?:(?:xn--[\w-]{{2,59}}|[A-Za-z]{{2,24}})(?!_?[0-9A-Za-z])|[^\W\d_]{{2,24}}(?!_?[^\W_]))|\[?\d{{1,3}}(?:\.\d{{1,3}}){{3}}\]?"
)
_LEADING = ".'`/={|}*&!?#"
"""Signs that a local part may hold and seldom begins with."""
_SPELLED = re.compile(
    r"[\w-]{1,63}(?i:(?: dot [\w-]{1,63}){0,4} dot (?:com|org|net|edu|gov|info|io|eu|de|at|ch|fr|nl|be|it|es|pt|pl|se|no|dk|fi|"
    r"ie|uk|us|ca|au|nz|in|jp|br|mx|ru|me|dev|app|ai))(?!\w)"
)
EMAIL_FILTER = (
    rb"@|\xef\xbc\xa0|\\u[fF][fF]20|%40|[\[({<] ?(?i:at) ?[\])}>]|(?i: at (?:[A-Za-z0-9_\-\x80-\xff]|\\u[0-9A-F]{4})+ dot )"
)


def emails(text: str) -> list[Span]:
    """Where e-mail addresses stand, the `@` written out as `[at]`, `(at)`, `%40` or ` at … dot …` included."""
    spans: list[Span] = []
    for sign in _AT.finditer(text):
        start = sign.start()
        before = _LOCAL_BACK.match(text[max(0, start - 64) : start][::-1])
        if before is None:
            continue
        spelled = sign[0].lower() == " at "
        after = (_SPELLED if spelled else _DOMAIN).match(text, sign.end(), sign.end() + 320)
        local = before[0].rstrip(_LEADING)
        if spans and start - len(local) < spans[-1][1]:  # a@b.example/c@d.example: the former one's end is no part of this one
            local = text[spans[-1][1] : start].lstrip(_LEADING + "-+")
        if after is not None and local:
            spans.append((start - len(local), after.end()))
    return spans


# ---- IP addresses ----

_IPV4 = re.compile(rf"(?<![0-9A-Za-z.]){NOT_IN_A_NAME}(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?!_?[0-9A-Za-z])(?!\.\d)")
_IPV6 = re.compile(
    rf"(?<![0-9A-Za-z.])(?<![0-9A-Fa-f:]:)(?<!\A:){NOT_IN_A_NAME}[0-9A-Fa-f]{{0,4}}(?::[0-9A-Fa-f]{{0,4}}){{2,7}}"
    r"(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?!_?[0-9A-Za-z]|:)(?!\.\d)"
)
_GIVEN_OUT = re.compile(
    r"[23][0-9a-f]{3}:|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:|64:ff9b:|100::|5f00:|::.*[:.]", re.IGNORECASE
)
"""How addresses begin that are in use (IANA's registry); a double colon between other numbers is code."""
_VERSION_BEFORE = re.compile(
    r"(?:\bv|version|release|build|firmware|\b(?:section|chapter|clause|paragraph|article|abschnitt|kapitel|ziffer|oid)s?|§)\W{0,2}\Z",
    re.IGNORECASE,
)
"""What is numbered by parts as well: versions, and the sections of a document."""
IP_FILTER = rb"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|::|(?::[0-9A-Fa-f]{1,4}){6}"


def addresses(text: str) -> list[Span]:
    """Where IP addresses stand; the four numbers of a version are none, nor is a slice such as `a[10::2]`."""
    spans = [
        m.span()
        for m in _IPV4.finditer(text)
        if _is_ip(m[0]) and not _VERSION_BEFORE.search(text, max(0, m.start() - 14), m.start())
    ]
    return longest(spans + [m.span() for m in _IPV6.finditer(text) if _looks_v6(m[0]) and _is_ip(m[0])])


def _looks_v6(text: str) -> bool:
    """Not two names or numbers around a double colon, which is code, nor eight pairs, which name a network card."""
    mixed = any(c in "abcdefABCDEF" for c in text) or text.count(":") == 7 or len(text.partition(":")[0]) > 3
    real = _GIVEN_OUT.match(text) is not None if "::" in text else any(len(part) > 2 for part in text.split(":"))
    return len(text) > 4 and mixed and real and any(c.isdecimal() for c in text)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# ---- telephone ----

_GAP = r"[ \u00a0\u2009\u202f]"
_DASH = r"[.\-/\u2010-\u2014\u2212]"
_SEP = rf"(?:{_GAP}?{_DASH}{_GAP}?|{_GAP}{{1,2}})"
_COUNTRY = r"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-689]|3[578]|42|5[09]|6[7-9]|8[0578]|9[679])\d)"
_ALONE, _ENDED = rf"(?<![0-9A-Za-z.+-]){NOT_IN_A_NAME}(?<!\d )", r"(?!_?[0-9A-Za-z])(?![.,-]\d)"
_PHONES = (
    # +49 30 1234567, +1 (415) 555-0123, +49 (0)30 / 901820, 0049-30-1234567
    (8, re.compile(
        rf"(?<![0-9A-Za-z+]){NOT_IN_A_NAME}(?:(?:\+|(?<!\d )00(?={_COUNTRY}{_SEP}))[1-9]\d{{0,2}}|\((?:\+|00){_COUNTRY}\))"
        rf"{_SEP}?(?:\(\d{{1,5}}\){_SEP}?)?\d{{1,12}}(?:{_SEP}\d{{1,9}}){{0,6}}(?!\d)"
    )),
    # 00447700900123
    (11, re.compile(rf"{_ALONE}00{_COUNTRY}\d{{7,12}}(?![0-9A-Za-z_])(?![.,]\d)")),
    # 415-555-0123, (415) 555-0123, 1-415-555-0123
    (10, re.compile(
        rf"{_ALONE}(?:1[ .-])?(?:\(\d{{3}}\){_SEP}?|\d{{3}}{_DASH}|[2-9]\d{{2}}{_GAP})\d{{3}}(?:{_DASH}|{_GAP})\d{{4}}"
        r"(?![0-9A-Za-wyz_])(?![.-]\d)"
    )),
    # 030 1234567, (030) 1234567, 0170/1234567, 030 / 90 18 20, 01 23 45 67 89
    (9, re.compile(rf"{_ALONE}\(?0\d{{1,5}}\)?{_SEP}\d{{2,9}}(?:{_SEP}\d{{2,6}}){{0,4}}(?:-\d)?{_ENDED}")),
    # 8 (495) 123-45-67, 8-912-345-67-89, 0 532 123 45 67, 0(532) 123 45 67, (11) 91234-5678, 11 91234-5678,
    # 138 0013 8000
    (10, re.compile(
        rf"{_ALONE}(?:(?:8{_GAP}?\(\d{{3}}\){_GAP}?|8[ -][3-9]\d\d[ -]|0{_GAP}[2-5]\d\d{_GAP}"
        rf"|0{_GAP}?\([2-5]\d\d\){_GAP}?)\d{{3}}{_SEP}\d{{2}}{_SEP}\d{{2}}"
        rf"|(?:\(\d{{2}}\){_GAP}?\d{{4,5}}|[1-9]\d 9\d{{4}})-\d{{4}}|1[3-9]\d[ -]\d{{4}}[ -]\d{{4}}){_ENDED}"
    )),
    # (22) 345 67 89, (852) 2345 6789
    (9, re.compile(
        rf"{_ALONE}\([1-9]\d{{1,2}}\){_GAP}?(?:\d{{3}}(?:-|{_GAP})\d\d(?:-|{_GAP})\d\d|\d{{4}}{_GAP}\d{{4}}){_ENDED}"
    )),
    # 612 34 56 78
    (9, re.compile(rf"{_ALONE}[679]\d\d(?P<gap>{_GAP}|[.-])\d\d(?P=gap)\d\d(?P=gap)\d\d(?! ?\d){_ENDED}")),
    # 91 411 07 59, 22-345-67-89: no amount is grouped so
    (9, re.compile(rf"{_ALONE}[1-9]\d(?P<gap>{_GAP}|[.-])\d{{3}}(?P=gap)\d\d(?P=gap)\d\d{_ENDED}")),
    # 13912345678, 89161234567: a mobile number of China, of Russia
    (11, re.compile(rf"(?<![0-9A-Za-z_.,+/=&-])(?:1(?:3\d|4[579]|5[0-35-9]|6[2567]|7[0-8]|8\d|9[0-35-9])|89\d)\d{{8}}{_ENDED}")),
    # 620 992 877: as an amount is written too, so only where it stands by itself
    (9, re.compile(
        r"(?:(?<=\A)|(?<=\n)|(?<=[:,;(>\"'—–] )|(?<=[:,;(>\"'—–]))"
        rf"(?:5[0137]|6\d|7[1-9]|9[1-36]|4[58]|88)\d{_GAP}\d{{3}}{_GAP}\d{{3}}"
        r"(?=\Z|\n|[,;)<\"'!?]| ?[—–]|\.(?!\d))(?!,\d)"
    )),
    # 347 1234567, 347 1234 567
    (9, re.compile(rf"{_ALONE}3[2-9]\d{_GAP}(?:\d{{6,7}}|\d{{4}}{_GAP}\d{{3}}){_ENDED}")),
)  # fmt: skip
"""Fewest digits, and how they are written."""
_MOST_DIGITS = 15
_BARE = re.compile(r"(?<![0-9A-Za-z_.+-])(?:\d[ .\-/()]{0,2}){6,14}\d(?![0-9A-Za-z_])(?![.,]\d)")
_WORDS = (
    "phone", "tel", "telephone", "telefon", "mobile", "mobil", "cell", "call", "fax", "whatsapp", "sms", "ring", "reach", "dial",
    "handy", "hotline", "rufnummer", "telefono", "teléfono", "móvil", "tél", "téléphone", "portable", "cellulare", "telefoon",
    "tlf", "тел", "телефон", "wa.me", "viber",
    "anrufen", "rufen", "zurückrufen", "rückruf", "telefonnummer", "handynummer", "mobilnummer", "meine nummer",
    "appelez", "rappelez", "appeler", "rappeler", "joindre", "mon numéro", "celular", "llamar", "llámame", "llame", "mi número",
    "meu número", "telefone", "telemóvel", "ligar", "erreichen mich", "erreichst mich", "erreichen uns", "erreichbar unter",
    "mi numero", "komórka", "komórkowy",
    "chiamare", "chiamami", "chiama", "il mio numero", "bel", "bellen", "mijn nummer", "mobiel",
    "dzwonić", "zadzwonić", "zadzwoń", "telefonu", "mój numer", "puhelin", "mobilen", "τηλέφωνο", "κινητό",
    "телефону", "телефона", "позвонить", "позвоните", "звоните", "звонить", "по номеру", "мой номер",
)  # fmt: skip
_SIGNS = ("电话", "手机", "電話", "携帯", "전화", "फोन", "मोबाइल", "هاتف", "جوال", "טלפון", "נייד", "โทร")
_LETTER = "0-9A-Za-z_\u00c0-\u1fff"
_WORD = re.compile(
    rf"(?:(?<![{_LETTER}])(?:(?:{'|'.join(_WORDS)})(?: me| us| back)?(?: at| on)?|"
    rf"(?:my|our|his|her|their|contact) (?:new )?(?:number|no|nr))(?![{_LETTER}])|"
    rf"{'|'.join(_SIGNS)})([^\n\d]{{0,20}})\Z",
    re.IGNORECASE,
)
_NAMED_OTHERWISE = re.compile(
    rf"(?:(?<![{_LETTER}])(?:about|regarding|concerning|wegen)[^\w\d]*|{CODE_BEFORE.pattern})\Z", re.IGNORECASE
)
"""Between the word and the digits: what the call is about."""
_OTHERWISE = re.compile(
    rf"(?:(?<![{_LETTER}])(?:total|sum|summe|gesamt|umsatz|revenue|sales|turnover|population|einwohner|budget|betrag|amount|price|"
    rf"preis|cost|views|downloads)[^\w\d]*|{CODE_BEFORE.pattern})\Z",
    re.IGNORECASE,
)
"""Before digits that are written as a telephone number is: what they are instead."""
_A_LETTER = re.compile(r"[^\W\d_]")
_TO_OTHER = re.compile(r"(?:.*[\n\d])?", re.DOTALL)
"""All up to the last digit or end of a line."""
_EXTENSION = re.compile(r"[ ,;]{0,2}(?:x|ext\.?|extension|durchwahl|#) ?\d{1,6}(?![0-9A-Za-z_])", re.IGNORECASE)
_DATE = re.compile(
    r"(?:(?:1[6-9]|2[01])\d\d[.\-/ ]\d{1,2}[.\-/ ]\d{1,2}"
    r"|(?:0?[1-9]|[12]\d|3[01])[.\-/ ](?:0?[1-9]|1[0-2])[.\-/ ](?:\d{2}|\d{4}))(?!\d)"
)
_PAIRS = re.compile(r"0\d(?:([ .\-])\d\d)(?:\1\d\d){3}")
"""01 23 45 67 89: five pairs with one sign between them are a number, whatever date the first three would make."""

_WIDE = str.maketrans("０１２３４５６７８９（）＋－．／\u3000", "0123456789()+-./ ")
"""Digits and marks as wide as a Chinese character, which Japanese keyboards write."""

# Digits of every script, by the first bytes of their UTF-8 or of their escapes.
_D = (
    rb"(?:[0-9]|[\xd9-\xdf][\x80-\xbf]|[\xe0\xe1\xea][\x80-\xbf]{2}|\xef\xbc[\x80-\xbf]|\xf0[\x80-\xbf]{3}"
    rb"|\\u(?:0[6-9A-Fa-f]|1[0-9A-Fa-f]|[Aa][0-9A-Fa-f]|[Ff][Ff])[0-9A-Fa-f]{2}|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[0-9A-Fa-f]{4})"
)
_GAPS = rb" |\xc2\xa0|\xe2\x80[\x80-\xbf]|\xe3\x80\x80|\\u00[aA]0|\\u20[0-9A-Fa-f]{2}|\\u3000"
_S = rb"(?:[./()\-]|" + _GAPS + rb"|\xe2\x88[\x80-\xbf]|\xef\xbc[\x88-\x8f]|\\/|\\u22[0-9A-Fa-f]{2}|\\u[fF][fF]0[89a-fA-F])"
_EDGE = rb"(?:^|[^0-9A-Za-z.+\-]|" + ESCAPE + rb")"


def _bytes_of(word: str) -> bytes:
    """A word of any script, in any case, as UTF-8 or as JSON escapes."""

    def one(c: str) -> bytes:
        both = sorted({c.lower(), c.upper()})
        return b"(?:" + b"|".join(form for v in both for form in (v.encode(), rb"\\u%04x" % ord(v))) + b")"

    return b"".join(c.encode() if c.isascii() else one(c) for c in word)


_NAMED = b"|".join(_bytes_of(word) for word in (*_WORDS, *_SIGNS, "number", " no", " nr"))
_THING = rb"(?:[^0-9\x22\\\n]|\\[^u\x22]|\\u[0-9A-Fa-f]{4})*"
PHONE_FILTER = rb"|".join(
    (
        rb"\+" + _D + rb"(?:" + _S + rb"*" + _D + rb"){7}",
        rb"(?:^|[^0-9A-Za-z+]|" + ESCAPE + rb")00(?:" + _S + rb"*" + _D + rb"){6}",
        _EDGE + rb"\(?0" + _D + rb"(?:" + _S + rb"*" + _D + rb"){7}",
        _EDGE + rb"(?:[18]" + _S + rb"*)?\(?" + _D + rb"{3}\)?" + _S + rb"*" + _D + rb"{3}" + _S + rb"+" + _D + rb"{2}"
        rb"(?:" + _S + rb"*" + _D + rb"){2}",
        _EDGE + rb"(?:\(" + _D + rb"{2}\)|" + _D + rb"{2} )" + _S + rb"*" + _D + rb"{4,5}" + _S + _D + rb"{4}",
        _EDGE + rb"\(" + _D + rb"{2,3}\)" + _S + rb"*" + _D + rb"{3}(?:" + _S + rb"*" + _D + rb"){4}",
        _EDGE + rb"[679]%b{2}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}" % (_D, _GAPS, _D, _GAPS, _D, _GAPS, _D),
        _EDGE + rb"1" + _D + rb"{2}" + _S + _D + rb"{4}" + _S + _D + rb"{4}",
        _EDGE + rb"(?:0(?:%b)%b{3}|3%b{2})(?:%b)%b{3}(?:%b*%b){3}" % (_GAPS, _D, _D, _GAPS, _D, _S, _D),
        _EDGE + rb"%b{2}(?:%b|[.\-])%b{3}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}" % (_D, _GAPS, _D, _GAPS, _D, _GAPS, _D),
        _EDGE + rb"[18]" + _D + rb"{10}",
        _EDGE + rb"[4-9]%b{2}(?:%b)%b{3}(?:%b)%b{3}" % (_D, _GAPS, _D, _GAPS, _D),
        rb"(?:\xef\xbc[\x88\x8b\x90-\x99]|\\u[fF][fF](?:08|0[bB]|1[0-9]))(?:" + _S + rb"*" + _D + rb"){7}",
        rb"(?i:" + _NAMED + rb")" + _THING + rb"(?:\\?\x22" + _THING + rb"){0,2}" + _D + rb"(?:" + _S + rb"{0,2}" + _D + rb"){6}",
    )
)


def phones(text: str) -> list[Span]:
    """Where telephone numbers stand: written as such, or bare digits after a word that says so; not what is named otherwise, such
    as an ISBN or the order that somebody calls about."""
    text = text if text.isascii() else text.translate(_WIDE)
    spans: list[Span] = []
    for low, pattern in _PHONES:
        for match in pattern.finditer(text):
            end, digits = _trimmed(match)
            fits = low <= digits <= _MOST_DIGITS and not _is_date(match[0].lstrip("("))
            if fits and (match[0].lstrip("(").startswith("+") or not _is_named_otherwise(text, match.start())):
                spans.append(_extended(text, (match.start(), end)))
    for match in _BARE.finditer(text):
        said = _said_before(text, match.start())
        if said is not None and said[1].count('"') <= 2 and not _NAMED_OTHERWISE.search(said[1]) and not _is_date(match[0]):
            spans.append(_extended(text, match.span()))
    return longest(spans)


def _is_named_otherwise(text: str, start: int) -> bool:
    """Whether the digits from `start` on are named as something else. In a table of numbers there is no letter that could."""
    first = max(0, start - 32)
    return _A_LETTER.search(text, first, start) is not None and _OTHERWISE.search(text, first, start) is not None


def _said_before(text: str, start: int) -> re.Match[str] | None:
    """The word before the digits from `start` on that makes them a number of somebody; it stands behind all other digits."""
    other = _TO_OTHER.match(text, max(0, start - 48), start)
    first = start if other is None else other.end()
    return _WORD.search(text, first, start) if _A_LETTER.search(text, first, start) is not None else None


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    """The end of a match without the last groups that would make it longer than a number can be (ITU-T E.164), and its digits."""
    end, text = match.end(), match[0]
    while (digits := sum(map(str.isdecimal, text))) > _MOST_DIGITS:
        shorter = text.rstrip("0123456789")
        if shorter == text:
            break
        text = shorter.rstrip(" .-/\u00a0\u2009\u202f\u2010\u2011\u2012\u2013\u2014\u2212()")
        end = match.start() + len(text)
    return end, digits


def _is_date(text: str) -> bool:
    return _DATE.match(text) is not None and _PAIRS.fullmatch(text) is None


def _extended(text: str, span: Span) -> Span:
    extension = _EXTENSION.match(text, span[1])
    return span if extension is None else (span[0], extension.end())
