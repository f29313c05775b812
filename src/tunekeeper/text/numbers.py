"""Numbers with a check: payment cards and IBANs.

Each kind has an exact finder, and a filter for RE2 over the bytes: what the filter does not see, the finder does not find, in a
plain text as in the same text inside JSON (`text/redaction.py` says how the two work together).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from itertools import pairwise

import re2

Span = tuple[int, int]
ESCAPE = rb"\\[bfnrt]|\\u[0-9A-Fa-f]{4}"
"""What may stand before a value inside JSON and ends in a letter or digit all the same."""
MOST_RUNS = 2_000
"""Long runs of digits of one text that are looked at for cards; further ones are taken for such as they are. A text with more is
a table of numbers or made to cost time, and whoever writes the log may not stand still for seconds."""

_CODES = (
    r"(?<![0-9A-Za-z])(?:JAN|barcode|Strichcode|code-barres|código de barras|codice a barre|kod kreskowy|штрих-?код|バーコード|"
    r"条形码|条码|條碼|바코드|ISBN|ISSN|EAN|UPC|GTIN|PNR|booking|IMEI|ICCID|SIRET|SIREN"
)
_A_NUMBER = r"(?:number|no|nr|num|n|nummer|コード|号码|번호|رقم|номер|numeris|code|ids?|key|n°|№|nº)"
_BEHIND = r"[\"']?[\s.:：=#(№\[]{0,4}[\"']?\Z"
_AS_A_NUMBER = rf"[-._ ]{{0,2}}(?:1[0-4]|8)?[-._ ]{{0,2}}{_A_NUMBER}?{_BEHIND}"
_NOT_A_CARD = re.compile(rf"{_CODES}){_AS_A_NUMBER}", re.IGNORECASE)
"""Stands before the code of a thing that may pass for a card of the old, short kind."""
ORDERS = (
    "command|comand|comenz|colis|paquete|pacco|pedido|encomend|fatur|fattur|factur|factuur|bestelling|beställning|ordre|tilau|"
    "lähety|rendelés|objednáv|zásilk|zamówieni|przesyłk|paczk|faktur|narudžb|naročil|užsakym|pasūtīj|tellimus|sipariş|kargo|gönderi|"
    "pesanan|đơn hàng|vận đơn|παραγγελ|заказ|поръчк|замовлен|накладн|сч[её]т|посылк|הזמנ|طلب|الطلب|forsendelse|"
    "운송장|송장|주문|注文|订单|运单"
)
"""How orders, invoices and parcels begin to be called elsewhere."""
CODE_BEFORE = re.compile(
    rf"(?:{_CODES}|BLZ|VAT(?:[- ]?[A-Z]{{2}})?|P\.? ?IVA|partita iva|DOI|SKU|AWB|(?:air ?)?waybill|LPN|"
    r"OEM|MMSI|KVK|D-?U-?N-?S|ИНН|КПП|ОГРН|"
    r"delivery[- ]note|Lieferschein|bon de livraison|albar[aá]n|parcel(?:le)?|Flurstücks?|"
    r"arXiv|ISIN|FedEx|UPS|DHL|USPS|DPD|tracking|serial|orders?[/ ]?|invoice|"
    r"ticket|ref|reference|case|policy|lot|batch|charge|part|model|P/N|S/N|KRS|NIP|REGON|ABN|ACN|TFN|CNPJ|CPF|NIF|SSN|EORI|"
    r"Bestellung|Bestell|Auftrag|Auftrags|Rechnung|Rechnungs|Sendungs|Serien|Artikel|Art|Kunden|Vertrags|"
    r"Paket|Paketnummer|Sendung|Sendungsnummer|Buchungs|Policen|Versicherungs|Aktenzeichen|"
    r"(?:订单|快递|运单|单|注文|伝票|会員|顧客|契約|商品|予約|受付|会员|客户|合同|产品|주문|송장|회원|고객|계약|예약)(?:编号|号码|番号|번호|号)|"
    rf"ordine|(?:{ORDERS})[^\W\d_]{{0,9}}(?: (?:mea|saya|μου))?){_AS_A_NUMBER}"
    rf"|(?<![0-9A-Za-z])(?:account|acct|customer|client|contract|member|claim|booking|konto)[-._ ]{{0,2}}{_A_NUMBER}{_BEHIND})",
    re.IGNORECASE,
)
"""Stands before a number that is the code of a thing and no telephone."""

LOTTERIES = "lott?o|lotteri|lotter|keno|bingo|powerball|euromill|gewinnzahlen|winning numbers"
"""How draws of numbers begin to be called, whose balls are written in pairs as telephones and cards are."""
_DRAWN = re.compile(rf"(?<![^\W\d_])(?:{LOTTERIES})[^\W\d_]{{0,12}} ?:? ?\Z", re.IGNORECASE)

_IBAN_TABLE = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29
    ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
    LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29
    PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
    YE30
"""
_IBAN_LENGTH = {entry[:2]: int(entry[2:]) for entry in _IBAN_TABLE.split()}
"""Country → characters of its IBAN, from the ISO 13616 registry."""
_BLANKS = r" \-\u00a0\u2000-\u200a\u2010-\u2015\u202f\u2212"
"""Blanks and dashes, as keyboards and as word processors write them."""
_IBAN = re.compile(
    rf"(?:(?<![A-Za-z0-9])|(?<=IBAN))"
    rf"(?:[A-Za-z]{{2}}|[A-Z]{{2}} (?=\d\d (?:[0-9A-Z]{{4}} [0-9A-Z]{{4}} |[0-9A-Z]{{11,30}}(?![^\W_]))))\d{{2}}"
    rf"(?:[{_BLANKS}\u3000.\t\r\n/_|:+·]{{0,3}}[A-Za-z0-9]){{11,30}}"
)

