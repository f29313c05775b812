"""What stands around digits and makes them a telephone number of somebody, or names them as something else.

The exact expressions and the filters for RE2 stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import re

from tunekeeper.text.numbers import CODE_BEFORE, ESCAPE, LOTTERIES, ORDERS, any_of, bytes_of, least
from tunekeeper.text.things import is_of_a_paper, names_a_thing

_FEW = 6
"""Digits of the numbers of small towns and countries, which need a word directly before them that means nothing else."""
_ENOUGH, _MOST_BARE = 8, 12
"""Digits that a number has where no word, but what is around it, says that it is one; one less where they are in groups."""
_SURELY = re.compile(r"tel|phone|fax|fon|mob|тел|电话|電話|전화|☎|📞|📱", re.IGNORECASE)
_WORDS = (
    "phone", "tel", "telephone", "telefon", "mobile", "mobil", "cell", "call", "fax", "whatsapp", "sms", "ring",
    "reach", "dial", "ph", "mob", "cel", "gsm", "text me", "can text", "please text", "or text", "just text", "msisdn",
    "landline", "handy", "fon", "hotline", "rufnummer", "telefono", "teléfono", "móvil", "tél", "téléphone", "portable",
    "cellulare", "telefoon", "tlf", "тел", "телефон", "wa.me", "viber", "caller id", "voicemail", "rang", "phoned",
    "called from", "anrufen", "angerufen", "rufen", "zurückrufen", "rückruf", "telefonnummer", "handynummer",
    "mobilnummer", "telefonisch", "festnetz", "fastnet", "pevná linka", "vaste lijn", "appelez", "rappelez", "appeler",
    "rappeler", "m'appeler", "joindre", "téléphoné", "celular", "llamar", "llámame", "llame", "llámeme", "llamó",
    "telefone", "telemóvel", "ligar", "ligue", "telefonou", "erreichen mich", "erreichst mich", "erreichen uns",
    "erreichbar unter", "my contact", "contact me", "contact us", "komórka", "komórkowy", "chiamare", "chiamami",
    "chiamarmi", "richiamatemi", "chiama", "telefonato", "bel", "bellen", "belde", "mobiel", "gsm", "dzwonić",
    "zadzwonić", "zadzwoń", "oddzwonić", "dzwonił", "telefonu", "puhelin", "puh", "soittaa", "soittakaa", "soitti",
    "kännykkä", "mobilen", "ringa", "ringde", "ringe", "ringede", "volat", "zavolejte", "volal", "τηλέφωνο", "κινητό",
    "телефону", "телефона", "позвонить", "позвоните", "перезвоните", "звоните", "звонить", "звонил", "по номеру",
    "telefondan", "numaralı", "arayın", "numeroon", "called me from", "calling from", "calling me from", "callback",
    "text stop to", "marque el", "marque al", "hablar al", "hablarme al", "me liga", "liga-me", "me ligou", "meu whats",
    "no whats", "meu zap", "me chama no", "fale comigo no", "jestem pod", "tfn", "volejte", "τηλ", "wa ke", "nomor hp",
    "no. hp", "no hp", "ponsel", "mi chiami", "kom.",
)  # fmt: skip
_OURS = (
    "meine nummer", "mon numéro", "mi número", "mi numero", "meu número", "il mio numero", "mijn nummer", "mój numer",
    "мой номер", "my number", "our number", "his number", "her number", "their number", "contact number", "new number",
    "contact no", "wrong number", "right number", "correct number", "personal number", "private number", "work number",
    "home number", "office number", "direct number", "emergency number", "neue nummer", "nouveau numéro",
    "nuevo número", "cambié de número", "novo número", "nuovo numero", "nieuwe nummer", "nowy numer", "новый номер",
    "с номера", "nové číslo", "moje číslo", "mé číslo", "na čísle", "mitt nummer", "mit nummer", "nytt nummer",
    "nyt nummer", "yeni numara", "numaram", "मेरा नंबर", "nomor saya", "numărul meu", "номерът ми", "мій номер",
    "moj broj", "moja številka", "numéro", "número nuevo", "direct line", "office line", "work line", "home line",
    "support line",
)  # fmt: skip
"""Somebody's number; of what, is said behind it, if of anything."""
_STEMS = (
    "telef", "telep", "mobiltel", "puhelin", "телеф", "τηλέφ", "τηλεφ", "điện thoại", "dialled", "dialed", "llamar", "llámen",
    "llámam", "llamem", "llamad", "contáct", "contactar", "comuníq", "comuníc", "comunicar", "márca", "marcar",
    "chiamat", "chiamar", "richiam", "chamada", "zadzwo", "oddzwo", "zavol", "звон", "позвон", "перезвон", "созвон",
    "дзвон", "обади", "набери", "вотсап", "ватсап", "мобіл", "мобил", "моб.", "καλέσ", "κάλεσ", "κινητ", "hubungi",
    "telpon", "hívj", "hívhat", "sunați", "pokliči", "skambin", "zvaniet", "rückruf", "nazovit", "ahora es",
)  # fmt: skip
"""How words for telephones and for calling begin where they are bent: *telefonszámom*, *телефонът*, *llámenme*."""
_SIGNS = (
    "☎", "✆", "📞", "📱", "📲", "电话", "手机", "電話", "携帯", "전화", "핸드폰", "휴대폰", "फोन", "मोबाइल", "هاتف", "جوال",
    "טלפון", "נייד", "โทร", "回拨", "拨打", "撥打", "致电", "致電",
)  # fmt: skip
_TOWARDS = (
    "contact", "kontakt", "contatt", "contat", "caller", "sender", "recipient", "reach", "get hold of", "get back to", "in touch",
    "ask for", "ping", "if urgent", "emergency", "erreich", "ansprechpartner", "melden", "notfall", "joign", "urgence",
    "urgencia", "urgência", "localiz", "raggiung", "referente", "emergenz", "bereik", "spoed", "dostępn", "pilne",
    "disponible en", "disponível", "falem", "ni når", "anträff", "hör av", "akut", "få fat", "træffes", "zastihn", "zastiž",
    "ozvěte", "naléhav", "tavoit", "yhteys", "yhteyt", "kiireel", "ulaş", "iletişim", "ilgili kişi", "acil", "связ", "свяж",
    "контакт", "доступ", "срочно", "連絡", "連絡先", "担当", "緊急", "联系", "聯繫", "收件人", "紧急", "연락", "담당",
    "긴급", "받는",
)  # fmt: skip
"""How words begin that say whom to turn to."""
_NEW_ONE = (
    "new one is", "one is", "neue ist", "neue lautet", "nouveau est le", "nouveau est", "nuevo es el", "nuevo es",
    "nuovo è", "nieuwe is", "nowy to", "novo é", "nya är", "nye er", "nové je", "uusi on", "новый", "yenisi", "新しいのは",
    "新的是", "새 번호는", "i'm at", "i am at", "message from", "sms from", "text from", "inbound from", "incoming from",
    "sms to",
)  # fmt: skip
_WROTE = (
    "wrote", "written", "writes", "schrieb", "schreibt", "écrit", "escribió", "scritto", "schreef", "pisał", "pisała",
    "escreveu", "skrev", "psal", "psala", "писал", "писала", "kirjoitti",
)  # fmt: skip
_FROM = "from|von|depuis le|depuis|desde el|desde|da|dal|do|vanaf|z|från|fra|с|numerosta"
_CLOSING = (
    "regards", "grüße", "grüßen", "cordialement", "saludo", "saludos", "atentamente", "saluti", "groet", "groeten", "pozdrawiam",
    "pozdravem", "pozdravom", "уважением", "hälsningar", "hilsen", "terveisin", "cumprimentos", "saygılar", "cheers", "sincerely",
)  # fmt: skip
"""How letters end; the name comes on the next line, and then perhaps a number."""
_LETTER = "0-9A-Za-z_\u00c0-\u1fff"
_NOTHING_OF = rf"(?!\W{{1,3}}(?:d['’]|(?:d[eioau]|du|del|of|for|für|voor)(?![{_LETTER}]))|\W{{1,3}}[^\W\d_]{{5,}})"
_WORD = re.compile(
    rf"(?:(?:(?<![0-9A-Za-z\u00c0-\u1fff])(?:{'|'.join(_WORDS)}|(?:{'|'.join(_STEMS)})[^\W\d_]{{0,14}})"
    r"|(?-i:(?<=[a-z])(?:Phone|Mobile|Tel|Telephone|Cell|Fax|WhatsApp)))"
    rf"(?:[ _-]?(?:number|no|nr|num))?(?: me| us| back)?(?: at| on)?(?![{_LETTER}])"
    rf"|(?<![{_LETTER}])(?:(?:my|our|his|her|their|contact) (?:new )?(?:number|no|nr)|{'|'.join(_OURS)})"
    rf"(?![{_LETTER}]){_NOTHING_OF}"
    rf"|{'|'.join(_SIGNS)}|(?:(?:(?<![^\n|•·,;>(\"'])|(?<=[|•·,;)] ))[tpmcf]:|\([tpmfohw]\))(?=\W{{0,3}}\Z))([^\n\d]{{0,20}})\Z",
    re.IGNORECASE,
)
"""A word or a sign that leads to a number, a name of a field, or what stands for such a word in a signature, as in `M: …`."""
_TURNED_TO = re.compile(
    rf"(?<![{_LETTER}])(?:(?:{'|'.join(_TOWARDS)})(?!_?id|(?:o|at)?re(?![^\W\d_]))[^\n\d\".!?。\]]{{0,44}}(?:\"[^\n\d\".!?。\]]{{0,3}}){{0,2}}"
    rf"|(?:{'|'.join(_NEW_ONE)}|(?:{'|'.join(_WROTE)})(?: [^\W\d_]{{1,4}})?(?: (?:{_FROM}))) \(?"
    rf"|(?:{'|'.join(_CLOSING)})[^\n\d]{{0,20}}\n[^\n\d]{{2,40}}\n"
    r"|[\"'](?:from|to)[\"']: ?[\"'])\Z",
    re.IGNORECASE,
)
_TITLE = r"[A-Z\u00c0-\u00de\u0100-\u017f\u0391-\u03ab\u0410-\u042f]"
_REST = r"(?:[^\W\d_]|['’.\-]){0,24}"
_NAME = re.compile(
    rf"(?:\A|[\s,;|(\"'>:=])({_TITLE}{_REST}(?: (?:d[aeiou]s?|del|van|von|der|den|la))?(?: {_TITLE}{_REST}){{1,4}})"
    r"( ?[,;|:(\t–\-] ?\(?| ?\r?\n\(?| \(?| (?:at|on|via|under) )\Z"
)
"""Two words or more with capitals, as a person is called, directly before the digits."""
_NO_NAME = re.compile(
    r"(?<![^\W\d_])(?:net|gross|order|invoice|ticket|version|article|item|product|part|serial|model|batch|case|contract|policy|code|"
    r"account|page|section|table|figure|chapter|line|row|series|build|release|windows|studio|office|street|population|income|cash|"
    r"assets?|profit|loss|tax|units?|shares?|date|time|year|quantity|id|number|no|nr|balance|debt|equity|index|error|status|reference"
    r"|total|sum|monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|march|april|june|july|august|september"
    r"|october|november|december)(?![^\W\d_])|nummer|номер|numer|número|numéro|numero",
    re.IGNORECASE,
)
_UNITS = re.compile(
    r"[ \u00a0](?:times|views|visits|users|followers|bytes|pixels|rows|records|items|units|people|downloads|requests|tokens|"
    r"steps|km|kg|ms|mal|fois|veces|volte|stück|aufrufe|euros?|dollars?|usd|eur|[€$£%])(?![^\W\d_])",
    re.IGNORECASE,
)
"""Behind bare digits: what they count."""
_OF_SALES = re.compile(
    r"[^\n]{0,60}?(?:(?<![\d.,])\d{1,6}[.,]\d\d(?![\d.,])|[€$£]|(?<![^\W\d_])(?:shipped|delivered|paid|unpaid|pending|open|closed|refunded|"
    r"cancelled|canceled|returned|offen|bezahlt|storniert|versendet|geliefert|expédiée?|payée?|enviado|pagado|spedito|pagato)(?![^\W\d_]))",
    re.IGNORECASE,
)
"""In the same row behind a name and bare digits: they are an order's or an invoice's."""
_NO_PERSON = re.compile(
    r"(?<![^\W\d_])(?:forms?|submissions?|requests?|tickets?|orders?|entry|records?|campaign|lists?)(?![^\W\d_])", re.I
)
"""What somebody contacts, or is reached, and has a number of its own."""
_CELL = r"(?:[^\W\d_][^\d\n@=:,;|\t]{0,40}[,;|\t\n] ?)?"
_MAIL_BEFORE = re.compile(rf"@(?![0-9.\-]+,)[A-Za-z0-9.\-]{{3,80}}[>\])]?(?:[ ,;|/\t]{{1,3}}|\r?\n){_CELL}\(?\Z")
_MAIL_BEHIND = re.compile(rf"\)?(?:[ ,;|/\t]{{1,3}}|\r?\n){_CELL}<?[A-Za-z0-9_.+\-]{{1,40}}@[A-Za-z]")
_ENDINGS = (
    " is the best way", " is the best number", " from now on", ", call me", "様", "に折り返し", "で連絡", "まで連絡",
    "までご連絡", "まで電話", "までお電話", "から電話", "からお電話", "로 연락", "로 전화", "으로 연락", "에서 전화",
    "打来", " numaralı telefon", " numarasını", " üzerinden ulaş", " üzerinden iletişim", " üzerinden arad",
    " üzerinden yazd", " üzerinden bana", " as a callback", " as my number", " as her number", " as his number",
    " as their number", " as your number", " as my contact", " is my number", " is my new number", " is my cell",
    " is my mobile", " is my phone", " is still your current", " still your number", " still your current",
    " to the whatsapp", " on whatsapp", " to get in touch", " to reach me", " to reach us", " and ask for", ", ask for",
    " called me", " rang me", " texted me", " keeps calling", " last called", " hat mich angerufen", " hat angerufen",
    " ist meine nummer", " m'a appelé", " est mon numéro", " me llamó", " es mi número", " mi ha chiamato",
    " è il mio numero", " me ligou", " é o meu número", " heeft gebeld", " is mijn nummer", " to mój numer",
    " är mitt nummer", " er mit nummer", " je moje číslo", " मेरा नंबर", " पर कॉल", "が私の番号", "是我的号码",
    "는 제 번호", " ext.", " ext ", ", ext", " extension ", " durchwahl ", " anexo ", " ramal ", " wew.", " доб.",
    " вн.",
)  # fmt: skip
_SAYS_SO = re.compile(rf"[)）]?(?:{'|'.join(map(re.escape, _ENDINGS))})", re.IGNORECASE)
"""Behind the digits."""
_AMOUNT = re.compile(r"[1-9]\d{0,2}(?:[ .\u00a0\u2009\u202f]\d{3})+")
_THINGS = (
    r"total|sum|summe|gesamt|umsatz|revenue|sales|turnover|population|einwohner|budget|betrag|amount|price|preis|cost|views|"
    r"downloads"
)
_NAMED_OTHERWISE = re.compile(
    rf"(?:(?<![{_LETTER}])(?:about|regarding|concerning|wegen|ids?|code|functions?|función|funktion|fonction|função|funzione|expediente|"
    rf"volumen?|{_THINGS})[^\w\d]*|{CODE_BEFORE.pattern})\Z",
    re.IGNORECASE,
)
"""Between the word and the digits: what the call is about."""
_OTHERWISE = re.compile(
    rf"(?:(?<![{_LETTER}])(?:{_THINGS})[^\w\d]*|(?<!\d)(?:1[5-9]|20)\d\d(?:年| ?г\.?)? ?: ?"
    rf"|(?<![{_LETTER}])(?:{LOTTERIES})[^\n\d\W]{{0,12}}(?: \d{{1,2}} [^\W\d_]{{3,10}})? ?:? ?|{CODE_BEFORE.pattern})\Z",
    re.IGNORECASE,
)
"""Before digits that are written as a telephone number is: what they are instead."""
_COUNTED = (
    "ids?|identifier|uid|gid|pid|uuid|user|account|acct|customer|client|member|employee|student|patient|issue|commit|revision|rev|"
    "build|confirmation|po|job|task|run|thread|process|session|request|transaction|txn|payment|receipt|voucher|coupon|code|pin|otp|asin|item|"
    "contract|vertrag|product|article|asset|barcode|vin|license|permit|passport|docket|file|record|row|line|entry|page|block|height|nonce|seed|"
    "hash|checksum|crc|timestamp|time|epoch|ts|date|offset|address|port|size|length|bytes|limit|max|min|maximum|minimum|counts?|"
    "factorial|prime|integer|int|long|number of|equals|equal to|about|approximately|approx|over|nearly|than|least|most|up to|"
    "roughly|almost|exceeds|key|version|committed|seq|sequence|shard|partition|bucket|node|slot|scores?|points|weight|rank|USD|EUR|GBP|Rs|INR|JPY|routing|konto|kennung|nr|№|nº|n°|#"
)
_NOT_HIS = r"(?!telefon|handy|mobil|\w{0,8}ruf|fax|festnetz|meine|kontakt|notfall|privat|whatsapp)"
"""Before a word that ends in *nummer*: none of those that are somebody's."""
_OF_A_THING = re.compile(
    rf"(?:(?:(?<![A-Za-z])(?:{_COUNTED}|{_NOT_HIS}\w{{3,20}}nummer)|(?-i:(?<=[a-z])(?:Id|ID|No|Nr|Code|Key|Ref|Version|Revision|Offset|Count|Size|Seq|Sequence|Index|Height|Hash)))"
    r"(?:[-_ ]{0,2}(?:number|no|nr))?(?: (?:is|was|ist|of))?[\"'>\])]{0,2}[\s:=.]{0,4}[\"']?)\Z",
    re.IGNORECASE,
)
"""Before digits with nothing between: what they are instead."""
_REGISTER = re.compile(r"(?<![^\W_])(?:[A-Z][B-DF-HJ-NP-TV-XZ]{2,5}|[A-Z]{1,3}\d[A-Z]{1,3})(?: ?[:#] ?| )\Z")
_YEAR_FIRST = re.compile(r"20\d[\d/.\-]?[/.\-]|\d{5}-\d{3,4}\Z")
"""A date, or the code of a place."""
_ONE_LEFT = re.compile(r".*\d{3} \d\Z")
"""Digits and a single one behind them, the check digit of a thing's number."""
_ASCII_DIGIT = re.compile("[0-9]")
_SIGNED = re.compile(r"(?:[tpmcf]:|\([tpmfohw]\))\W{0,3}\Z", re.IGNORECASE)
_A_LETTER = re.compile(r"[^\W\d_]|[☎✆📞📱📲]")
_TO_OTHER = re.compile(r"(?:.*(?:[\n\d]|\[[A-Z]{2,8}(?=[:\]])))?", re.DOTALL)
"""All up to the last digit, end of a line, or placeholder of what was taken out before."""
_OF_ORDERS = re.compile(
    rf"(?:{ORDERS})[^\W\d_]{{0,9}} \Z|\b(?:grid|table|sheet|excel|raster|battery|fuel|solar) \Z", re.IGNORECASE
)
_BESIDE = re.compile(r"\\?[\"'],\s?\\?[\"']value\\?[\"']\s?:\s?\\?[\"']?")
"""Between the name of a field and its value, where each stands in a field of its own."""
_LABEL_ABOVE = re.compile(r"(?:\A|[\n<])[^\n\d]{2,30}[>:](\r?\n[ \t]{0,16})\Z")
"""The name of a field and the end of its line, before what stands alone in the next one."""

