from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data.rows import Unreadable, flat_row, parse_row, resolve_columns

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def spoken(row: Any, mapping: dict[str, str] | None = None) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in parse_row(row, mapping or {}).messages]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TALK}, [("user", "Hi"), ("assistant", "Hello")]),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "Be kind"},
            [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")],
        ),
        ({"instruction": "Say", "input": "hi", "output": "hi"}, [("user", "Say\nhi"), ("assistant", "hi")]),
        (
            {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]},
            [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
        ),
        ({"prompt": "Hi", "completion": "Hello"}, [("user", "Hi"), ("assistant", "Hello")]),
    ],
)
def test_every_usual_shape_becomes_the_same_messages(row: Any, expected: Any) -> None:
    assert spoken(row) == expected


def test_a_preference_row_keeps_the_rejected_answer_beside_the_good_one() -> None:
    found = parse_row(
        {
            "input": {"messages": TALK[:1], "tools": [{"type": "function"}]},
            "preferred_output": TALK[1:],
            "non_preferred_output": [{"role": "assistant", "content": "Go away"}],
        },
        {},
    )
    assert found.messages[-1]["content"] == "Hello"
    assert found.metadata["rejected"] == "Go away"
    assert found.tools == ({"type": "function"},)


def test_metadata_and_other_keys_of_a_chat_row_are_kept() -> None:
    found = parse_row({"messages": TALK, "metadata": {"id": "t1", "category": "bug"}, "lang": "en", "weight": 0}, {})
    assert found.metadata == {"id": "t1", "category": "bug", "lang": "en"}
    assert found.weight == 0.0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1], "must be an object, not list"),
        ({"messages": "none"}, "`messages` must be a list"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "no role is called 'alien'"),
        ({"instruction": "a", "output": "b", "history": ["x"]}, "`history` must be a list of pairs"),
        ({"messages": TALK, "weight": 7}, "`weight` must be a number from 0 to 1, not 7"),
        ({"foo": "a", "bar": "b"}, "no column for 'user' .*columns are: foo, bar"),
    ],
)
def test_a_row_that_is_no_conversation_says_why_in_one_sentence(row: Any, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_row(row, {})


def test_columns_are_guessed_by_their_usual_names_in_any_case() -> None:
    assert resolve_columns(["ID", "Ticket", "Answer", "created_at", "mood"], {}, "t.csv") == {
        "user": "Ticket",
        "assistant": "Answer",
        "id": "ID",
        "created": "created_at",
    }


def test_a_mapping_wins_over_the_guess_and_a_missing_column_is_named_with_those_that_are_there() -> None:
    assert resolve_columns(["prompt", "body", "reply"], {"user": "body"}, "t.csv")["user"] == "body"
    with pytest.raises(DataError, match=r"t\.csv: no column 'text' for 'user'; columns are: prompt, reply") as caught:
        resolve_columns(["prompt", "reply"], {"user": "text"}, "t.csv")
    assert caught.value.fix == "--map user=COLUMN"


def test_several_answer_columns_become_one_json_answer() -> None:
    row = {"ticket": "Hi", "category": "bug", "priority": "low", "id": "7", "when": "2026-01-01"}
    columns = resolve_columns(list(row), {"assistant": "category,priority", "created": "when"}, "t.csv")
    found = flat_row(row, columns)
    assert found.messages[-1]["content"] == '{"category": "bug", "priority": "low"}'
    assert found.metadata == {"id": "7", "created": "2026-01-01", "category": "bug"}
