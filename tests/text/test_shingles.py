from __future__ import annotations

import unicodedata

import pytest

from tunekeeper.text.shingles import shingles, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't panic: 3 e-mails!", ["dont", "panic", "3", "e", "mails"]),
        ("Don’t 'panic' snake_case", ["dont", "panic", "snake", "case"]),
        ("naïve_Ångström ＦＵＬＬ Straße", ["naïve", "ångström", "full", "strasse"]),
        ("हिन्दी में बात", ["हिन्दी", "में", "बात"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("❤️ 👍🏽 ok", ["ok"]),
        ("", []),
        ("...", []),
    ],
)
def test_words_are_runs_of_letters_signs_and_digits(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我的iPhone订单？", ["我", "的", "iphone", "订", "单"]),
        ("カタカナ", ["カ", "タ", "カ", "ナ"]),
        ("ซื้อที่", ["ซื้", "อ", "ที่"]),
    ],
)
def test_scripts_without_spaces_are_taken_letter_by_letter(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize("text", ["Crème brûlée, s'il vous plaît", "Ελληνικά ΚΕΊΜΕΝΑ", "हिन्दी", "がぎぐ", "plain text, it's"])
def test_a_text_has_the_words_of_its_other_forms(text: str) -> None:
    others = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert all(tokens(other) == tokens(text) for other in (*others, text.upper().lower(), f"  {text} !"))


def test_plain_letters_and_others_follow_one_rule() -> None:
    text = "It's a 'Quoted' text, snake_case & e-mail: 3.14 (x)\t\x00end"
    assert tokens(text) == tokens(text + " é")[:-1]


def test_shingles_are_runs_of_three_words_and_short_texts_one() -> None:
    assert shingles("a b c d") == {"a b c", "b c d"}
    assert shingles("A  b") == {"a b"}
    assert shingles("...") == frozenset()
    assert shingles("订单在哪里") == {"订 单 在", "单 在 哪", "在 哪 里"}
