"""Telephone numbers, as they are written, and what only looks like them."""

from __future__ import annotations

import pytest

from tunekeeper.text.telephones import phones


@pytest.mark.parametrize(
    "number",
    [
        "+49 (0)30 / 901820", "030-901820", "030 / 90 18 20", "(415) 555-0132 ext. 4", "00447700900123", "0044 7700 900123",
        "06 12 34 56 78", "06.12.34.56.78", "+7 (495) 123-45-67", "8 (495) 123-45-67", "(11) 91234-5678", "+49–30–1234567",
        "+1\u00a0415\u00a0555\u00a00132", "138 0013 8000", "1-800-555-0199", "415.555.0132x12",
        "91 411 07 59", "22-345-67-89", "13912345678",
        "0470 12 05 67", "8-912-345-67-89", "0 532 123 45 67", "0(532) 123 45 67", "0 (532) 123 45 67", "347 1234567",
        "(+34) 612 34 56 78", "(0034) 612345678", "612 34 56 78", "089/1234567-0", "(22) 345 67 89", "(852) 2345 6789",
        "0 212 345 67 89", "8 701 234 56 78", "11 91234-5678", "89161234567",
        "+ 49 30 901820", "+(371) 41475850", "08-12 30 61", "02 123 824", "(06 1) 294 9969", "(0-312) 81462", "21 259 5002",
        "21 2302 0678", "918 51 605", "300 179 31 75", "22 2652-0264", "8 (71456) 5 32 97", "(0170)1234567",
        "０９０－１２３４－５６７８", "＋８１（９０）１２３４－５６７８",
    ],
)  # fmt: skip
def test_a_number_is_found_whole_however_it_is_written(number: str) -> None:
    text = f"reached under {number}, thanks"
    assert [text[slice(*span)] for span in phones(text)] == [number]


@pytest.mark.parametrize(
    "text",
    [
        "on 01.05.2026 and 03.05.26", "from 01.05.2026-03.05.2026", "2026-05-01 10:00", "ISBN 978-3-16-148410-0",
        "order 4155550132",
        "I called about order 415-555-0132", "call about 4155550132", "phone us, invoice no. 4155550132", "SIREN 030 123 456",
        "George Berkeley (1685-1753)", "Zola (1840 – 1902), writer", "ORCID 0000-0003-7274-3018", "ISNI 0000 0001 1191 9575",
        "Loto du 14 mai : 03 07 41 03 32 + 7", "Keno 09 13 45 59 64 67 53 12", "Container MSKU 787461 7, seal", "LPN 0818290320",
        "https://maps.example/@21.3040358,19.5528590,17z", "1-0:1.8.0*255 (082167.1187*kWh)",
        "resourceVersion: \"015431405\"", "partition key \"9460665783\"",
        "00:12:34", "1,234,567.00", "12.5 - 13.75", "017012345678x", "DHL 00340434161094027318", "order number is 4155550132",
    ],
)  # fmt: skip
def test_dates_orders_and_prices_are_no_numbers_of_people(text: str) -> None:
    assert phones(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "ab sofort bitte 06151234567 anrufen", "it is 015112345678 now", "Kaj (4155550132) wrote", "4155550132",
        "a\n14155550132\nb",
        "17,Kaj,8876543210,open", "| 3 | Kaj | 3471234567 |", "please take 4155550132 instead", "Kaj\t605 425 382\tOslo",
        "bitte 605 425 382 verwenden", "03(1234)5878", "ok: 8185 4135.", "reach me on (2) 2106 9122", "0 802 843 727",
        "Tel. 714117", "call 415 - 555 - 0132", "754 - 734 - 7270", "you can text 612675517 anytime",
    ],
)  # fmt: skip
def test_bare_digits_of_a_numbering_plan_are_one_where_nothing_counts_or_names_them(text: str) -> None:
    ((start, end),) = phones(text)
    assert sum(map(str.isdecimal, text[:start] + text[end:])) <= 2


@pytest.mark.parametrize(
    "text",
    [
        "the display shows 4155550132.", "is 4155550133 prime?", "x = 4155550132", "return 4155550132;", "n > 4155550132)",
        "print(4155550132)", "[4155550132, 4155550133]", '{"id": "4155550132"}', "<id>4155550132</id>", "4155550132 rows",
        "confirmation: 4155550132", "2147483648", "9999999999", "0123456789", "4155550132 + 1", "1,4155550132,200",
        "seed: 4155550132",
        "we saw 605 425 382 people", "10 20 30 40", "2019 2024", "8185 4135 7777", "921/198/2288", "0,0612345678", "code 123456",
        "call number 123456 of the queue", "the phone costs 123456 in total", "Vertragsnummer 0612345678",
        '{"sku": "0612345678"}',
    ],
)  # fmt: skip
def test_bare_digits_that_count_or_name_a_thing_are_none(text: str) -> None:
    assert phones(text) == []


