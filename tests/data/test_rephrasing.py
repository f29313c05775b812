from __future__ import annotations

import pytest

from tunekeeper.data.rephrasing import difference, essence, is_identifier, masked, shared


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my order?", "Hello, where is my ORDER please"),
        ("I was charged twice!", "we got charged twice"),
        ("the a an", "The a an."),
        ("我的订单在哪里？", "我的订单在哪里"),
        ("我的订单在哪里？", "您好，请问我的订单在哪里？谢谢"),
        ("予約を変更できますか", "すみませんが、予約を変更できますか？お願いします"),
        ("أين طلبي؟", "مرحبا، أين طلبي من فضلك؟"),
        ("วันอาทิตย์เปิดกี่โมง", "สวัสดีค่ะ วันอาทิตย์เปิดกี่โมงคะ"),
        ("आप रविवार को कब खुलते हैं?", "नमस्ते, आप रविवार को कब खुलते हैं? धन्यवाद"),
        ("Kdy máte otevřeno?", "Dobrý den, kdy máte otevřeno? Děkuji"),
        ("Mấy giờ mở cửa?", "Xin chào, mấy giờ mở cửa ạ? Cảm ơn"),
    ],
)
def test_what_carries_no_question_is_left_out_of_its_essence(one: str, other: str) -> None:
    assert essence(one) == essence(other) != ()


@pytest.mark.parametrize(
    ("word", "expected"),
    [("4411", True), ("tk0042", True), ("2024", False), ("1987", False), ("12", False), ("a1b2", True), ("order", False)],
)
def test_an_identifier_names_one_thing_among_many(word: str, expected: bool) -> None:
    assert is_identifier(word) is expected
    assert (masked([word]) == masked(["77777"])) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("my invoice is wrong", "my invoice is wrong", "nothing"),
        ("my invoice is worng since monday", "my invoices is wrong since Mondays", "nothing"),
        ("the subscription renewal failed", "the subscripton renewal faild", "nothing"),
        ("refund for the phone", "refund for the tablet", "words"),
        ("refund for the phone", "refund for the phone from Berlin", "words"),
        ("it does work now", "it does not work now", "point"),
        ("it works", "it never works", "point"),
        ("sum of 2 and 3", "sum of 2 and 4", "point"),
        ("tax for 2023", "tax for 2024", "point"),
        ("a to b", "b to a", "words"),
        ("from basic to pro", "from pro to basic", "words"),
        ("paid in cash", "paid in cars", "words"),
    ],
)
def test_what_lies_between_two_questions(one: str, other: str, expected: str) -> None:
    assert difference(essence(one), essence(other)) == expected
    assert difference(essence(other), essence(one)) == expected


def test_the_shared_part_counts_words_in_their_order() -> None:
    assert shared(essence("big red cat sleeps"), essence("big red dog sleeps")) == 0.75
    assert shared(essence("from oslo to rome"), essence("from rome to oslo")) < 1 == shared(["a"], ["a"])
