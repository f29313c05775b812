"""Numbers with a check digit, however they are grouped."""

from __future__ import annotations

import random
import re

import pytest

from tunekeeper.text.numbers import MOST_RUNS, cards, ibans, is_card, is_iban, longest
from tunekeeper.text.redaction import Redactor


@pytest.mark.parametrize(
    "written",
    [
        "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111", "4111  1111  1111  1111",
        "4111 - 1111 - 1111 - 1111", "4111\u00a01111\u00a01111\u00a01111", "3782 822463 10005", "3782.822463.10005",
        "2200 1234 5678 9019", "9792 0303 9444 0796", "4111\u20111111\u20131111\u20091111",
        "4111/1111/1111/1111", "4111_1111_1111_1111", "4111|1111|1111|1111", "4111\t1111\t1111\t1111",
        "4111\u00b71111\u00b71111\u00b71111",
        "4111+1111+1111+1111", "4111 / 1111 / 1111 / 1111", "4111 1111\n1111 1111", "41111111 11111111", "3782 8224 6310 005",
        "4111,1111,1111,1111", "4111:1111:1111:1111", "4111; 1111; 1111; 1111", "4111*1111*1111*1111", "4111=1111=1111=1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4111 111111111111", "411111-1111111111", "501820000005", "213100000000001",
        "180000000000002", "3592 0000 0000 0008", "5018 2000 0005",
    ],
)  # fmt: skip
def test_a_card_is_found_whole_however_it_is_grouped(written: str) -> None:
    assert [written] == [written[slice(*span)] for span in cards(written)]
    assert Redactor(["card"]).redact(f"pay {written}, thanks") == ("pay [CARD], thanks", {"card": 1})


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112", "0.4111111111111111", "4111 1111 1111 1111.50", "x4111111111111111", "4.111.111.111.111.111",
        "1111111111111", "4111\t1111\t1111\t1111\t1111", "| 4111 | 1111 | 1111 | 1111 |", "1,4111111111111111 1,5",
        "[4111111111111111,4111111111111111]",
        "[4111,1111,1111,1111]", "4111,1111,1111,1111,1111", "4111, 1111, 1111, 1111, 5", "4111,1111,1111,1111\n2222,1,2,3",
        "41111111 11111111 11111111", "501820000004",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_card_stays(text: str) -> None:
    assert cards(text) == []


def test_a_short_number_that_is_named_as_a_code_is_no_card_and_another_word_excuses_none() -> None:
    assert cards("JANコード4222222222222, barcode: 4222222222222, Strichcode 4222222222222") == []
    assert cards("EAN 4222222222222, IMEI: 378282246310005, GTIN-14 30569309025904") == []
    assert cards("in this case 378282246310005") == [(13, 28)]
    assert cards("order 378282246310005") == [(6, 21)]
    assert cards("EAN 4111111111111111") == [(4, 20)]


@pytest.mark.parametrize(
    "text",
    [
        "DE89370400440532013000", "de89 3704 0044 0532 0130 00", "DE89-3704-0044-0532-0130-00 x",
        "DE89\u202f3704\u202f0044\u202f0532\u202f0130\u202f00", "DE89.3704.0044.0532.0130.00", "DE89 3704 0044\n  0532 0130 00",
        "DE89/3704/0044/0532/0130/00", "DE89_3704_0044_0532_0130_00", "DE89|3704|0044|0532|0130|00",
        "DE89\u00b73704\u00b70044 0532 0130 00",
        "DE 89 3704 0044 0532 0130 00", "DE89:3704:0044:0532:0130:00", "RU0204452560040702810412345678901",
        "NI45BAPR00000013000003558124", "SD8811123456789012",
    ],
)  # fmt: skip
def test_an_iban_is_found_in_capitals_or_not_in_groups_or_not(text: str) -> None:
    (span,) = ibans(text)
    assert text[slice(*span)] == text.removesuffix(" x")


def test_articles_parcels_and_rows_of_measurements_are_no_cards() -> None:
    for text in (
        "sku;ean;stock\n8373321;4300685639288;332",
        "7848113;4280985783624;513\n6359999;4274888169012;31",
        "tracking 9400 1339 3844 7697 3197 61",
    ):
        assert cards(text) == []
    for text, card in (("card 4300685639288, ean", "4300685639288"), ("key1=4111/1111/1111/1111,k", "4111/1111/1111/1111")):
        assert [text[slice(*span)] for span in cards(text)] == [card]
    assert len(cards("4111 1111 1111 1111 5500 0000 0000 0004")) == 2


