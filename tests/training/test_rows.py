"""Reading rows and choosing those a continued run learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.training.rows import Row, read_rows, select


def row(text: str) -> Row:
    return Row(id=text, messages=({"role": "user", "content": text}, {"role": "assistant", "content": "ok"}))


def test_rows_keep_their_order_ids_weights_and_tools(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    lines = [
        {"messages": messages, "metadata": {"id": "T-1"}, "weight": 0.5, "tools": [{"type": "function"}]},
        {"messages": messages},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    first, second = read_rows(path)
    assert (first.id, first.weight, len(first.tools)) == ("T-1", 0.5, 1)
    assert (second.id, second.weight) == ("line 2", 1.0)
    assert first.key != second.key


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"messages": []}',
        '{"messages": [{"role": "robot", "content": "x"}]}',
        '{"messages": [{"role": "user", "content": "x"}]}',
        '{"messages": [{"role": "assistant", "content": 3}]}',
        '{"messages": [{"role": "assistant", "content": "x"}], "weight": 2}',
    ],
)
def test_a_broken_line_is_reported_with_file_and_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [{"role": "assistant", "content": "x"}]}\n' + line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2"):
        read_rows(path)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    for name in ("empty.jsonl", "none.jsonl"):
        with pytest.raises(DataError, match=name):
            read_rows(tmp_path / name)


def test_a_continued_run_learns_every_new_row_and_as_many_old_ones() -> None:
    old, new = [row(f"old {i}") for i in range(50)], [row(f"new {i}") for i in range(10)]
    chosen, replayed = select([*old, *new], old, 1.0, seed=3)
    assert replayed == 10
    assert len(chosen) == 20
    assert all(item in chosen for item in new)
    assert select([*old, *new], old, 1.0, seed=3) == (chosen, replayed)
    assert select([*old, *new], old, 1.0, seed=4)[0] != chosen


def test_replay_takes_no_more_old_rows_than_there_are_and_zero_takes_none() -> None:
    old, new = [row("old")], [row(f"new {i}") for i in range(3)]
    assert select([*old, *new], old, 5.0, seed=0)[1] == 1
    assert select([*old, *new], old, 0.0, seed=0) == (new, 0)


def test_without_any_new_row_everything_is_learned_again() -> None:
    old = [row("a"), row("b")]
    assert select(old, old, 1.0, seed=0) == (old, 2)


def test_a_row_with_several_rejected_answers_is_a_comparison_for_each(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": "good"}
    more = [{"answer": "worse", "from": "x"}, {"answer": "bad", "from": "y"}, {"answer": "good", "from": "z"}]
    value = {"messages": [{"role": "user", "content": "q"}, said], "metadata": {"rejected": "bad", "rejected_more": more}}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(value) + "\n")
    [row] = read_rows(file)
    assert [each.rejected for each in row.compared] == ["bad", "worse"]
    assert [each.other.messages[-1]["content"] for each in row.compared] == ["bad", "worse"]
    assert replace(row, rejected=None, further=()).compared == []


def test_a_rejected_answer_that_called_tools_is_compared_as_a_call(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"x": 1}'}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    asked = {"messages": [{"role": "user", "content": "q"}], "tools": [{"type": "function", "function": {"name": "find"}}]}
    good = {"role": "assistant", "content": "good"}
    preference = {"input": asked, "preferred_output": [good], "non_preferred_output": [called]}
    kept = {**asked, "messages": [*asked["messages"], good], "metadata": {"rejected": json.dumps([call])}}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in (preference, kept)))
    assert [row.other.messages[-1] for row in read_rows(file)] == [called, called]


def test_the_weight_of_a_message_is_from_nothing_to_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    wrong = ("1", -1, 1.5, True, float("nan"), float("inf"), [1])
    for weight, fine in (*((each, True) for each in (0, 1, 1.0, None, 0.5, 1e-9)), *((each, False) for each in wrong)):
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": weight}]
        path.write_text(json.dumps({"messages": said}) + "\n")
        if fine:
            assert len(read_rows(path)) == 1
        else:
            with pytest.raises(DataError, match=r"rows.jsonl:1: the weight of a message must be from 0 to 1"):
                read_rows(path)


def test_content_in_parts_is_the_text_that_a_server_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    path.write_text(json.dumps({"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "c"}]}) + "\n")
    assert read_rows(path)[0].messages[0]["content"] == "a\nb"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"messages": [{"role": "assistant", "content": None}]}, "neither content nor tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "a part that is no text"),
        ({"messages": [{"role": "assistant", "content": "x"}], "tools": "x"}, "tools must be a list"),
        ({"messages": [{"role": "assistant", "content": "x"}], "tools": ["x"]}, "tools must be a list"),
    ],
)
def test_what_would_be_learned_as_something_else_is_refused(tmp_path: Path, value: dict[str, Any], why: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(value) + "\n")
    with pytest.raises(DataError, match=f"rows.jsonl:1: .*{why}"):
        read_rows(path)


def test_a_file_from_another_system_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"messages": [{"role": "assistant", "content": "a"}]}\r\n\r\n')
    assert [row.messages[0]["content"] for row in read_rows(path)] == ["a"]
