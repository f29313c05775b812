"""What stands around digits and makes them somebody's number, or a thing's."""

from __future__ import annotations

import json

import pytest

from tunekeeper.text.redaction import Redactor

REDACTOR = Redactor()


@pytest.mark.parametrize(
    "text",
    [
        "Michael Hess 2249485948 called", "Anna Kowalska, 729 547 620, wants", "Winnie Bech (96 19 87 28) siger, at",
        "Med venlig hilsen\nElin Kjær\n36 42 62 12\nFur", "Alves, Ana\tana@example.com\t53292612",
        "53292612 / ana@example.com", "ana@example.com;Porto;925 807 302",
        "You can get hold of her on 53292612 most days.", "Kontaktperson: Bo Holm, 53292612",
        "new one is 53292612, please", "{n} schrieb von 53292612 aus", "連絡先は53292612です",
        "顧客 田中様 12-6520-6427", "A telefonszámom 81190497.", "Телефонът ми е 514082130.",
        "customer dialled in from 40156480 and hung up", "Un saludo,\nเอกชัย ดาวกระจาย\n08127074",
        "Kontakt: Rosina Grimani, 8018884", "ulaşın: 608 9 265", "Pueden llamarme al 2229724844 por la mañana.",
        "Mi chiami al 3133421973 dopo le", "kom. 516-952-216, dostępny",
        "I typed the wrong number, it is 2026411180 not that", "Office line 2074684544 ext.",
        "she gave me 2074684544 as her number", "Zadzwońcie na 512701630 jutro",
        "Cambié de número, ahora es 612345678 siempre", "Rückrufnummer 015112345678", '"from": "53292612"',
        "| Karl Rudi Ek | 925807302 |", "Bia Rocha - (351) 925807302 - Porto",
    ],
)  # fmt: skip
def test_what_is_around_digits_makes_them_a_number_where_no_word_does(text: str) -> None:
    clean, counts = REDACTOR.redact(text)
    assert counts["phone"] == 1, clean
    assert sum(map(str.isdecimal, clean)) == 0, clean
    assert REDACTOR.may_hold(json.dumps({"content": text}).encode())


@pytest.mark.parametrize(
    "text",
    [
        "Order Total 53292612", "Net Income 12 345 678", "contact us about order 53292612", "Ana Lee, order 53292612",
        "Mi número de póliza es 2449180911.", "Mój numer polisy to 4813368.",
        "Population 1933: 856 561 218; 1945: 927 496 250.", "Tilaukseni 00323814971 puuttuu",
        "Min ordre 0132297847 mangler", "Rendelésem: 062087145", "Fattura n. 0124327984", "Moje zamówienie 09340014726",
        "Comanda mea 04925376262 din mai", "טלפון לא ידוע, הזמנה 0570060181", "Flight LH12, PNR 0234063568",
        "Ana Lee, 14. 5. 2010, 10:20", "Ana Lee\t6203108763445\tOslo", "Ana Lee\t433-4182251-3273302\tOslo",
        "Regards\nAna Lee\n66683-136", "Ana Lee,84920175,Shipped,89.90", "Bo Holm | 55443322 | paid | 12.00",
        "ping 12345678 times", "reached 12345678 views", "call id 88345122", "llamar a la función 12345678",
        "nuevo número de seguimiento 12345678", "direct line of 12345678 pixels", "mount 12345678 ext4",
        "会員番号:5932032429", "Ana Lee, 2026-03-04 10:20", "Release Notes 2026-03-04", "ana@example.com 2026-03-04",
    ],
)  # fmt: skip
def test_amounts_dates_and_what_is_named_otherwise_stay_beside_a_name(text: str) -> None:
    assert "phone" not in REDACTOR.redact(text)[1]


def test_the_date_of_a_log_line_is_no_reason_to_look_closer() -> None:
    assert not REDACTOR.may_hold(b"we will call and reach out; no news. 2026-03-04 10:11:12 INFO done")


def test_what_a_field_is_called_tells_what_its_value_is() -> None:
    value = {"phone": "53292612", "contact": ["36 42 62 12"], "password": "hunter2xyz99", "n": "53292612", "note": "53292612"}
    clean, counts = REDACTOR.redact_json({"user": value})
    assert clean == {
        "user": {"phone": "[PHONE]", "contact": ["[PHONE]"], "password": "[KEY]", "n": "53292612", "note": "53292612"}
    }
    assert counts == {"phone": 2, "key": 1}