@pytest.mark.parametrize(
    "said", ["call me on {}", "Tel. {}", '"phone": "{}"', "my number is {}", "电话{}", "Tél : {}", "https://wa.me/{}"]
)
def test_bare_digits_are_one_where_a_word_says_so(said: str) -> None:
    text = said.format("4155550132")
    assert [text[slice(*span)] for span in phones(text)] == ["4155550132"]


@pytest.mark.parametrize(
    "text", ["{}", "Anna, {}", "Ok: {}.", "({})", "{} — evenings only", "as I said:\n{}\nthanks", "O meu telefone é {}."]
)
@pytest.mark.parametrize("number", ["620 992 877", "912 345 678", "501 234 567"])
def test_nine_digits_by_themselves_are_a_number(text: str, number: str) -> None:
    assert [text.format(number)[slice(*span)] for span in phones(text.format(number))] == [number]


@pytest.mark.parametrize(
    "text",
    [
        "we have 620 992 877 users", "620 992 877 Ft", "Total: 620 992 877.", "Umsatz: 620 992 877", "620 992 877,50",
        "12 620 992 877",
        "120 992 877", "620 992 877 000", "订单号：13912345678", "Sendungsnummer 13912345678", "v=13912345678",
        "10912345678", "1391234567890",
        "91 411 07 5", "Paket 002206735506",
    ],
)  # fmt: skip
def test_amounts_and_codes_are_none(text: str) -> None:
    assert phones(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Tel.: 02 21 / 4 16 66 22\nFax", ["02 21 / 4 16 66 22"]),
        ("Tel. 030 901820 / 0170 1234567", ["030 901820", "0170 1234567"]),
        ("<td>Mobiltelefon</td><td>81 8491 4442</td>", ["81 8491 4442"]),
        ("<contact_phone>\n  81 8272 5232\n</contact_phone>", ["81 8272 5232"]),
        ("Phone:\n 777-422-619\nOrder:\n 777-422-619", ["777-422-619"]),
        ("请拨打2890-1992找王先生。", ["2890-1992"]),
        ("Ligue para 11 9 3969 7237 se", ["11 9 3969 7237"]),
        ('{"key": "mobile", "value": "94 44 32 46"}', ["94 44 32 46"]),
        ("The mobile app 2.8.6 (93591220) crashes, grid cell 45435609", []),
        ("Sipariş numaram 164573489, telefon numaram 532 164 57 34", ["532 164 57 34"]),
        ("8093e8ba-0086-4205-aac7-60714a8f2941", []),
    ],
)
def test_a_number_is_found_by_its_label_in_the_cell_or_the_line_before(text: str, found: list[str]) -> None:
    assert [text[slice(*span)] for span in phones(text)] == found


def test_what_follows_a_number_does_not_hide_it() -> None:
    text = "+49 170 1234567 2024 12345"
    ((start, end),) = phones(text)
    assert start == 0
    assert text[:end].startswith("+49 170 1234567")


@pytest.mark.parametrize(
    "text",
    [
        "☎ 51246965", "📱 611 1856", "Ph. 33182893", "phone_number: 2346 6419", '"customerPhone": "512701630"',
        "msisdn=491701234567",
        "T: 27 12 65 04 | M: 71128125", "(p) 6919599064", "• M: 71128125", "text me on 21 71 24 03",
    ],
)  # fmt: skip
def test_the_name_of_a_field_a_sign_and_a_letter_of_a_signature_lead_to_a_number(text: str) -> None:
    left = text
    for start, end in reversed(phones(text)):
        left = left[:start] + left[end:]
    assert not any(map(str.isdecimal, left)), left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Tel. 030 901820 / 0170 1234567", "Tel. # / #"),
        ("+49 30 901820 | 0170 1234567", "# | #"),
        ("01 23 45 67 89/06 12 34 56 78", "#/#"),
        ('7,"Lee, Ana",0664 463632,2024-02-11,open', '7,"Lee, Ana",#,2024-02-11,open'),
    ],
)
def test_of_two_numbers_and_of_the_cells_of_a_table_each_is_found(text: str, left: str) -> None:
    for start, end in reversed(phones(text)):
        text = text[:start] + "#" + text[end:]
    assert text == left


@pytest.mark.parametrize(
    "text",
    [
        "Newark, NJ 01668-3717", '{"zip":"02139-4307"}', "ZIP: 00228-3653", "policy 409-256-1207", "reference: 506 461 870",
        '{"order_id": "0212 345678"}', "please call back regarding case 10789687", "mobile revenue 375 537 517 in 2024",
        '{"id": 8833832938, "parent": 19948691642}', "CNPJ 76.007.248/0001-33", "phone call 5/26/2024 08:46:45",
        "phone call 20301215 05:37:02", "04:31:06 - 2022-06-16 22:34", "T: 36.6, M: 4711", "595 572 1922 2544", "x + 24 793 9175",
        "July 12 1999-2004", "Copyright (C) 1999-2004 and (P) 2001-2003", "customer no. 0212 345678",
    ],
)  # fmt: skip
def test_codes_dates_and_tables_are_no_numbers_of_people(text: str) -> None:
    assert phones(text) == []
