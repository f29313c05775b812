"""Telephone numbers: written as such, bare as their plans make them, or any digits behind a word that says so.

The exact finder and its filter stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import re

from tunekeeper.text.leads import (
    EDGE,
    GAPS,
    D,
    S,
    is_named_otherwise,
    is_of_a_register,
    is_of_a_thing,
    leads_to,
    stands_with_somebody,
)
from tunekeeper.text.numbers import ESCAPE, NOT_IN_A_NAME, Span, longest

_GAP = r"[ \u00a0\u2009\u202f]"
_DASH = r"[.\-/\u2010-\u2014\u2212]"
_SEP = rf"(?:{_GAP}?{_DASH}{_GAP}?|{_GAP}{{1,2}})"
_ANOTHER = rf"(?!{_GAP}[/|\u2013-]{_GAP}?0\d|/{_GAP}0\d)"
"""Not before a second number, as in `030 901820 / 0170 1234567`."""
_COUNTRY = r"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-689]|3[578]|42|5[09]|6[7-9]|8[0578]|9[679])\d)"
_ALONE, _ENDED = rf"(?<![0-9A-Za-z.+-])(?<!\d:)(?<!\d{{4}}/){NOT_IN_A_NAME}(?<!\d )", r"(?!_?[0-9A-Za-z])(?![.,-]\d)"
_NO_AMOUNT = r"(?!_?[0-9A-Za-z])(?![.-]\d)(?!\*[A-Za-z])"
"""The end of what no amount is written like: a comma and a digit are the next cell of a table, a star and a letter a unit."""
_BY_ITSELF = r"(?:(?<=\A)|(?<=\n)|(?<=[:,;(>\"'—–•|\t-] )|(?<=[:,;(>\"'—–\t]))(?<!\d[,;|\t] )(?<!\d[,;|\t])"
_ENDS = r"(?=\Z|[\n\t\u3001-\u9fff]|[,;)<\"'!?|]| [—–|]| - |\.(?!\d))(?!,\d)(?!; ?\d)(?! ?\| ?\d)(?!\t\d)"
_UNCOUNTED = (
    rf"(?:{_ENDS}"
    r"|(?= (?:please|instead|anytime|works|and|or|if|when|again|bitte|und|oder|ab|por|y|o|si|et|ou|merci|s'il|e|se|lub|i|nebo|"
    r"prosím|proszę|verwenden|anrufen|erreichbar|soll|is|was|ist|est|está|för|och|eller)(?![0-9A-Za-z])))"
)
"""Before a sign that ends a part of a sentence, or a word that is nothing to be counted."""
_PHONES = (
    # +49 30 1234567, +1 (415) 555-0123, +49 (0)30 / 901820, 0049-30-1234567
    (8, re.compile(
        rf"(?<![0-9A-Za-z+]){NOT_IN_A_NAME}"
        rf"(?:(?:\+|(?<!\d )(?<!\d[.,/-])(?<![a-f]-)00(?!\d{{3}}-\d{{4}}(?!\d))(?={_COUNTRY}{_SEP})"
        rf"|(?<![\d)\]] )(?<!\b\w )\+ (?={_COUNTRY}{_SEP}))"
        rf"[1-9]\d{{0,2}}|\((?:\+|00){_COUNTRY}\)|\+\({_COUNTRY}\))"
        rf"{_SEP}?(?:\(\d{{1,5}}\){_SEP}?)?\d{{1,12}}(?:{_ANOTHER}{_SEP}\d{{1,9}}){{0,6}}(?!\d)(?![\w.+\-]{{0,40}}@)"
    )),
    # 00447700900123
    (11, re.compile(rf"{_ALONE}00{_COUNTRY}\d{{7,12}}(?![0-9A-Za-z_])(?![.,]\d)")),
    # 415-555-0123, (415) 555-0123, 1-415-555-0123
    (10, re.compile(
        rf"{_ALONE}(?:1[ .-])?(?:\(\d{{3}}\){_SEP}?|(?!\d{{3}}/\d{{3}}/)\d{{3}}{_DASH}"
        rf"|[2-9]\d{{2}}{_GAP}(?!\d{{3}} \d{{4}} \d{{2}}))"
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
    # 138 0013 8000, 42-7649-0735
    (10, re.compile(
        rf"{_ALONE}(?:(?:8{_GAP}?\(\d{{3}}\){_GAP}?|8[ -][3-9]\d\d[ -]|0{_GAP}[2-5]\d\d{_GAP}"
        rf"|0{_GAP}?\([2-5]\d\d\){_GAP}?)\d{{3}}{_SEP}\d{{2}}{_SEP}?\d{{2}}"
        rf"|8{_GAP}?\(\d{{4,5}}\){_GAP}?\d{{1,3}}{_SEP}\d\d{_SEP}\d\d|8{_GAP}?\(7\d\d\){_GAP}?\d{{3}}{_SEP}\d{{4}}"
        rf"|(?:\(\d{{2}}\){_GAP}?\d{{4,5}}|[1-9]\d (?:9\d{{4}}|(?!(?:19|20)\d\d-(?:19|20))\d{{4}}))-\d{{4}}"
        rf"|1[3-9]\d[ -]\d{{4}}[ -]\d{{4}}(?! ?\d)|[1-9]\d-\d{{4}}-\d{{4}}){_NO_AMOUNT}"
    )),
    # (22) 345 67 89, (852) 2345 6789, (2) 2106 9122
    (9, re.compile(
        rf"{_ALONE}\([1-9]\d{{0,2}}\){_GAP}?(?!(?:19|20)\d\d (?:19|20)\d\d)"
        rf"(?:\d{{3}}(?:-|{_GAP})\d\d(?:-|{_GAP})\d\d|\d{{4}}{_GAP}\d{{4}}){_NO_AMOUNT}"
    )),
    # 612 34 56 78
    (9, re.compile(rf"{_ALONE}[679]\d\d(?P<gap>{_GAP}|[.-])\d\d(?P=gap)\d\d(?P=gap)\d\d(?! ?\d){_NO_AMOUNT}")),
    # 91 411 07 59, 22-345-67-89: no amount is grouped so
    (9, re.compile(rf"{_ALONE}[1-9]\d(?P<gap>{_GAP}|[.-])\d{{3}}(?P=gap)\d\d(?P=gap)\d\d{_NO_AMOUNT}")),
    # 0 802 843 727, 0 7349 8424, 03(1234)5678, 754 - 734 - 7270
    (9, re.compile(
        rf"{_ALONE}(?:0{_GAP}\d{{3,4}}(?:{_GAP}\d{{3,4}}){{1,2}}|0\d{{1,3}}\(\d{{2,4}}\)\d{{4}}"
        rf"|[2-9][0-9]{{2}} [-–] [2-9][0-9]{{2}} [-–] \d{{4}}(?! [-–=])){_NO_AMOUNT}"
    )),
    # 620 992 877: as an amount is written too, so only before what no amount has behind it
    (9, re.compile(rf"{_ALONE}(?:5[0137]|6\d|7[1-9]|9[1-36]|4[58]|88)\d{_GAP}\d{{3}}{_GAP}\d{{3}}{_UNCOUNTED}")),
    # 8185 4135: as measurements are written too, so only where it stands by itself
    (8, re.compile(rf"{_BY_ITSELF}[235689][0-9]{{3}}{_GAP}(?!(?:19|20)\d\d)[0-9]{{4}}{_ENDS}")),
    # 347 1234567, 347 1234 567
    (9, re.compile(rf"{_ALONE}3[2-9]\d{_GAP}(?:\d{{6,7}}|\d{{4}}{_GAP}\d{{3}}){_NO_AMOUNT}")),
)  # fmt: skip
"""Fewest digits, and how they are written."""
_MOST_DIGITS = 15
_MARKS = r"[ .\-/()\u00a0\u2009\u202f\u2010-\u2014\u2212]"
_BARE = re.compile(
    rf"(?<![0-9A-Za-z_.+-])(?:\d(?:{_MARKS}{{0,2}}| [-–] | / (?!\+|0))){{5,14}}\d(?![0-9A-Za-z_])(?![.:-]\d)(?!,\d{{1,2}}(?!\d))"
)
_PLAIN = re.compile(
    # 06151234567, 015112345678: no number begins with a zero but one that is dialled
    r"(?<![0-9A-Za-z_.+=/&\-])(?<!\d[, ])(?:0[1-9][0-9]{7,9}|01[5-7][0-9]{9})(?![0-9A-Za-z_])(?![.:]\d)(?!,\d{1,2}(?!\d))(?!-\d)"
    # 4155550132, 9876543210, 3471234567; 14155550132, 89161234567, 11932198403, 13912345678
    rf"|(?:{_BY_ITSELF}|(?<=\btry )|(?<=\buse )|(?<=\btake )|(?<=\bunder )|(?<=\bunter )|(?<=\bbitte )|(?<=\bvoici ))"
    r"(?<![\"']:)(?<![\"']: )(?<!\w\()(?<! > )(?:[2-9][0-9]{9}|1[2-9][0-9]{2}[2-9][0-9]{6}|[78][3-9][0-9]{9}|[1-9][1-9]9[0-9]{8}"
    rf"|1(?:3[0-9]|4[579]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])[0-9]{{8}}){_UNCOUNTED}"
    # 13912345678, 89161234567: what begins so is hardly anything else
    r"|(?<!\": )(?<!\":)(?<![0-9A-Za-z_.,+/=&\-])"
    rf"(?:1(?:3[0-9]|4[579]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])|89[0-9])[0-9]{{8}}{_ENDED}"
)
"""Digits with nothing between that the plans of the more populous countries make a number. Without a zero in front only where
they stand by themselves."""
_FEWEST_PLAIN = 9
_NO_PERSONS = frozenset("2147483647 2147483648 4294967295 4294967296 3141592653 2718281828 9876543210 0123456789".split())  # noqa: SIM905
"""What computers count up to, and digits in a row."""
_DIGITS = re.compile(rf"(?:[+(]{{1,2}}{_GAP}?)?\d(?:{_MARKS}{{0,5}}\d){{5,}}")
"""Digits with what may stand between those of a number: no expression finds anything that is more than a part of it."""
_SEEN_BEHIND = 12
"""Characters behind such digits that an expression asks for."""
_EXTENSION = re.compile(r"[ ,;]{0,2}(?:x|ext\.?|extension|durchwahl|#) ?\d{1,6}(?![0-9A-Za-z_@])", re.IGNORECASE)
_DATE = re.compile(
    r"(?:1[6-9]|2[01])\d\d(?:([.\-/ ])\d{1,2}\1\d{1,2}|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?!\d)"
    r"|(?:19|20)\d\d ?[-/\u2013] ?(?:19|20)\d\d(?!\d)"
    r"|(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])/\d{4}(?!\d)"
    r"|(?:0?[1-9]|[12]\d|3[01])([.\-/ ]|\. )(?:0?[1-9]|1[0-2])\2(?:(?:1[6-9]|2[01])\d\d(?!\d)|\d{2}(?!\d|\2\d))"
)
_YEARS = re.compile(r"(1\d{3}|20\d\d) ?[-/\u2010-\u2015\u2212] ?(1\d{3}|20\d\d)(?!\d)(?![-./ ]\d)")
_LONGEST_LIFE = 120
_VERSION = re.compile(r"\d{1,2}(?:\.\d{1,4}){1,3} ?\(")
"""2.8.6 (93591220: a version and its build."""
_PAIRS = re.compile(r"0\d(?:([ .\-])\d\d)(?:\1\d\d){3}")
"""01 23 45 67 89: five pairs with one sign between them are a number, whatever date the first three would make."""

_FEW_PAIRS = re.compile(r"0\d(?: \d\d){3}(?P<fifth> \d\d)?")
_A_PAIR, _MORE_PAIRS = re.compile(r" \d\d(?!\d)"), re.compile(r" [1-9]\d(?!\d)| \+ ?\d(?!\d)")
"""Behind so many pairs: one more, and what is more than a number has."""

_WIDE = str.maketrans("０１２３４５６７８９（）＋－．／\u3000", "0123456789()+-./ ")
"""Digits and marks as wide as a Chinese character, which Japanese keyboards write."""

PHONE_FILTER = rb"|".join(
    (
        rb"\+(?:" + GAPS + rb"|\()?" + D + rb"(?:" + S + rb"*" + D + rb"){7}",
        rb"(?:^|[^0-9A-Za-z+]|" + ESCAPE + rb")00(?:" + S + rb"*" + D + rb"){6}",
        EDGE + rb"\(?0(?:" + GAPS + rb")?" + D + rb"(?:" + S + rb"*" + D + rb"){7}",
        EDGE + rb"(?:[18]" + S + rb"*)?\(?" + D + rb"{3}\)?" + S + rb"*" + D + rb"{3}" + S + rb"+" + D + rb"{2}"
        rb"(?:" + S + rb"*" + D + rb"){2}",
        EDGE + rb"(?:\(" + D + rb"{2}\)|" + D + rb"{2}[ \-])" + S + rb"*" + D + rb"{4,5}" + S + D + rb"{4}",
        EDGE + rb"\(" + D + rb"{1,3}\)" + S + rb"*" + D + rb"{3}(?:" + S + rb"*" + D + rb"){4}",
        EDGE + rb"[679]%b{2}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}" % (D, GAPS, D, GAPS, D, GAPS, D),
        rb"\(0%b?(?:-|%b)%b{1,3}\)(?:%b*%b){5}" % (D, GAPS, D, S, D),
        EDGE + rb"0%b(?:-|%b)%b{2,3}(?:%b)%b{2}" % (D, GAPS, D, GAPS, D),
        EDGE + rb"2%b(?:%b)%b{3}%b?(?:%b)%b{4}" % (D, GAPS, D, D, GAPS, D),
        EDGE + rb"[49]%b{2}(?:%b)%b{2}(?:%b)%b{3}" % (D, GAPS, D, GAPS, D),
        EDGE + rb"8(?:%b)?\(%b{4,5}\)%b*%b(?:%b*%b){4}" % (GAPS, D, S, D, S, D),
        rb"(?:[TPMCFtpmcf]:|\([TPMFOHWtpmfohw]\))(?:" + GAPS + rb"|[+(.]){0,3}" + D + rb"(?:" + S + rb"{0,2}" + D + rb"){6}",
        EDGE + rb"1" + D + rb"{2}" + S + D + rb"{4}" + S + D + rb"{4}",
        EDGE + rb"(?:0(?:%b)%b{3}|3%b{2})(?:%b)%b{3}(?:%b*%b){3}" % (GAPS, D, D, GAPS, D, S, D),
        EDGE + rb"%b{2}(?:%b|[.\-])%b{3}(?:%b|[.\-])%b{2}(?:%b|[.\-])%b{2}" % (D, GAPS, D, GAPS, D, GAPS, D),
        EDGE + rb"(?:[2-9][0-9]{9}|[1-9][0-9]{10})",
        EDGE + rb"[235689][0-9]{3}(?:%b)[0-9]{2}" % GAPS,
        EDGE + rb"[2-9][0-9]{2} (?:-|\xe2\x80\x93|\\u2013) [2-9][0-9]{2} ",
        EDGE + rb"[4-9]%b{2}(?:%b)%b{3}(?:%b)%b{3}" % (D, GAPS, D, GAPS, D),
        rb"(?:\xef\xbc[\x88\x8b\x90-\x99]|\\u[fF][fF](?:08|0[bB]|1[0-9]))(?:" + S + rb"*" + D + rb"){7}",
    )
)
"""What is written as a number is, whatever leads to it."""
_DIGIT = (
    rb"(?:[0-9]|\xd9[\xa0-\xa9]|\xdb[\xb0-\xb9]|\xdf[\x80-\x89]|\xe0[\xa5\xa7\xa9\xab\xad\xaf\xb1\xb3\xb5\xb7][\xa6-\xaf]"
    rb"|\xe0[\xb9\xbb][\x90-\x99]|\xe0\xbc[\xa0-\xa9]|\xe1[\x81\x82\x9f\xa0\xa5\xa7\xaa\xad\xae\xb1][\x80-\xbf]"
    rb"|\xea[\x98\xa3\xa4\xa7\xa9\xaf][\x80-\xbf]|\xef\xbc[\x90-\x99]|\xf0[\x90\x91\x96\x9e][\x80-\xbf]{2}|\xf0\x9d\x9f[\x8e-\xbf]"
    rb"|\xf0\x9f\xaf[\xb0-\xb9]|\\u(?:06[6fF]|07[cC]|0[eE][5dD]|0[fF]2|[fF][fF]1)[0-9]|\\u0[9a-dA-D][6eE][6-9a-fA-F]"
    rb"|\\u(?:1[0-9a-fA-F]|[aA][6-9abAB])[0-9a-fA-F]{2}|\\u[dD]83[eE]\\u[dD][fF][fF][0-9]"
    rb"|\\u[dD]8[0-3][0-9abAB]\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
"""A digit of any script: no letters of the large ones."""
_FIVE = rb"(?:" + S + rb"{0,5}" + _DIGIT + rb"){5}"
DIGITS_FILTER = _DIGIT + _FIVE
"""As many digits as the shortest number has: without them there is none, whatever is said around."""
DIGITS_IN_JSON = (
    rb"(?:(?:^|[^0-9A-Za-z_.+\-: ]|"
    + ESCAPE
    + rb"|[^\x22]:|\\\x22:|[^:] |[^\x22]: |\\\x22: )"
    + _DIGIT
    + rb"|\x22: ?[02-9])"
    + _FIVE
)
"""The same in JSON; but not the time in each answer, `"created":1790000000`."""


def phones(text: str) -> list[Span]:
    """Where telephone numbers stand: written as such, or bare digits after a word that says so; not what is named otherwise, such
    as an ISBN or the order that somebody calls about."""
    text = text if text.isascii() else text.translate(_WIDE)
    spans: list[Span] = []
    for run in _DIGITS.finditer(text):
        if _DATE.fullmatch(run[0]) is None:
            digits = sum(map(str.isdecimal, run[0]))
            spans += _phones_in(text, run.start(), min(len(text), run.end() + _SEEN_BEHIND), digits)
    return longest(spans)


def _phones_in(text: str, first: int, last: int, most: int) -> list[Span]:
    """Numbers in a run of `most` digits: what needs more of them is not asked for."""
    spans: list[Span] = []
    for low, pattern in _PHONES:
        for match in pattern.finditer(text, first, last) if low <= most else ():
            end, digits = _trimmed(match)
            number = match[0].lstrip("(")
            fits = low <= digits <= _MOST_DIGITS and not _is_date(number) and not _is_a_row(text, match, number)
            if fits and (number.startswith("+") or not is_named_otherwise(text, match.start())):
                spans.append(_extended(text, (match.start(), end)))
    for match in _PLAIN.finditer(text, first, last) if most >= _FEWEST_PLAIN else ():
        if not _is_made_up(match[0]) and not is_of_a_thing(text, match.start()) and not is_of_a_register(text, match.start()):
            spans.append(_extended(text, match.span()))
    for match in _BARE.finditer(text, first, last):
        if (
            not _is_date(match[0])
            and not _VERSION.match(match[0])
            and (leads_to(text, match.start(), match[0]) or _has_somebody(text, match))
        ):
            opened = ")" in match[0] and text.startswith("(", match.start() - 1)
            spans.append(_extended(text, (match.start() - opened, match.end())))
    return spans


def _is_a_row(text: str, match: re.Match[str], number: str) -> bool:
    """Whether what is written as a number is part of a longer row of pairs, or begins as no number does that is dialled."""
    pairs = _FEW_PAIRS.fullmatch(number)
    more = None if pairs is None else (_MORE_PAIRS if pairs["fifth"] else _A_PAIR).match(text, match.end())
    return more is not None or number.startswith("000")


def _has_somebody(text: str, bare: re.Match[str]) -> bool:
    return not _is_made_up(bare[0]) and stands_with_somebody(text, *bare.span())


def _is_made_up(number: str) -> bool:
    return number in _NO_PERSONS or len(set(number)) < 4


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
    years = _YEARS.match(text)
    if years is not None and 0 < int(years[2]) - int(years[1]) <= _LONGEST_LIFE:
        return True
    return _DATE.match(text) is not None and _PAIRS.fullmatch(text) is None


def _extended(text: str, span: Span) -> Span:
    extension = _EXTENSION.match(text, span[1])
    return span if extension is None else (span[0], extension.end())
