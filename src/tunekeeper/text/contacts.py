"""What leads to a person by a net: e-mail and IP addresses; telephones have a file of their own (`text/telephones.py`).

The exact finders and their filters stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import ipaddress
import re

from tunekeeper.text.numbers import NOT_IN_A_NAME, Span, longest

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
_DOTTED_BACK = re.compile(r"(?:[)\]}>] ?(?i:tod|tnup) ?[(\[{<][\w+%\-]{1,64}){1,4}")
"""What goes on before a local part whose dots are spelled out, read from right to left."""
_LEADING = ".'`/={|}*&!?#~^$+-%"
"""Signs that a local part may hold and seldom begins with."""
_ENDINGS = (
    "com|org|net|edu|gov|info|io|eu|de|at|ch|fr|nl|be|it|es|pt|pl|se|no|dk|fi|"
    "ie|uk|us|ca|au|nz|in|jp|br|mx|ru|me|dev|app|ai|co|ar|cl|xyz|ua|gr|tr|cz|sk|hu|ro|bg|hr|si|rs|ee|lv|lt|lu|il|kr|cn|tw|hk|"
    "sg|th|vn|id|my|ph|za|biz|gal|example|test"
)
"""Of the domains of addresses that are written with words or blanks, so that prose is none."""
_OF_NOTATION = re.compile(
    rf"[/|`{{}}?]|=(?!(?:[\w\-]{{1,63}}\.){{1,8}}(?:{_ENDINGS})\Z)|(?<![^\W_])'|%(?:0[9ADad]|2[0267CFcf]|3[A-Fa-f]|5[BDbd]|7[BDbd])"
)
"""What ends the name of a field or opens a value: a local part may hold it, and nobody's does. Behind a `=` may stand the address
of whom a letter that came back was for."""
_SPELLED = re.compile(
    rf"[\w-]{{1,63}}(?i:(?: (?:{_SAID_DOT}) [\w-]{{1,63}}){{0,4}} (?:{_SAID_DOT}) (?:{_ENDINGS}))(?![A-Za-z\d_])"
)
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
        local = _without_notation(before[0][::-1])
        if spans and start - len(local) < spans[-1][1]:  # a@b.example/c@d.example: the former one's end is no part of this one
            local = text[spans[-1][1] : start].lstrip(_LEADING)
        if after is not None and local and not (local == "git" and text[after.end() : after.end() + 1] in (":", "/")):
            first = start - len(local)
            more = _DOTTED_BACK.match(text[max(0, first - 80) : first][::-1]) if text[first - 1 : first] in set(")]}>") else None
            first -= more.end() if more is not None else 0
            in_markdown = local[0] == text[after.end() : after.end() + 1] == "_"
            spans.append((first + in_markdown, after.end()))
    return spans


def _without_notation(local: str) -> str:
    """A local part without what stands before it: the name of a field, a path, quotes."""
    if local.startswith('"'):
        return local
    last = 0
    for sign in _OF_NOTATION.finditer(local):
        last = sign.end()
    rest = local[last:].lstrip(_LEADING)
    return rest or local.lstrip(_LEADING)


# ---- IP addresses ----

_POINT = r"(?:\.|\[(?:\.|dot)\]|\((?:\.|dot)\))"
_IPV4 = re.compile(rf"(?<![0-9A-Za-z.]){NOT_IN_A_NAME}(?:\d{{1,3}}{_POINT}){{3}}\d{{1,3}}(?!_?[0-9A-Za-z])(?!\.\d)")
_BRACKETED = re.compile(r"[\[(](?:\.|dot)[\])]")
"""As reports of attacks write the points, so that nobody follows them."""
_PADDED = re.compile(r"(?<![0-9])0{1,2}(?=[0-9])")
_HOST_V4 = re.compile(r"(?<![0-9A-Za-z])ip-(?:\d{1,3}-){3}\d{1,3}(?![0-9A-Za-z-])")
"""As clouds call their machines."""
_IPV6 = re.compile(
    rf"(?<![0-9A-Za-z.])(?<![0-9A-Fa-f:]:)(?<!\A:){NOT_IN_A_NAME}[0-9A-Fa-f]{{0,4}}(?::[0-9A-Fa-f]{{0,4}}){{2,7}}"
    r"(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?!_?[0-9A-Za-z]|:[^\s])(?!\.\d)"
)
_GIVEN_OUT = re.compile(
    r"[23][0-9a-f]{3}:|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:|64:ff9b:|100::|5f00:|::.*[:.]", re.IGNORECASE
)
"""How addresses begin that are in use (IANA's registry); a double colon between other numbers is code."""
_VERSION_BEFORE = re.compile(
    r"\b(?:v[. ]{0,2}|rv:)\Z|(?:\bver|version|release|build|firmware|driver|kernel|bios|plugin|\blib\w{0,12}|"
    r"(?:up|down)graded? to|updated? to|rolled back to|"
    r"\b(?:section|chapter|clause|paragraph|article|abschnitt|kapitel|ziffer|oid)s?|§)"
    r"[\W_]{0,5}\Z"
    r"|(?:\A|[^\w.])(?!\w*(?:addr|ip\b|host|src|dst|peer|client|remote))[A-Za-z][\w\[\]\-]*[=~<>]=\Z",
    re.IGNORECASE,
)
"""What is numbered by parts as well: versions, also as packages are pinned, and the sections of a document."""
_UPGRADED = re.compile(r"\b(?:up|down)grad(?:e|ing)(?: path| from){1,2}:? \Z|\bupdat(?:e|ing) from \Z|\bbump \Z", re.IGNORECASE)
_NO_VERSION = frozenset((10, *range(31, 256)))
"""What addresses of machines begin with, and versions do not."""
_SECTIONS = re.compile(r"\b(?:sections|chapters|clauses|paragraphs|articles|abschnitte|kapitel|ziffern)\b|§§", re.IGNORECASE)
_INSTALLED = re.compile(r" (?:is |was |has been |wird |wurde )?(?:installed|installiert|released|stable|beta|LTS)\b")
_VERSION_BEHIND = re.compile(r" (?:to|and|or|→|->|auf|und|à|et|a|y) (?:version|release|build|v)[ .]?\d", re.IGNORECASE)
_PRODUCT_BEFORE, _ARCHIVE = (
    re.compile(r"[A-Za-z]/\Z"),
    re.compile(r"\.(?:tar|t?gz|zip|whl|jar|deb|rpm|exe|msi|dmg|nupkg|dll|so)\b"),
)
_HEADING = re.compile(r"(?:\A|[\n>\"'])[#>*\- ]{0,8}\Z")
_HEADED = re.compile(r"\.? {1,3}[A-Z][a-z]")
_MOST_SECTIONS = 30
_SAME_SENTENCE = 64
_COMPARED = re.compile(
    r"[\s,;(/–→>-](?:of|in|and|or|to|than|since|before|after|through|until|till|below|above|und|oder|auf|als|bis|et|ou|y|o|e|a|"
    r"à|en|de|[,/–-]|→|->|=>|vs\.?)[ \n]?\Z",
    re.IGNORECASE,
)
"""Between a version and another one."""
IP_FILTER = rb"[0-9]%b[0-9]{1,3}%b[0-9]{1,3}%b[0-9]" % ((_POINT.encode(),) * 3) + rb"|ip-[0-9]{1,3}-|::|(?::[0-9A-Fa-f]{1,4}){6}"


def addresses(text: str) -> list[Span]:
    """Where IP addresses stand; the four numbers of a version are none, nor is a slice such as `a[10::2]`."""
    spans: list[Span] = []
    version = -_SAME_SENTENCE  # where the last one ended
    for four in _IPV4.finditer(text):
        if _is_version(text, four) or (four.start() - version < _SAME_SENTENCE and _is_compared(text, four, version)):
            version = four.end()
        elif _is_ip(_unpadded(_BRACKETED.sub(".", four[0]))):
            spans.append(four.span())
    spans += [m.span() for m in _HOST_V4.finditer(text)]
    return longest(spans + [span for m in _IPV6.finditer(text) if (span := _six(m)) is not None])


def _six(match: re.Match[str]) -> Span | None:
    """Where an IPv6 address stands, without the colon of a sentence behind it."""
    text = match[0][:-1] if match[0].endswith(":") and not match[0].endswith("::") else match[0]
    return (match.start(), match.start() + len(text)) if _looks_v6(text) and _is_ip(text) else None


def _unpadded(four: str) -> str:
    """Four numbers of three digits each without the zeros that fill them."""
    return _PADDED.sub("", four) if len(four) == 15 else four


def _is_compared(text: str, four: re.Match[str], version: int) -> bool:
    """Whether four numbers behind a version, in the same sentence, are another one: joined by a word that joins things of a kind,
    and no larger than versions are."""
    first = _first(four)
    small = first <= _MOST_SECTIONS and (first != 10 or _SECTIONS.search(text, max(0, version - 32), version) is not None)
    return small and _COMPARED.search(text, version, four.start()) is not None


def _first(four: re.Match[str]) -> int:
    return int(re.match(r"\d+", four[0])[0])  # type: ignore[index]


def _is_version(text: str, four: re.Match[str]) -> bool:
    """Whether four numbers are those of a version (`v1.2.3.4`, `Chrome/99.0.0.0`, `a-1.2.3.4.tar.gz`) or head a section."""
    start, end = four.span()
    first = max(0, start - 32)
    if four[0].startswith("0.") and four[0] != "0.0.0.0":
        return True  # no machine has such an address
    if _VERSION_BEFORE.search(text, first, start) is not None or _VERSION_BEHIND.match(text, end) is not None:
        return True
    small = _first(four) not in _NO_VERSION
    if small and (_UPGRADED.search(text, first, start) is not None or _INSTALLED.match(text, end) is not None):
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