# Digits of every script, by the first bytes of their UTF-8 or of their escapes.
D = (
    rb"(?:[0-9]|[\xd9-\xdf][\x80-\xbf]|[\xe0\xe1\xea][\x80-\xbf]{2}|\xef\xbc[\x80-\xbf]|\xf0[\x80-\xbf]{3}"
    rb"|\\u(?:0[6-9A-Fa-f]|1[0-9A-Fa-f]|[Aa][0-9A-Fa-f]|[Ff][Ff])[0-9A-Fa-f]{2}|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[0-9A-Fa-f]{4})"
)
GAPS = rb" |\xc2\xa0|\xe2\x80[\x80-\xbf]|\xe3\x80\x80|\\u00[aA]0|\\u20[0-9A-Fa-f]{2}|\\u3000"
S = rb"(?:[./()\-]|" + GAPS + rb"|\xe2\x88[\x80-\xbf]|\xef\xbc[\x88-\x8f]|\\/|\\u22[0-9A-Fa-f]{2}|\\u[fF][fF]0[89a-fA-F])"
EDGE = rb"(?:^|[^0-9A-Za-z.+\-]|" + ESCAPE + rb")"


def _said(words: tuple[str, ...]) -> bytes:
    return rb"(?i:" + b"|".join(map(bytes_of, least(words))) + rb")"


