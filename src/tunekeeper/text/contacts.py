"""What leads to a person: e-mail addresses, telephone numbers, IP addresses.

The exact finders and their filters stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import ipaddress
import re

from tunekeeper.text.numbers import CODE_BEFORE, ESCAPE, NOT_IN_A_NAME, Span, bytes_of, longest

# ---- e-mail ----

_SAID_AT, _SAID_DOT = "at|arroba|chiocciola|arobase", "dot|punto|ponto|punkt"
_AT = re.compile(
    r" @ (?=[\w\-.]{1,80}\.[a-z])|[@\uff20]|%40|(?:[ \u00a0][\[({<]|[\[({<]) ?(?i:at|@) ?[\])}>] ?"
    rf"| (?i:(?:{_SAID_AT}) )(?=[\w\-]{{1,63}}(?i: (?:{_SAID_DOT}) ))"
)
_SIGNS_OF_LOCAL = ".%+'!#$&*/=?^`{|}~-"
_LOCAL_BACK = re.compile(
    rf"[0-9A-Za-z_\u00c0-\u1fff{_SIGNS_OF_LOCAL}]{{1,64}}|[\w{_SIGNS_OF_LOCAL}]{{1,64}}|\"\w(?:[^\"\n]{{0,60}}\w)?\""
)
"""The part before the sign, read from right to left; of a script without blanks only where nothing else is there."""
_DOT = r"(?:\.| ?[\[({<] ?(?i:dot|punkt|\.) ?[\])}>] ?)"
_DOMAIN = re.compile(
    rf"[\w-]{{1,63}}(?:{_DOT}[\w-]{{1,63}}){{0,8}}{_DOT}(?:(?:xn--[\w-]{{2,59}}|[A-Za-z]{{2,24}})(?!_?[0-9A-Za-z])|[^\W\d_]{{2,24}}(?!_?[^\W_]))|\[?\d{{1,3}}(?:\.\d{{1,3}}){{3}}\]?"
)
_LEADING = ".'`/={|}*&!?#"
"""Signs that a local part may hold and seldom begins with."""
_ENDINGS = (
    "com|org|net|edu|gov|info|io|eu|de|at|ch|fr|nl|be|it|es|pt|pl|se|no|dk|fi|"
    "ie|uk|us|ca|au|nz|in|jp|br|mx|ru|me|dev|app|ai|co|ar|cl|xyz"
)
"""Of the domains of addresses that are written with words or blanks, so that prose is none."""
_SPELLED = re.compile(rf"[\w-]{{1,63}}(?i:(?: (?:{_SAID_DOT}) [\w-]{{1,63}}){{0,4}} (?:{_SAID_DOT}) (?:{_ENDINGS}))(?!\w)")
_SPACED = re.compile(rf"[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{0,4}}\.(?:{_ENDINGS})(?!\.?\w)")
EMAIL_FILTER = (
    rb"@|\xef\xbc\xa0|\\u[fF][fF]20|%40|[\[({<] ?(?i:at) ?[\])}>]|(?i: (?:"
    + _SAID_AT.encode()
    + rb") (?:[A-Za-z0-9_\-\x80-\xff]|\\u[0-9A-F]{4})+ (?:"
    + _SAID_DOT.encode()
    + rb") )"
)


def emails(text: str) -> list[Span]:
    """Where e-mail addresses stand, the `@` written out as `[at]`, `(at)`, `%40` or ` at … dot …` included."""
    spans: list[Span] = []
    for sign in _AT.finditer(text):
        start = sign.start()
        before = _LOCAL_BACK.match(text[max(0, start - 64) : start][::-1])
        if before is None:
            continue
        domain = _SPACED if sign[0] == " @ " else _SPELLED if sign[0].strip().isalpha() else _DOMAIN
        after = domain.match(text, sign.end(), sign.end() + 320)
        local = before[0].rstrip(_LEADING)
        if spans and start - len(local) < spans[-1][1]:  # a@b.example/c@d.example: the former one's end is no part of this one
            local = text[spans[-1][1] : start].lstrip(_LEADING + "-+")
        if after is not None and local:
            spans.append((start - len(local), after.end()))
    return spans


# ---- IP addresses ----

_IPV4 = re.compile(rf"(?<![0-9A-Za-z.]){NOT_IN_A_NAME}(?:\d{{1,3}}(?:\.|\[\.\])){{3}}\d{{1,3}}(?!_?[0-9A-Za-z])(?!\.\d)")
_HOST_V4 = re.compile(r"(?<![0-9A-Za-z])ip-(?:\d{1,3}-){3}\d{1,3}(?![0-9A-Za-z-])")
"""As clouds call their machines."""
_IPV6 = re.compile(
    rf"(?<![0-9A-Za-z.])(?<![0-9A-Fa-f:]:)(?<!\A:){NOT_IN_A_NAME}[0-9A-Fa-f]{{0,4}}(?::[0-9A-Fa-f]{{0,4}}){{2,7}}"
    r"(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?!_?[0-9A-Za-z]|:)(?!\.\d)"
)
_GIVEN_OUT = re.compile(
    r"[23][0-9a-f]{3}:|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:|64:ff9b:|100::|5f00:|::.*[:.]", re.IGNORECASE
)
"""How addresses begin that are in use (IANA's registry); a double colon between other numbers is code."""
_VERSION_BEFORE = re.compile(
    r"\bv[. ]{0,2}\Z|(?:\bver|version|release|build|firmware|driver|"
    r"\b(?:section|chapter|clause|paragraph|article|abschnitt|kapitel|ziffer|oid)s?|§)"
    r"[\W_]{0,5}\Z"
    r"|(?:\A|[^\w.])(?!\w*(?:addr|ip\b|host|src|dst|peer|client|remote))[A-Za-z][\w\[\]\-]*[=~<>]=\Z",
    re.IGNORECASE,
)
"""What is numbered by parts as well: versions, also as packages are pinned, and the sections of a document."""
_PRODUCT_BEFORE, _ARCHIVE = (
    re.compile(r"[A-Za-z]/\Z"),
    re.compile(r"\.(?:tar|t?gz|zip|whl|jar|deb|rpm|exe|msi|dmg|nupkg|dll|so)\b"),
)
_HEADING = re.compile(r"(?:\A|[\n>\"'])[#>*\- ]{0,8}\Z")
_HEADED = re.compile(r"\.? {1,3}[A-Z][a-z]")
_MOST_SECTIONS = 30
IP_FILTER = rb"[0-9](?:\.|\[\.\])[0-9]{1,3}(?:\.|\[\.\])[0-9]{1,3}(?:\.|\[\.\])[0-9]|ip-[0-9]{1,3}-|::|(?::[0-9A-Fa-f]{1,4}){6}"


def addresses(text: str) -> list[Span]:
    """Where IP addresses stand; the four numbers of a version are none, nor is a slice such as `a[10::2]`."""
    spans = [m.span() for m in _IPV4.finditer(text) if _is_ip(m[0].replace("[.]", ".")) and not _is_version(text, m)]
    spans += [m.span() for m in _HOST_V4.finditer(text)]
    return longest(spans + [m.span() for m in _IPV6.finditer(text) if _looks_v6(m[0]) and _is_ip(m[0])])


def _is_version(text: str, four: re.Match[str]) -> bool:
    """Whether four numbers are those of a version (`v1.2.3.4`, `Chrome/99.0.0.0`, `a-1.2.3.4.tar.gz`) or head a section."""
    start, end = four.span()
    first = max(0, start - 32)
    if _VERSION_BEFORE.search(text, first, start) is not None:
        return True
    if four[0].endswith(".0.0") and _PRODUCT_BEFORE.search(text, first, start) is not None:
        return True
    if _ARCHIVE.match(text, end) is not None:
        return True
    small = not four[0].startswith("10.") and all(int(n) <= _MOST_SECTIONS for n in re.findall(r"\d+", four[0]))
    return small and _HEADED.match(text, end) is not None and _HEADING.search(text, first, start) is not None


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
_ANOTHER = rf"(?!{_GAP}[/|\u2013-]{_GAP}?0\d|/{_GAP}0\d)"
"""Not before a second number, as in `030 901820 / 0170 1234567`."""
_COUNTRY = r"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-689]|3[578]|42|5[09]|6[7-9]|8[0578]|9[679])\d)"
_ALONE, _ENDED = rf"(?<![0-9A-Za-z.+-])(?<!\d:)(?<!\d{{4}}/){NOT_IN_A_NAME}(?<!\d )", r"(?!_?[0-9A-Za-z])(?![.,-]\d)"
_NO_AMOUNT = r"(?!_?[0-9A-Za-z])(?![.-]\d)"
"""The end of what no amount is written like: a comma and a digit are the next cell of a table."""
_PHONES = (
    # +49 30 1234567, +1 (415) 555-0123, +49 (0)30 / 901820, 0049-30-1234567
    (8, re.compile(
        rf"(?<![0-9A-Za-z+]){NOT_IN_A_NAME}"
        rf"(?:(?:\+|(?<!\d )(?<!\d[.,/-])00(?!\d{{3}}-\d{{4}}(?!\d))(?={_COUNTRY}{_SEP})"
        rf"|(?<![\d)\]] )(?<!\b\w )\+ (?={_COUNTRY}{_SEP}))"
        rf"[1-9]\d{{0,2}}|\((?:\+|00){_COUNTRY}\)|\+\({_COUNTRY}\))"
        rf"{_SEP}?(?:\(\d{{1,5}}\){_SEP}?)?\d{{1,12}}(?:{_ANOTHER}{_SEP}\d{{1,9}}){{0,6}}(?!\d)"
    )),
    # 00447700900123
    (11, re.compile(rf"{_ALONE}00{_COUNTRY}\d{{7,12}}(?![0-9A-Za-z_])(?![.,]\d)")),
    # 415-555-0123, (415) 555-0123, 1-415-555-0123
    (10, re.compile(
        rf"{_ALONE}(?:1[ .-])?(?:\(\d{{3}}\){_SEP}?|\d{{3}}{_DASH}|[2-9]\d{{2}}{_GAP}(?!\d{{3}} \d{{4}} \d{{2}}))"
        rf"\d{{3}}(?:{_DASH}|{_GAP})\d{{4}}(?![0-9A-Za-wyz_])(?![.-]\d)"
    )),
    # 030 1234567, (030) 1234567, 0170/1234567, 030 / 90 18 20, 01 23 45 67 89
    # but not 02139-4307, which is a ZIP code
    (9, re.compile(
        rf"{_ALONE}(?!0\d{{4}}-\d{{4}}(?!\d))(?:\(0\d{{1,5}}\){_SEP}?|0\d{{1,5}}{_SEP})\d{{2,9}}(?:(?!/0\d){_ANOTHER}{_SEP}\d{{2,6}}){{0,4}}(?:-\d)?{_NO_AMOUNT}"
    )),
    # 08-12 30 61, 02 123 824, (06 1) 294 9969, (0-312) 81462
    (8, re.compile(
        rf"{_ALONE}(?:0\d(?:-|{_GAP})(?:\d\d{_GAP}\d\d{_GAP}\d\d|\d{{3}}{_GAP}\d{{3}})"
        rf"|\(0\d?[ -]\d{{1,3}}\){_GAP}?(?:\d{{3}}{_GAP}\d{{3,4}}|\d{{5}})){_NO_AMOUNT}"
    )),
    # 300 179 31 75
    (10, re.compile(rf"{_ALONE}[2-9]\d\d(?P<gap>{_GAP}|-)\d{{3}}(?P=gap)\d\d(?P=gap)\d\d(?! ?\d){_NO_AMOUNT}")),
    # 21 259 5002, 21 2302 0678, 918 51 605
    (8, re.compile(
        rf"{_ALONE}(?<!\+ )(?:2\d{_GAP}\d{{3,4}}{_GAP}\d{{4}}|[49]\d\d{_GAP}\d\d{_GAP}\d{{3}})(?! ?\d){_NO_AMOUNT}"
    )),
    # 8 (495) 123-45-67, 8-912-345-67-89, 0 532 123 45 67, 0(532) 123 45 67, (11) 91234-5678, 11 91234-5678,
    # 138 0013 8000
    (10, re.compile(
        rf"{_ALONE}(?:(?:8{_GAP}?\(\d{{3}}\){_GAP}?|8[ -][3-9]\d\d[ -]|0{_GAP}[2-5]\d\d{_GAP}"
        rf"|0{_GAP}?\([2-5]\d\d\){_GAP}?)\d{{3}}{_SEP}\d{{2}}{_SEP}?\d{{2}}"
        rf"|8{_GAP}?\(\d{{4,5}}\){_GAP}?\d{{1,3}}{_SEP}\d\d{_SEP}\d\d|8{_GAP}?\(7\d\d\){_GAP}?\d{{3}}{_SEP}\d{{4}}"
        rf"|(?:\(\d{{2}}\){_GAP}?\d{{4,5}}|[1-9]\d (?:9\d{{4}}|(?!(?:19|20)\d\d-(?:19|20))\d{{4}}))-\d{{4}}"
        rf"|1[3-9]\d[ -]\d{{4}}[ -]\d{{4}}){_NO_AMOUNT}"
    )),
    # (22) 345 67 89, (852) 2345 6789
    (9, re.compile(
        rf"{_ALONE}\([1-9]\d{{1,2}}\){_GAP}?(?:\d{{3}}(?:-|{_GAP})\d\d(?:-|{_GAP})\d\d|\d{{4}}{_GAP}\d{{4}}){_NO_AMOUNT}"
    )),
    # 612 34 56 78
    (9, re.compile(rf"{_ALONE}[679]\d\d(?P<gap>{_GAP}|[.-])\d\d(?P=gap)\d\d(?P=gap)\d\d(?! ?\d){_NO_AMOUNT}")),
    # 91 411 07 59, 22-345-67-89: no amount is grouped so
    (9, re.compile(rf"{_ALONE}[1-9]\d(?P<gap>{_GAP}|[.-])\d{{3}}(?P=gap)\d\d(?P=gap)\d\d{_NO_AMOUNT}")),
    # 13912345678, 89161234567: a mobile number of China, of Russia, and no number of JSON
    (11, re.compile(
        r"(?<!\": )(?<!\":)(?<![0-9A-Za-z_.,+/=&-])"
        rf"(?:1(?:3\d|4[579]|5[0-35-9]|6[2567]|7[0-8]|8\d|9[0-35-9])|89\d)\d{{8}}{_ENDED}"
    )),
    # 620 992 877: as an amount is written too, so only where it stands by itself
    (9, re.compile(
        r"(?:(?<=\A)|(?<=\n)|(?<=[:,;(>\"'—–•] )|(?<=[:,;(>\"'—–]))"
        rf"(?:5[0137]|6\d|7[1-9]|9[1-36]|4[58]|88)\d{_GAP}\d{{3}}{_GAP}\d{{3}}"
        r"(?=\Z|\n|[,;)<\"'!?]| ?[—–]|\.(?!\d))(?!,\d)"
    )),
    # 347 1234567, 347 1234 567
    (9, re.compile(rf"{_ALONE}3[2-9]\d{_GAP}(?:\d{{6,7}}|\d{{4}}{_GAP}\d{{3}}){_NO_AMOUNT}")),
)  # fmt: skip
"""Fewest digits, and how they are written."""
_MOST_DIGITS = 15
_BARE = re.compile(r"(?<![0-9A-Za-z_.+-])(?:\d[ .\-/()]{0,2}){6,14}\d(?![0-9A-Za-z_])(?![.:]\d)(?!,\d{1,2}(?!\d))")
_DIGITS = re.compile(r"(?:[+(]{1,2}[ \u00a0\u2009\u202f]?)?\d(?:[ .\-/()\u00a0\u2009\u202f\u2010-\u2014\u2212]{0,5}\d){6,}")
"""Digits with what may stand between those of a number: no expression finds anything that is more than a part of it."""
_SEEN_BEHIND = 12
"""Characters behind such digits that an expression asks for."""
_WORDS = (
    "phone", "tel", "telephone", "telefon", "mobile", "mobil", "cell", "call", "fax", "whatsapp", "sms", "ring", "reach", "dial",
    "ph", "mob", "cel", "gsm", "text me", "msisdn", "landline", "handy", "fon",
    "hotline", "rufnummer", "telefono", "teléfono", "móvil", "tél", "téléphone", "portable", "cellulare", "telefoon",
    "tlf", "тел", "телефон", "wa.me", "viber",
    "anrufen", "rufen", "zurückrufen", "rückruf", "telefonnummer", "handynummer", "mobilnummer", "meine nummer",
    "appelez", "rappelez", "appeler", "rappeler", "joindre", "mon numéro", "celular", "llamar", "llámame", "llame", "mi número",
    "meu número", "telefone", "telemóvel", "ligar", "erreichen mich", "erreichst mich", "erreichen uns", "erreichbar unter",
    "mi numero", "komórka", "komórkowy",
    "chiamare", "chiamami", "chiama", "il mio numero", "bel", "bellen", "mijn nummer", "mobiel",
    "dzwonić", "zadzwonić", "zadzwoń", "telefonu", "mój numer", "puhelin", "mobilen", "τηλέφωνο", "κινητό",
    "телефону", "телефона", "позвонить", "позвоните", "звоните", "звонить", "по номеру", "мой номер",
)  # fmt: skip
_SIGNS = (
    "☎",
    "✆",
    "📞",
    "📱",
    "📲",
    "电话",
    "手机",
    "電話",
    "携帯",
    "전화",
    "फोन",
    "मोबाइल",
    "هاتف",
    "جوال",
    "טלפון",
    "נייד",
    "โทร",
)
_LETTER = "0-9A-Za-z_\u00c0-\u1fff"
_WORD = re.compile(
    rf"(?:(?:(?<![0-9A-Za-z\u00c0-\u1fff])(?:{'|'.join(_WORDS)})|(?-i:(?<=[a-z])(?:Phone|Mobile|Tel|Telephone|Cell|Fax|WhatsApp)))"
    rf"(?:[ _-]?(?:number|no|nr|num))?(?: me| us| back)?(?: at| on)?(?![{_LETTER}])"
    rf"|(?<![{_LETTER}])(?:my|our|his|her|their|contact) (?:new )?(?:number|no|nr)(?![{_LETTER}])"
    rf"|{'|'.join(_SIGNS)}|(?:(?:(?<![^\n|•·,;>(\"'])|(?<=[|•·,;)] ))[tpmcf]:|\([tpmfohw]\))(?=\W{{0,3}}\Z))([^\n\d]{{0,20}})\Z",
    re.IGNORECASE,
)
"""A word or a sign that leads to a number, a name of a field, or what stands for such a word in a signature, as in `M: …`."""
_THINGS = (
    r"total|sum|summe|gesamt|umsatz|revenue|sales|turnover|population|einwohner|budget|betrag|amount|price|preis|cost|views|"
    r"downloads"
)
_NAMED_OTHERWISE = re.compile(
    rf"(?:(?<![{_LETTER}])(?:about|regarding|concerning|wegen|{_THINGS})[^\w\d]*|{CODE_BEFORE.pattern})\Z", re.IGNORECASE
)
"""Between the word and the digits: what the call is about."""
_OTHERWISE = re.compile(rf"(?:(?<![{_LETTER}])(?:{_THINGS})[^\w\d]*|{CODE_BEFORE.pattern})\Z", re.IGNORECASE)
"""Before digits that are written as a telephone number is: what they are instead."""
_A_LETTER = re.compile(r"[^\W\d_]|[☎✆📞📱📲]")
_TO_OTHER = re.compile(r"(?:.*[\n\d])?", re.DOTALL)
"""All up to the last digit or end of a line."""
_EXTENSION = re.compile(r"[ ,;]{0,2}(?:x|ext\.?|extension|durchwahl|#) ?\d{1,6}(?![0-9A-Za-z_])", re.IGNORECASE)
_DATE = re.compile(
    r"(?:1[6-9]|2[01])\d\d(?:([.\-/ ])\d{1,2}\1\d{1,2}|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?!\d)"
    r"|(?:19|20)\d\d ?[-/\u2013] ?(?:19|20)\d\d(?!\d)"
    r"|(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])/\d{4}(?!\d)"
    r"|(?:0?[1-9]|[12]\d|3[01])([.\-/ ])(?:0?[1-9]|1[0-2])\2(?:\d{4}(?!\d)|\d{2}(?!\d|\2\d))"
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


_NAMED = b"|".join(bytes_of(word) for word in (*_WORDS, *_SIGNS, "number", " no", " nr"))
_THING = rb"(?:[^0-9\x22\\\n]|\\[^u\x22]|\\u[0-9A-Fa-f]{4})*"
PHONE_FILTER = rb"|".join(
    (
        rb"\+(?:" + _GAPS + rb"|\()?" + _D + rb"(?:" + _S + rb"*" + _D + rb"){7}",
        rb"(?:^|[^0-9A-Za-z+]|" + ESCAPE + rb")00(?:" + _S + rb"*" + _D + rb"){6}",
        _EDGE + rb"\(?0" + _D + rb"(?:" + _S + rb"*" + _D + rb"){7}",
        _EDGE + rb"(?:[18]" + _S + rb"*)?\(?" + _D + rb"{3}\)?" + _S + rb"*" + _D + rb"{3}" + _S + rb"+" + _D + rb"{2}"
        rb"(?:" + _S + rb"*" + _D + rb"){2}",
        _EDGE + rb"(?:\(" + _D + rb"{2}\)|" + _D + rb"{2} )" + _S + rb"*" + _D + rb"{4,5}" + _S + _D + rb"{4}",
        _EDGE + rb"\(" + _D + rb"{2,3}\)" + _S + rb"*" + _D + rb"{3}(?:" + _S + rb"*" + _D + rb"){4}",
        _EDGE + rb"[679]%b{2}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}" % (_D, _GAPS, _D, _GAPS, _D, _GAPS, _D),
        rb"\(0%b?(?:-|%b)%b{1,3}\)(?:%b*%b){5}" % (_D, _GAPS, _D, _S, _D),
        _EDGE + rb"0%b(?:-|%b)%b{2,3}(?:%b)%b{2}" % (_D, _GAPS, _D, _GAPS, _D),
        _EDGE + rb"2%b(?:%b)%b{3}%b?(?:%b)%b{4}" % (_D, _GAPS, _D, _D, _GAPS, _D),
        _EDGE + rb"[49]%b{2}(?:%b)%b{2}(?:%b)%b{3}" % (_D, _GAPS, _D, _GAPS, _D),
        _EDGE + rb"8(?:%b)?\(%b{4,5}\)%b*%b(?:%b*%b){4}" % (_GAPS, _D, _S, _D, _S, _D),
        rb"(?:[TPMCFtpmcf]:|\([TPMFOHWtpmfohw]\))(?:" + _GAPS + rb"|[+(.]){0,3}" + _D + rb"(?:" + _S + rb"{0,2}" + _D + rb"){6}",
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
    for run in _DIGITS.finditer(text):
        if _DATE.fullmatch(run[0]) is None:
            spans += _phones_in(text, run.start(), min(len(text), run.end() + _SEEN_BEHIND))
    return longest(spans)


def _phones_in(text: str, first: int, last: int) -> list[Span]:
    spans: list[Span] = []
    for low, pattern in _PHONES:
        for match in pattern.finditer(text, first, last):
            end, digits = _trimmed(match)
            fits = low <= digits <= _MOST_DIGITS and not _is_date(match[0].lstrip("("))
            if fits and (match[0].lstrip("(").startswith("+") or not _is_named_otherwise(text, match.start())):
                spans.append(_extended(text, (match.start(), end)))
    for match in _BARE.finditer(text, first, last):
        said = _said_before(text, match.start())
        if said is not None and said[1].count('"') <= 2 and not _NAMED_OTHERWISE.search(said[1]) and not _is_date(match[0]):
            spans.append(_extended(text, match.span()))
    return spans


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
