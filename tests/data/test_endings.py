from __future__ import annotations

from typing import Any

import pytest

from tests.data.planted_faults import COMPLETE, TRUNCATED
from tunekeeper.data.endings import maybe_truncated, truncated


def test_every_answer_that_was_cut_is_found() -> None:
    assert [text for text in TRUNCATED if not (truncated(text, {}) or maybe_truncated(text))] == []
    assert len(TRUNCATED) == 36


def test_lists_verses_code_and_titles_end_without_a_full_stop() -> None:
    assert [text for text in COMPLETE if truncated(text, {}) or maybe_truncated(text)] == []
    assert len(COMPLETE) == 73


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Otwórz aplikację, wybierz rezerwację, a następnie kliknij w", True),
        ("Otwórz aplikację, wybierz rezerwację i kliknij przycisk", False),
        ("Please open the app and pick plan w", False),
    ],
)
def test_a_word_that_ends_no_sentence_counts_where_the_language_is_not_known(text: str, cut: bool) -> None:
    assert bool(maybe_truncated(text)) is cut


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ('{"a": [1, {"b": "}"}', "the JSON ends before it is closed"),
        ('{"a": "it says \\"no', "the JSON ends before it is closed"),
        ('{"a": 1} and so on', ""),
        ("{name} is a place", ""),
        ("````\n```\ncode\n```", "a code block is never closed"),
        ("````\n```\ncode\n```\n````", ""),
        ("Write ```x``` in a line", ""),
        ("Write ```x in a line", "a code block is never closed"),
        ("* a\n* b\n*", "the list ends with an item that says nothing"),
        ("a\n\n---", ""),
        ("| a | b |\n| 1 |", ""),
    ],
)
def test_what_is_certain_is_told_apart(text: str, certain: str) -> None:
    assert truncated(text, {}) == certain


@pytest.mark.parametrize(
    ("metadata", "cut"),
    [({"finish_reason": "length"}, True), ({"stop_reason": "MAX_TOKENS"}, True), ({"finish_reason": "stop"}, False), ({}, False)],
)
def test_the_server_knows(metadata: dict[str, Any], cut: bool) -> None:
    assert bool(truncated("The parcel is on its way.", metadata)) is cut


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Доставка в Казань стоит триста рублей, если", True),
        ("Доставка в Казань стоит триста рублей", False),
        ("返品には通常一週間ほどかかりますが、商品が", True),
        ("本日発送いたしましたが、少し遅れるかもしれませんが", False),
    ],
)
def test_a_russian_and_a_japanese_answer_that_were_cut_are_found(text: str, cut: bool) -> None:
    assert bool(maybe_truncated(text)) is cut
