"""Rows of others as records of ours: what a column may be, and what is said of one that is not there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tunekeeper.core.errors import UserError
from tunekeeper.store.log.mapped import Told, hint, told

AT = datetime(2025, 3, 1, 10, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "stamp",
    [
        "2025-03-01T10:00:00.500Z",
        "2025-03-01 10:00:00.5",
        "2025-03-01 10:00:00.500000 UTC",
        "2025-03-01T15:30:00.500+05:30",
        1740823200.5,
        1740823200500,
        "1740823200500",
        1740823200500000,
        1740823200500000000,
    ],
)
def test_a_moment_is_read_as_others_write_it(stamp: Any) -> None:
    assert told(["timestamp=t"]).record({"t": stamp}) == {"timestamp": AT}


@pytest.mark.parametrize("stamp", ["yesterday", "03/01/2025", True, -5, 1e30, "2025-02-30 10:00:00", "2016-12-31T23:59:60Z"])
def test_what_is_no_moment_is_said(stamp: Any) -> None:
    with pytest.raises(ValueError, match="is no moment"):
        told(["timestamp=t"]).record({"t": stamp})


@pytest.mark.parametrize(
    ("said", "request_", "response"),
    [
        ("Hi", {"messages": [{"role": "user", "content": "Hi"}]}, {"role": "assistant", "content": "Hi"}),
        (1, {"messages": [{"role": "user", "content": "1"}]}, {"role": "assistant", "content": "1"}),
        ({"role": "tool", "content": "x"}, {"messages": [{"role": "tool", "content": "x"}]}, {"role": "tool", "content": "x"}),
        (
            '[{"role": "user", "content": "x"}]',
            {"messages": [{"role": "user", "content": "x"}]},
            {"role": "user", "content": "x"},
        ),
    ],
)
def test_texts_and_messages_become_bodies_in_one_shape(said: Any, request_: Any, response: Any) -> None:
    found = told(["request=q", "response=a"]).record({"q": said, "a": said})
    assert found == {"request": request_, "response": {"choices": [{"index": 0, "message": response}]}}


def test_bodies_that_have_that_shape_stay_as_they_are() -> None:
    bodies = {"request": {"messages": [], "tools": []}, "response": {"choices": []}}
    assert Told(model="m").record(bodies) == {**bodies, "model_id": "m"}
    assert told(["response=c"]).record({"c": [{"index": 0, "message": {}}]}) == {
        "response": {"choices": [{"index": 0, "message": {}}]}
    }


def test_nothing_is_nothing_however_it_is_written() -> None:
    row = {"latency_ms": "", "status": None, "cost_usd": " ", "n": "", "usage": "{}"}
    mapping = told(["ttft_ms=n*1000", "prompt_tokens=usage.input", "confidence=usage.a.b"])
    assert mapping.record(row) == {}


def test_a_column_whose_name_looks_like_a_sum_is_that_column() -> None:
    row = {"a-b": 3, "a*2": 4, "x.y": 5, "x": {"y": 6}}
    assert told(["latency_ms=a-b", "ttft_ms=a*2", "cost_usd=x.y"]).record(row) == {"latency_ms": 3, "ttft_ms": 4, "cost_usd": 5}


def test_what_nothing_takes_is_left() -> None:
    mapping = told(["timestamp=start", "latency_ms=end-start", "prompt_tokens=usage.input", "ttft_ms=first*1000", "status=state"])
    assert mapping.left(["start", "end", "usage", "first", "state", "status", "model_id", "more"]) == ["status", "more"]
    assert told(["response=."]).left(["anything"]) == []


def test_a_hint_keeps_what_was_told_and_names_the_columns_that_there_are() -> None:
    row = {"when": 1, "model": "m", "uid": 3}
    assert hint(row, told(["timestamp=when"])) == (
        "say which column is which: --map model_id=model --map timestamp=when --map request_id=COLUMN (columns: when, model, uid)"
    )
    assert "--model" not in hint(row, Told(model="desk"))
    assert "--model NAME" in hint({"id": 1, "created": 1}, Told())


@pytest.mark.parametrize("given", ["segments.=x", "request.messages=x", "=x", "x="])
def test_a_field_that_there_is_not_is_refused(given: str) -> None:
    with pytest.raises(UserError):
        told([given])