_LED = any_of(
    (*_WORDS, *_STEMS, *_OURS, *_SIGNS, "contact", "our no", "my no", "his no", "her no", "their no", "my new", "our new")
)
_TO_SOMEBODY = any_of((*_TOWARDS, *_NEW_ONE, *_WROTE, *_CLOSING, "from", "to"))


_NON_ASCII = rb"[\x80-\xff]|\\u[0-9A-Fa-f]{4}"
_CAPITAL = rb"(?:[A-Z]|[\xc3-\xd1][\x80-\xbf]|\\u0[0-4][0-9A-Fa-f]{2})(?:[A-Za-z'.\-]|" + _NON_ASCII + rb")*"
_BEGUN = rb"(?:^|[^0-9A-Za-z]|" + ESCAPE + rb")"
BEFORE_FILTER = rb"|".join(
    (
        _BEGUN + rb"(?i:" + b"|".join(map(bytes_of, _WORDS)) + rb")(?i:number|num|no|nr)?(?:$|[^A-Za-z])",
        rb"[a-z](?:Phone|Mobile|Tel|Telephone|Cell|Fax|WhatsApp)",
        _BEGUN + _said((*_STEMS, *_OURS, *_TOWARDS, *_NEW_ONE, *_WROTE, *_CLOSING)),
        _BEGUN + rb"(?i:(?:my|our|his|her|their) (?:new )?n(?:umber|o|r))",
        _said(_SIGNS) + rb"|(?:\x22|')(?i:from|to)(?:\\?\x22|')|@[A-Za-z0-9.\-]{3}",
        _CAPITAL + rb"(?: (?:d[aeiou]s?|del|van|von|der|den|la))? " + _CAPITAL + rb"(?: (?:at|on|via|under) | ?"
        rb"(?:[,;|:(\t\r\n\-]|\\[trn]|" + _NON_ASCII + rb"){0,8} ?\(?)(?:[0-9]|[\xd9-\xf0][\x80-\xbf]|\\u)",
    )
)
"""What leads to digits, however far before them. Digits are looked for apart: an automaton that looked for words and then for
digits has a thousand times as many states."""
BEHIND_FILTER = _said(_ENDINGS) + rb"|[A-Za-z0-9_.+\-]@[A-Za-z]"
"""What stands behind such digits."""


