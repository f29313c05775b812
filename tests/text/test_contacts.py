"""Addresses and numbers of people, as they are written, and what only looks like them."""

from __future__ import annotations

import pytest

from tunekeeper.text.contacts import addresses, emails, phones


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<ana@example.com>,bo@example.com.", ["ana@example.com", "bo@example.com"]),
        ("mailto:o'brien+x@mail.co.uk?subject=x", ["o'brien+x@mail.co.uk"]),
        ("søren@bücher.example and x@почта.рф", ["søren@bücher.example", "x@почта.рф"]),
        ("x@xn--bcher-kva.xn--p1ai", ["x@xn--bcher-kva.xn--p1ai"]),
        ('"ana q"@example.com', ['"ana q"@example.com']),
        ("ana [at] example [dot] com, bo(at)example.com", ["ana [at] example [dot] com", "bo(at)example.com"]),
        ("ana at example dot com", ["ana at example dot com"]),
        ("?to=ana%40example.com&x", ["to=ana%40example.com"]),
        ("请写信给ana@example.com谢谢", ["ana@example.com"]),
        ("_ana@example.com_ and **bo@example.com**", ["_ana@example.com", "bo@example.com"]),
        ("ana arroba example punto com, bo @ example.org", ["ana arroba example punto com", "bo @ example.org"]),
        ('"text": "@app.route(x)" and 3 units @ 4.50 each', []),
        ("what is available at that point in the text", []),
        ("look at the dot product, meet @ 5pm, ask @ana, a@b, git@ x", []),
    ],
)
def test_an_address_is_found_whole_however_its_sign_is_written(text: str, found: list[str]) -> None:
    assert [text[slice(*span)] for span in emails(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://192.0.2.1:80/, 10.0.0.1.", ["192.0.2.1", "10.0.0.1"]),
        ("[2001:db8::1]:443 fe80::1%eth0", ["2001:db8::1", "fe80::1"]),
        ("::ffff:192.0.2.1", ["::ffff:192.0.2.1"]),
        ("v1.2.3.4, version 1.2.3.4, 1.2.3.4.5, 999.1.1.1", []),
        ("from 192[.]0[.]2[.]1 by ip-10-0-31-7.ec2.internal", ["192[.]0[.]2[.]1", "ip-10-0-31-7"]),
        ("Chrome/126.0.0.0 Safari/537.36, peer/10.2.3.4", ["10.2.3.4"]),
        ('"version": "1.2.3.4", a-1.2.3.4.tar.gz, a==1.2.3.4, AssemblyVersion("4.0.1.2")', []),
        ('ip.addr==10.1.2.3, "v":"10.1.2.4"', ["10.1.2.3", "10.1.2.4"]),
        ("3.8.5.9 Scope\n### 3.8.5.10 Terms\n<h4>3.8.5.11 Parts</h4>", []),
        ("10.8.5.9 Connected\n203.0.113.9 Bye", ["10.8.5.9", "203.0.113.9"]),
        ("section 4.2.1.3, chapters 1.2.3.4, § 1.2.3.4", []),
        ("a[10::2] std::vector db::add 12:34:56 00:1b:44:11:3a:b7", []),
        ("EUI-64 00:1b:44:ff:fe:11:3a:b7, a3::b4, abc::f10(), ::f10", []),
        ("ip:2001:db8::1 and _192.0.2.1_", ["2001:db8::1", "192.0.2.1"]),
    ],
)
def test_an_ip_address_is_found_whole_and_code_is_none(text: str, found: list[str]) -> None:
    assert [text[slice(*span)] for span in addresses(text)] == found


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
        "00:12:34", "1,234,567.00", "12.5 - 13.75", "017012345678x", "DHL 00340434161094027318", "order number is 4155550132",
    ],
)  # fmt: skip
def test_dates_orders_and_prices_are_no_numbers_of_people(text: str) -> None:
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
        "11912345678", "1391234567890",
        "91 411 07 5", "Paket 002206735506",
    ],
)  # fmt: skip
def test_amounts_and_codes_are_none(text: str) -> None:
    assert phones(text) == []


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
