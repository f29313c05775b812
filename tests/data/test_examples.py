from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import asks_alike, comparable, compared, created_of, decode, encode, question_key, topic_of

MakeExample = Callable[..., Example]


def test_a_row_without_an_id_is_named_by_its_content(row: MakeExample) -> None:
    assert row("a", "b").id == "ex_" + row("a", "b").fingerprint.removeprefix("sha256:")[:16]
    assert (row("a", "b", created="x").id, row("a", "b", id="t9").id) == (row("a", "b").id, "t9")


def test_a_line_is_the_same_bytes_whatever_the_order_of_keys(row: MakeExample) -> None:
    one, other = row("a", "b", x=1, y=2), row("a", "b", y=2, x=1)
    assert encode(one) == encode(other)
    assert decode(encode(one)) == one
    assert b"split" not in encode(one)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-05", datetime(2026, 1, 5, tzinfo=UTC)),
        ("2026-01-05T10:00:00+02:00", datetime(2026, 1, 5, 8, tzinfo=UTC)),
        (1767603600, datetime(2026, 1, 5, 9, tzinfo=UTC)),
        (1767603600000, datetime(2026, 1, 5, 9, tzinfo=UTC)),
        ("5.1.2026 9:30", datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        ("05.01.2026", datetime(2026, 1, 5, tzinfo=UTC)),
        ("1767603600", datetime(2026, 1, 5, 9, tzinfo=UTC)),
        ("0001-01-01T00:00:00", None),
        ("9999-12-31T23:59:59Z", None),
        (0, None),
        ("31.02.2026", None),
        ("yesterday", None),
        (True, None),
        (1e300, None),
        (None, None),
    ],
)
def test_dates_are_read_in_the_usual_forms(value: Any, expected: datetime | None) -> None:
    assert created_of({"created": value}) == expected


def test_answers_are_compared_by_meaning_where_they_are_json(row: MakeExample) -> None:
    assert comparable('{"a": 1, "b": 2}') == comparable('{ "b":2,"a":1 }')
    assert comparable('{"a": 1.0, "b": [2.50]}') == comparable('{"a": 1, "b": [2.5]}') != comparable('{"a": 1.5, "b": [2.5]}')
    assert comparable("It works.") == comparable("  it  WORKS")
    assert comparable("{broken") == "{broken"


def test_questions_are_the_same_whatever_case_and_spaces_but_not_under_another_system_prompt(row: MakeExample) -> None:
    one = row("Where is it?", "a")
    assert question_key(one) == question_key(row("where  is it", "b"))
    bare = decode(encode(one).replace(b"Triage the ticket", b"Ignore the ticket"))
    assert question_key(bare) != question_key(one)


def test_a_topic_is_the_category_of_the_row_or_of_its_answer(row: MakeExample) -> None:
    assert topic_of(row("a", '{"category": "bug"}', category="billing")) == "billing"
    assert topic_of(row("a", '{"priority": "low", "intent": "cancel"}')) == "cancel"
    assert topic_of(row("a", '["bug"]')) == ""


@pytest.mark.parametrize("more", [{}, {"weight": 0.5, "tools": ({"name": "f"},)}, {"metadata": {}}, {"source": "x"}])
@pytest.mark.parametrize("side", ["train", "eval"])
def test_a_row_that_is_compared_is_the_example_in_every_field_that_counts(row: Any, side: Any, more: dict[str, Any]) -> None:
    line = encode(replace(row("q", "a", id="t1", category="bug"), **more))
    for each in (line, line.replace(b'"id":"t1"', b'"id":1', 1)):
        wanted, (found,) = decode(each, side), compared(each, iter([side]))
        counting = ("id", "messages", "fingerprint", "split", "metadata", "tools", "weight")
        assert all(getattr(found, name) == getattr(wanted, name) for name in counting)
        assert repr(list(found.messages)) == repr(list(wanted.messages))


def test_rows_ask_alike_that_differ_in_their_last_answer_alone(row: Any) -> None:
    tricky = 'say "role":"assistant" and ,{"content": twice'
    one = row(tricky, "a", id="t")
    cases = {
        True: [row(tricky, "b", id="t"), row(tricky, tricky, id="t"), one],
        False: [row(tricky + "!", "a", id="t"), row("q", "a", id="t")],
    }
    for alike, others in cases.items():
        for other in others:
            a, b = compared(encode(one) + encode(other), iter(["train", "eval"]))
            assert asks_alike(a, b) is asks_alike(one, other) is alike
    asked = replace(one, messages=one.messages[:-1])
    assert not asks_alike(*(compared(encode(each), iter(["train"]))[0] for each in (asked, asked)))
    assert not asks_alike(None, one)