NOT_IN_A_NAME = r"(?<![0-9A-Za-z]_)"
"""Before what may stand behind a `_` of Markdown, and not behind one inside a name."""
_BEGIN, _END = rf"(?<![0-9A-Za-z.])(?<!\d{{13}},){NOT_IN_A_NAME}", r"(?!_?[0-9A-Za-z])(?!\.\d|,\d{13})"
_WRAP = rf"\r?\n[{_BLANKS}>]?"
_LINK = rf"(?:[{_BLANKS}]?[/·][{_BLANKS}]?|[|+_\t\u3000]|[,;:*~=#] ?|{_WRAP})"
_DIGITS = re.compile(rf"{_BEGIN}\d(?:[{_BLANKS}]{{0,3}}\d){{11,200}}{_END}")
_DOTTED = re.compile(
    _BEGIN + r"(?!\d{1,3}(?:\.\d{3})+(?![.\d]))[2-689]\d{1,7}(?P<link>[.·])(?:\d{2,8}(?P=link)){1,6}\d{1,13}" + _END
)
_NEAR, _THIRTEEN = 200, re.compile(r"(?<![0-9])[0-9]{13}(?![0-9])")
_OF_ARTICLES = re.compile(
    r"(?<![A-Za-z])(?:ean|gtin|upc|jan|sku|barcodes?|strichcodes?)(?![a-z])|штрих-?код|バーコード|条形?码", re.IGNORECASE
)
_A_CARD = re.compile(r"card|visa|carte|tarjeta|kart|cart[aã]o|карт|カード|卡|카드", re.IGNORECASE)
_DECIMAL = re.compile(r"(?<!\d)\d,\Z")
_LINKED = re.compile(
    rf"(?<![0-9A-Za-z.])(?:(?<![\[(])|(?!\d{{4}},))(?<!\d[/|·+\t\n\u3000_,;:*~#])(?<!\d[,;:*~=#] )"
    rf"[2-689]\d{{3}}(?P<link>{_LINK})"
    rf"(?:\d{{4}}(?P=link)\d{{4}}(?P=link)\d{{4}}(?:(?P=link)\d{{1,3}})?|\d{{6}}(?P=link)\d{{4,5}})(?!(?P=link)\d|_?[0-9A-Za-z]|\n\d{{4}})"
)
"""Groups with another sign between them than a blank or a dash, no further number behind the like."""
_WRAPPED = re.compile(
    rf"(?<![0-9A-Za-z.])(?<!\d[ \-])[2-6]\d{{3}}(?=(?:[ \-]?\d{{4}}){{0,2}}[ \-]?\r?\n)"
    rf"(?:(?:[ \-]|[ \-]?{_WRAP})\d{{4}}){{3}}(?![ \-]?[0-9A-Za-z])"
)
"""A card at the end of a line and the beginning of the next."""
_DIGIT_RUN = re.compile(r"\d+")
_CARD_GROUPS = {
    (4, 4, 4, 4),
    (4, 4, 4, 4, 3),
    (4, 6, 5),
    (4, 6, 4),
    (4, 4, 4, 1),
    (4, 4, 4, 2),
    (4, 4, 4, 3),
    (4, 4, 5),
    (6, 13),
    (4, 4, 4),
}
_ALONE = {(*(size,) * (n // size), *(1,) * (n % size)) for n in range(13, 20) for size in (1, 2)}
"""Digits of the groups that a card has only where no further number stands beside it."""
_MANY = 6
"""Groups of four digits in a row that are more than a card."""
_IN_A_TABLE = re.compile(r"\d[ \t|;,]{0,3}\r?\n[ \t|]{0,3}\Z")
"""Before digits: a line of numbers ends."""
_SIZES: dict[int, tuple[int, ...]] = {
    **{lead: tuple(sorted({len(g) for g in _CARD_GROUPS if g[0] == lead}, reverse=True)) for lead in (4, 6)},
    **dict.fromkeys(range(12, 20), (1,)),
}
"""Digits of the first group → how many groups a card that begins so may have, most first."""
_ISSUERS = (
    (4000, 4999, (13, 16, 19)),
    (5100, 5599, (16,)),
    (2200, 2204, (16, 17, 18, 19)),
    (2221, 2720, (16,)),
    (8100, 8299, (16,)),
    (8600, 8600, (16,)),
    (9792, 9792, (16,)),
    (9860, 9860, (16,)),
    (3400, 3499, (15,)),
    (3700, 3799, (15,)),
    (3000, 3059, (14, 16, 19)),
    (3600, 3699, (14, 16, 19)),
    (3800, 3999, (14, 16, 19)),
    (3500, 3599, (16, 17, 18, 19)),
    (1800, 1800, (15,)),
    (2131, 2131, (15,)),
    (6000, 6999, (16, 17, 18, 19)),
    (5000, 5099, (13, 16, 18, 19)),
    (5600, 5899, (12, 13, 16, 18, 19)),
    (5018, 5038, (12,)),
    (6304, 6304, (12,)),
    (6390, 6390, (12,)),
    (6759, 6763, (12,)),
    (604, 604, (12,)),
)
"""First four digits, from and to, and the lengths that issuers of that range use, or makers of test data say they do."""
_LENGTHS: dict[str, frozenset[int]] = {}
"""First four digits → lengths, worked out from it."""
for _low, _high, _sizes in _ISSUERS:
    for _lead in range(_low, _high + 1):
        _LENGTHS[f"{_lead:04}"] = _LENGTHS.get(f"{_lead:04}", frozenset()).union(_sizes)
_TWICE = str.maketrans("0123456789", "0246813579")
"""Digit → digit sum of its double."""

_JOINT = (
    rb"(?:[ \t\-/|+_]|\\/|\xc2[\xa0\xb7]|\xe3\x80\x80|\xe2(?:\x80[\x80-\xaf]|\x88\x92)|\\t|"
    rb"\\u00(?:[aAbB][07]|09)|\\u3000|\\u20[012][0-9A-Fa-f]|\\u2212)"
)
_BEFORE = rb"(?:^|[^0-9A-Za-z.]|" + ESCAPE + rb")"
IBAN_FILTER = (
    rb"(?:^|[^A-Za-z0-9]|IBAN|" + ESCAPE + rb")(?i:" + "|".join(sorted(_IBAN_LENGTH)).encode() + rb") ?[0-9]{2}"
    rb"(?:(?:" + _JOINT + rb"|[.\r\n:]|\\[nr]|\\u000[aAdD]){0,3}[A-Za-z0-9]){11}"
)
CARD_FILTER = (
    _BEFORE + rb"(?:[2-689](?:(?:" + _JOINT + rb"|[\r\n>]|\\[rn]|\\u000[aAdD]){0,4}[0-9]){11}"
    rb"|(?:1800|0604)[0-9]{8}|[2-689][0-9]{3}(?:[,;:*~=#] ?[0-9]{4}){2}|3[0-9]{3}[,;:*~=#] ?[0-9]{6}"
    rb"|[2-689][0-9]{1,7}\.[0-9]{2,8}\.[0-9])"
)  # fmt: skip


def cards(text: str) -> list[Span]:
    """Where payment cards stand, with or without the usual grouping."""
    runs = [match.span() for match in _DIGITS.finditer(text)]
    exact, beyond = runs[:MOST_RUNS], runs[MOST_RUNS:]
    linked = [match.span() for match in _LINKED.finditer(text) if is_card(match[0]) and not _goes_before(text, match)]
    other = [match.span() for form in (_DOTTED, _WRAPPED) for match in form.finditer(text) if is_card(match[0])]
    plain = [span for run in exact for span in _cards_in(text, run) if not _is_otherwise(text, span)] + beyond
    return longest(plain + linked + other)


def _goes_before(text: str, linked: re.Match[str]) -> bool:
    """Whether one more number stands before groups with the sign between that they have themselves."""
    start = linked.start()
    return text[max(0, start - 2) : start - 1].isdecimal() and text[start - 1] == linked["link"].strip(" ")[:1]


def _is_article(text: str, start: int, end: int) -> bool:
    """Whether 13 digits are an article's (EAN): the check digit is right, and another one or what they are called near."""
    if end - start != 13 or not _is_ean(text[start:end]):
        return False
    first, last = max(0, start - _NEAR), end + _NEAR
    beside = (m[0] for m in _THIRTEEN.finditer(text, first, last) if m.start() != start)
    return _OF_ARTICLES.search(text, first, last) is not None or any(map(_is_ean, beside))


def _is_ean(digits: str) -> bool:
    return (sum(map(int, digits[::2])) + 3 * sum(map(int, digits[1::2]))) % 10 == 0


def _is_otherwise(text: str, span: Span) -> bool:
    """Whether what passes for a card is a decimal, as `1,5365706778251496`, or a short one that is named otherwise, as an EAN."""
    start, end = span
    if text[end : end + 1] != "," and _DECIMAL.search(text, max(0, start - 3), start) is not None:
        return True
    if _is_article(text, start, end) and _A_CARD.search(text, max(0, start - 32), start) is None:
        return True
    if _DRAWN.search(text, max(0, start - 32), start) is not None:
        return True
    named = CODE_BEFORE if end - start == 12 else _NOT_A_CARD
    return end - start <= 15 and named.search(text, max(0, start - 32), start) is not None


def _cards_in(text: str, within: Span) -> list[Span]:
    """A run of digit groups may hold a card between other numbers, as in `4111 1111 1111 1111 12`: try every usual grouping."""
    groups = [m.span() for m in _DIGIT_RUN.finditer(text, *within)]
    widths = [end - start for start, end in groups]
    for n in (len(widths), len(widths) - 1):  # `12/27` and the three digits of the back may stand behind
        until = groups[n - 1][1]
        alone = max(widths[n:], default=3) <= 3 and _may_be_alone(text, groups[:n], widths[:n])
        if alone and is_card(text[within[0] : until]):
            return [(within[0], until)]
    spans: list[Span] = []
    first = 0
    while first < len(groups):
        start = groups[first][0]
        last = None
        if first and not spans and len(widths) >= _MANY and set(widths[:-1]) == {4}:
            break  # a parcel's number in groups of four, or a row of measurements
        # No issuer's number begins otherwise, and no grouping: most groups of a table of numbers are done with here.
        if text[start] in "2345689" or text.startswith(("1800", "0604"), start):
            sizes = _SIZES.get(widths[first], ())
            last = next(
                (n for n in sizes if _is_grouped(widths, first, n) and is_card(text[start : groups[first + n - 1][1]])), 0
            )
        if last:
            spans.append((start, groups[first + last - 1][1]))
        first += last or 1
    return spans


def _may_be_alone(text: str, groups: list[Span], widths: list[int]) -> bool:
    """Whether groups of digits are those of a card where no further number stands beside it: single digits, or of any size with
    one sign between them, and no amount, no order of a large shop (3-7-7) and no row of a table."""
    if not 13 <= sum(widths) <= 19 or len(widths) > 9 or min(widths[:-1], default=0) < 2:
        return tuple(widths) in _ALONE
    signs = {text[end:start] for (_, end), (start, _) in pairwise(groups)}
    amount = widths[0] <= 3 and set(widths[1:]) == {3}
    return (
        len(signs) == 1
        and not amount
        and widths != [3, 7, 7]
        and not _IN_A_TABLE.search(text, max(0, groups[0][0] - 24), groups[0][0])
    )


def _is_grouped(widths: list[int], first: int, n: int) -> bool:
    """Whether `n` groups of digits from `first` on are grouped as a card's are."""
    return n == 1 or (first + n <= len(widths) and tuple(widths[first : first + n]) in _CARD_GROUPS)


def is_card(number: str) -> bool:
    """Whether `number` is a payment card's: 12 to 19 digits as its issuer uses, a valid Luhn check (ISO/IEC 7812-1)."""
    compact = number if number.isdecimal() else "".join([c for c in number if c.isdecimal()])
    if not compact.isascii() or len(compact) not in _LENGTHS.get(compact[:4], ()):
        return False
    return (sum(map(int, compact[-2::-2].translate(_TWICE))) + sum(map(int, compact[::-2]))) % 10 == 0


def ibans(text: str) -> list[Span]:
    """Where IBANs stand, in capitals or not, in groups or not."""
    spans: list[Span] = []
    match = _IBAN.search(text)
    while match is not None:
        length = _IBAN_LENGTH.get(match[0][:2].upper())
        size = _nth_alphanumeric(match[0], length) if length is not None else None
        end = match.start() + (size or 0)
        in_address = text[match.start() - 1 : match.start()] == ":" and ":" in match[0][:size]  # of IPv6
        found = size is not None and not in_address and is_iban(match[0][:size]) and not _goes_on(text[end : end + 1])
        if found:
            spans.append((match.start(), end))
        match = _IBAN.search(text, end if found else match.start() + 4)
    return spans


def _goes_on(after: str) -> bool:
    """Whether what follows belongs to the same word; a sign of a script without blanks does not."""
    return after.isascii() and after.isalnum()


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


def bytes_of(word: str) -> bytes:
    """A word of any script, in any case, as UTF-8 or as escapes of JSON, also of JSON inside JSON."""

    def one(c: str) -> bytes:
        both = sorted({c.lower(), c.upper()})
        escaped = [re.sub(rb"\\u", rb"\\\\+u", json.dumps(v)[1:-1].encode()) for v in both]
        return b"(?:" + b"|".join([*(v.encode() for v in both), *escaped]) + b")"

    return b"".join(c.encode() if c.isascii() else one(c) for c in word)


def least(words: Collection[str]) -> tuple[str, ...]:
    """The words that hold no other one: where any of `words` is, one of these is."""
    return tuple(sorted(word for word in set(words) if not any(other != word and other in word for other in words)))


def any_of(words: Collection[str]) -> re2.Pattern:
    """Over UTF-8: tells that one of `words` is there much sooner than the expression that asks how it stands there."""
    return re2.compile(("(?i)" + "|".join(map(re2.escape, least(words)))).encode())


def longest(spans: list[Span]) -> list[Span]:
    """The spans without overlaps: of those that begin at one place the longest, else the first."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept
