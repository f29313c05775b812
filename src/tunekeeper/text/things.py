"""What digits are called where they are a thing's: an order, a part, a contract. Read word by word, since the names are many."""

from __future__ import annotations

import re

_REACH = 48
"""Characters before digits that are looked at."""
_BETWEEN, _BACK = " \t.:：=#(№°º[\"'", re.compile(r"[^\n\d]*")
"""Signs between a name and digits, and a name, read from right to left, up to the last digit or line before it."""
_SAID = re.compile(r"[^\W\d_]+")
_NUMBER = frozenset((
    "number", "no", "nr", "num", "id", "ids", "tag", "code", "n", "numéro", "número", "numero", "номер", "nummer", "numer",
    "broj", "číslo", "numărul", "numar", "kodu", "codice", "código",
))  # fmt: skip
_OF = frozenset(("de", "di", "d", "of"))
_REACHED = (
    "tel", "tél", "phon", "portab", "portát", "mob", "móv", "cell", "celu", "komór", "fax", "contact", "contatt", "contato",
    "kontak", "what", "viber", "fij", "fix", "gsm", "urg", "emerg", "handy", "ruf", "fest", "mein", "not", "privat", "dienst",
    "service", "support", "direk", "direct", "nöd", "nood", "hem", "arb", "werk", "thuis", "büro", "kantoor", "jobb", "hotline",
    "sms", "zentral", "haupt", "neue", "alte", "anruf", "rückruf", "kurzwahl", "durchwahl", "casa", "maison", "bureau", "trab",
    "trav", "ofi", "escrit", "uffi", "appel", "rappel", "secr", "assist", "recep", "recap", "guardia", "garde", "aten", "atten",
)  # fmt: skip
"""How what is somebody's begins."""
_ALONE = frozenset((
    "item", "article", "artículo", "articolo", "artigo", "artikel", "artykuł", "артикул", "référence", "réf", "referencia",
    "riferimento", "pièce", "pieza", "pezzo", "peça", "ricambio", "recambio", "część", "деталь", "reservdel", "onderdeel",
    "ersatzteil", "bauteil", "teil", "teile", "dossier", "expediente", "pratica", "processo", "дело", "contrat", "contrato",
    "contratto", "umowa", "договор", "полис", "póliza", "polizza", "apólice", "polisa", "poliçe", "siniestro", "sinistre", "lote",
    "партия", "partia", "envío", "envio", "spedizione", "localizador", "brevet", "brevetto", "patente", "matrícula", "matricola",
    "immatriculation", "contador", "contatore", "compteur", "zähler", "zählerstand", "meterstand", "index", "firmware",
    "revision", "specimen", "container", "chassis", "sachkonto", "kostenstelle", "vorgang", "aktenzeichen", "shipment",
    "kundenkonto", "код", "código", "codice",
))  # fmt: skip
"""Things that have a number, and are reached by none."""
_NUMBERED = (
    "member", "loyal", "patient", "employ", "student", "badge", "project", "job", "deliver", "consign", "reserv", "confirm",
    "regist", "compan", "applic", "tradem", "public", "grant", "award", "permit", "licen", "docket", "record", "sampl", "stock",
    "box", "seal", "material", "catal", "gate", "tax", "vehicle", "engine", "standard", "asset", "product", "drawing", "part",
    "serial", "po", "purchase", "shipping", "parcel", "customer", "client", "kund", "müşteri", "seri", "série", "ürün", "parça",
    "fatura", "prenot", "rezerw", "брони", "серийн", "инвентар", "заводск", "лицев", "регистр", "sery", "заказ", "sipariş",
    "ticket", "account", "pallet", "factura", "marché", "fattura", "patent", "revis", "model", "version", "batch", "lot", "case",
    "claim", "file", "policy", "contract", "invoice", "order", "transaction", "meter", "shipment", "poliçe",
)  # fmt: skip
"""How what is numbered begins, besides; only together with a word for a number."""
_REACHED_INSIDE = re.compile("tele|phone|fon|mobil|handy|ruf|dienst|service|support|hotline|fax|konta[ck]t")
_IN_CHINESE = re.compile(
    r"(?<=[\u3040-\u9fff\uac00-\ud7af])(?<![話话帯带絡先機机화폰처락者人宅社])(?:番号|编号|編號|번호)\Z|(?:品番|序号|序列号|发票号|零件号)\Z"
)
_PAPER = re.compile(
    r"(?:(?<=[订訂工运運货貨账賬保])[单單]|(?<=[单單序列批货貨型案票件水请請])[号號][码碼]?|发票|發票|合同|案件|包裹|批次"
    r"|(?<=[受管契注伝][理付約文票])番号)[ :：#]*\Z"
)
"""How Chinese and Japanese, which leave no blanks, name an order, a ticket, a contract or a parcel directly before its digits."""


def is_of_a_paper(before: str) -> bool:
    """Whether `before`, what stands between a word for telephones and digits, ends with the Chinese name of a thing."""
    return _PAPER.search(before) is not None


def names_a_thing(text: str, start: int) -> bool:
    """Whether the words directly before the digits from `start` on name a thing that has a number."""
    label = text[max(0, start - _REACH) : start].rstrip(_BETWEEN)
    if not label[-1:].isalpha():
        return False
    back = _BACK.match(label[::-1])
    said: list[str] = _SAID.findall(label, len(label) - (back.end() if back is not None else 0))[-3:]
    words = ["", "", *(word.lower() for word in said)]
    last, before = words[-1], words[-2]
    if last in _ALONE:
        return True
    if last.startswith(_REACHED):
        return False
    if last.endswith("nummer") and last != "nummer":
        return _REACHED_INSIDE.search(last) is None
    if last in _NUMBER:
        return before in _ALONE or before.startswith(_NUMBERED)
    if before in _NUMBER:
        return last.startswith(_NUMBERED)
    named = before in _OF and words[-3] in _NUMBER and said[-1].islower()
    return named or _IN_CHINESE.search(label) is not None