def test_an_iban_whose_country_and_check_digits_stand_apart_is_found() -> None:
    assert ibans("to FR 76 30006000011234567890189 ok") == [(3, 32)]
    assert ibans("IT 12 4567890123456 and DE 12 345678901234567890") == []


def test_an_iban_ends_where_its_country_says() -> None:
    text = "DE89 3704 0044 0532 0130 00 BIC COBADEFF"
    assert [text[slice(*span)] for span in ibans(text)] == ["DE89 3704 0044 0532 0130 00"]
    assert ibans("DE89 3704 0044 0532 0130 01") == ibans("XX89 3704 0044 0532 0130 00") == []


def test_of_thousands_of_long_numbers_the_last_are_taken_for_cards_unseen() -> None:
    redactor, card, other = Redactor(("card",)), "4111 1111 1111 1111", "4111 1111 1111 1112"
    few, counts = redactor.redact(" x ".join([card, other] * 600))
    assert (counts, few.count(other)) == ({"card": 600}, 600)
    text = " x ".join([card, other] * 2_000)
    assert len(cards(text)) == MOST_RUNS // 2 + 4_000 - MOST_RUNS


@pytest.mark.parametrize(("number", "valid"), [("378282246310005", True), ("378282246310006", False), ("0" * 16, False)])
def test_a_card_has_its_issuers_length_and_check_digit(number: str, valid: bool) -> None:
    assert is_card(number) is valid


@pytest.mark.parametrize(
    ("number", "valid"), [("GB82 WEST 1234 5698 7654 32", True), ("GB82 WEST 1234 5698 7654 33", False), ("ZZ82", False)]
)
def test_an_iban_has_its_countrys_length_and_remainder(number: str, valid: bool) -> None:
    assert is_iban(number) is valid


GROUPINGS = ((4, 4, 4, 4, 3), (4, 4, 4, 4), (4, 4, 4, 1), (4, 6, 5), (4, 6, 4), (4, 4, 5), (6, 13))


def by_trying_all(text: str) -> list[tuple[int, int]]:
    """Cards in a text of digit groups with one blank between, by the plainest way there is: every group, every grouping."""
    groups = [match.span() for match in re.finditer(r"\d+", text)]
    found, first = [], 0
    while first < len(groups):
        last = next(
            (
                n
                for n in range(min(first + 5, len(groups)), first, -1)
                if (n == first + 1 or tuple(end - start for start, end in groups[first:n]) in GROUPINGS)
                and is_card(text[groups[first][0] : groups[n - 1][1]])
            ),
            None,
        )
        found += [(groups[first][0], groups[last - 1][1])] if last else []
        first = last or first + 1
    return found


def test_cards_between_other_numbers_are_those_that_trying_everything_finds() -> None:
    rng, hits = random.Random(4), 0
    known = (
        "4111 1111 1111 1111",
        "3782 822463 10005",
        "4000000000006",
        "5555555555554444",
        "4222 2222 2222 2",
        "6011 0009 9013 9424",
    )
    for _ in range(400):
        digits = ("".join(rng.choices("0123456789", k=rng.choice((1, 2, 4, 4, 4, 6)))) for _ in range(rng.randint(3, 12)))
        pieces = [rng.choice(known) if rng.random() < 0.3 else group for group in digits]
        text = " ".join(pieces)
        if re.fullmatch(r"\d(?: ?\d){12,30}", text) is None:  # longer runs are looked at in parts
            continue
        hits += len(by_trying_all(text))
        assert cards(text) == by_trying_all(text)
    assert hits > 20


def test_of_spans_that_overlap_the_first_and_longest_stays() -> None:
    assert longest([(5, 9), (0, 3), (0, 6), (7, 8)]) == [(0, 6), (7, 8)]


def test_a_card_in_a_cell_of_a_table_and_an_iban_behind_its_name_are_found() -> None:
    assert cards('7,"Lee, Ana",4111111111111111,2024-02-11') == [(13, 29)]
    assert ibans("IBANDE89370400440532013000") == [(4, 26)]
    assert ibans("at 1792022265 it failed\nRegards, Kim") == []