def leads_to(text: str, start: int, number: str) -> bool:
    """Whether a word leads to a number: not over more than a field's name, nor to something that is called otherwise."""
    said = _said_before(text, start)
    if said is None:
        return False
    if sum(map(str.isdecimal, number)) <= _FEW and (_SURELY.search(said[0]) is None or any(map(str.isalpha, said[1]))):
        return False
    if _OF_ORDERS.search(said.string, max(0, said.start() - 32), said.start()) is not None:
        return False
    return (
        (said[1].count('"') <= 2 or _BESIDE.fullmatch(said[1]) is not None)
        and _UNITS.match(text, start + len(number)) is None
        and _NAMED_OTHERWISE.search(said[1]) is None
        and not is_of_a_paper(said[1])
    )


def _said_before(text: str, start: int) -> re.Match[str] | None:
    """The word before the digits from `start` on that makes them a number of somebody; it stands behind all other digits."""
    above = _LABEL_ABOVE.search(text, max(0, start - 48), start)
    if above is not None:  # its name stands in the line before
        text, start = f"{text[above.start() : start].replace(above[1], ' ')}", start - above.start() - len(above[1]) + 1
    other = _TO_OTHER.match(text, max(0, start - 48), start)
    first = start if other is None else other.end()
    if _LED.search(_bytes(text[first:start])) is None and _SIGNED.search(text, first, start) is None:
        return None
    return _WORD.search(text, first, start)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def is_of_a_thing(text: str, start: int) -> bool:
    """Whether the digits from `start` on are counted, or named as a thing's."""
    return is_named_otherwise(text, start) or _OF_A_THING.search(text, max(0, start - 32), start) is not None


