"""What is called as a thing's number is no telephone, whatever groups it is written in; what is somebody's stays one."""

from __future__ import annotations

import pytest

from tunekeeper.text.redaction import Redactor

REDACTOR = Redactor()


@pytest.mark.parametrize(
    "label",
    [
        "item number", "Delivery number:", "tax ID", "reservation number", "registration number", "meter number:", "gate code",
        "chassis number", "Fahrgestellnummer", "Teile-Nr.:", "Materialnummer", "Zählerstand", "réf.", "pièce", "contrat",
        "Numéro de série", "numéro d'immatriculation", "número de serie", "póliza:", "pieza", "codice cliente", "numero di serie",
        "contratto", "peça", "apólice", "polisnummer", "numer seryjny", "umowa", "серийный номер", "договор", "артикул",
        "ärendenummer", "seri no", "ürün kodu", "品番", "製造番号：", "序列号", "일련번호", "OCLC",
        "delivery note", "P.IVA", "AWB", "OEM", "ИНН", "Kundenkonto",
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", ["052571438", "030 1234567"])
def test_the_number_of_a_thing_is_no_telephone(label: str, number: str) -> None:
    text = f"{label} {number}"
    assert REDACTOR.redact(text) == (text, {}) or (label == "OCLC" and " " in number)


@pytest.mark.parametrize(
    "label",
    [
        "Office", "Praxis:", "Büronummer", "Notrufnummer:", "Kundendienstnummer", "Police", "Polisen:", "Patentanwalt",
        "Ersatzteile:",
        "Cliente:", "Kunde", "numéro de Paul", "número de casa:", "numero del cliente", "Номер клиента:", "自宅番号：",
        "携帯番号", "전화번호", "Reservas:", "work number", "Marie DUBOIS",
    ],
)  # fmt: skip
def test_the_number_of_a_person_or_a_place_stays_a_telephone(label: str) -> None:
    text = f"{label} 030 1234567"
    assert REDACTOR.redact(text) == (f"{label} [PHONE]", {"phone": 1})


@pytest.mark.parametrize("thing", ["工单", "订单号", "訂單號碼：", "案號", "发票", "批号", "包裹", "受付番号", "保单号: "])
@pytest.mark.parametrize("clause", ["我打了5次电话，", "電話しましたが、"])
def test_a_call_about_an_order_gives_the_number_of_the_order(clause: str, thing: str) -> None:
    text = f"{clause}{thing}5977312403"
    assert REDACTOR.redact(text) == (text, {})


@pytest.mark.parametrize(
    "said", ["我的电话，新号码是", "联系电话，座机号", "手机号", "电话：工单联系人", "電話番号は", "電話、新しい番号"]
)
def test_a_number_of_somebody_stays_one_in_chinese_and_japanese(said: str) -> None:
    assert REDACTOR.redact(f"{said}59773124") == (f"{said}[PHONE]", {"phone": 1})