def is_of_a_register(text: str, start: int) -> bool:
    """Whether letters that nobody can say, as `OCLC` and `LPN`, stand directly before bare digits, as names of registers do."""
    return _REGISTER.search(text, max(0, start - 12), start) is not None


def is_named_otherwise(text: str, start: int) -> bool:
    """Whether the digits from `start` on are named as something else. In a table of numbers there is no letter that could."""
    return _OTHERWISE.search(text, max(0, start - 32), start) is not None or names_a_thing(text, start)


def stands_with_somebody(text: str, start: int, end: int) -> bool:
    """Whether digits are a number of somebody by what is around them: words of turning to somebody, a name, an e-mail address.
    They are taken whole, and none that is named otherwise, written as an amount is, or too short."""
    number = text[start:end]
    amount = _AMOUNT.fullmatch(number) is not None
    digits = len(_ASCII_DIGIT.findall(number))
    bare = len(number) == digits
    if digits + 1 < _ENOUGH or (bare and digits > _MOST_BARE) or (amount and "." in number) or _YEAR_FIRST.match(number):
        return False
    if bare and _UNITS.match(text, end) is not None:
        return False
    first = max(0, start - 96)
    lettered = _A_LETTER.search(text, first, start) is not None
    towards = lettered and _is_turned_to(text, first, start)
    if digits + (not bare) < _ENOUGH and not towards:
        return False
    return (
        towards
        or (
            lettered
            and _ONE_LEFT.match(number) is None
            and _is_behind_a_name(text, first, start, amount)
            and not (bare and number[0] != "0" and _OF_SALES.match(text, end))
        )
        or (lettered and text.find("@", first, start) >= 0 and _MAIL_BEFORE.search(text, first, start) is not None)
        or (text.find("@", end, end + 96) >= 0 and _MAIL_BEHIND.match(text, end, end + 128) is not None)
        or _SAYS_SO.match(text, end) is not None
    ) and not is_of_a_thing(text, start)


def _is_turned_to(text: str, first: int, start: int) -> bool:
    if _TO_SOMEBODY.search(_bytes(text[first:start])) is None:
        return False
    found = _TURNED_TO.search(text, first, start)
    return found is not None and _NO_PERSON.search(found[0]) is None


def _is_behind_a_name(text: str, first: int, start: int, amount: bool) -> bool:
    last = text[first:start].rstrip(" ,;|:(\t\r\n–-").rpartition(" ")[2]
    if not last[:1].isupper() and last not in ("at", "on", "via", "under"):
        return False  # most digits are done with here
    found = _NAME.search(text, first, start)
    if found is None or _NO_NAME.search(found[1]) is not None or (amount and found[2] == " "):
        return False
    return not all(word.isupper() for word in found[1].split())
