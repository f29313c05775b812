from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data import review
from tunekeeper.data.opening import swapped
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]


def queue_file(ws: Workspace, path: Path, **options: Any) -> Any:
    return review.pairs_from_file(ws, "desk", path, system="Triage.", redactor=Redactor(), **options)


def window(ws: Workspace) -> tuple[Any, Any]:
    return ws.clock.utc() - timedelta(days=1), ws.clock.utc() + timedelta(seconds=5)


def test_what_the_shadow_answered_otherwise_becomes_a_blind_pair(ws: Workspace, traffic: Any) -> None:
    same, apart = traffic.ask("one", '{"a": 1}'), traffic.ask("two", '{"a": 1}')
    traffic.ask("one", '{"a":1}', purpose="shadow", parent_id=same, version="v2.0")
    traffic.ask("two", '{"a": 2}', purpose="shadow", parent_id=apart, version="v2.0")
    tried = review.pairs_from_log(ws, "desk", *window(ws), 10, dry_run=True)
    assert review.find(ws, "desk") == []
    [item] = review.pairs_from_log(ws, "desk", *window(ws), 10)
    assert [item.id] == [each.id for each in tried]
    assert (item.kind, item.request_id, item.shown["from"]) == ("pair", apart, ["v1.0", "v2.0"])
    assert item.reasons[0] == "the shadow answered otherwise"
    assert review.pairs_from_log(ws, "desk", *window(ws), 10) == []
    found = review.open_next(ws, "desk", by="ana")
    assert found is not None
    assert {found.answer, found.other} == {'{"a": 1}', '{"a": 2}'}
    assert "version" not in found.facts
    assert "v2.0" not in repr(found)
    assert "v1.0" not in repr(found)


def test_the_reasons_of_a_pair_do_not_tell_which_answer_was_served(ws: Workspace, traffic: Any) -> None:
    asked = traffic.ask("two", '{"category": "refund"}', segments={"plan": "pro"})
    traffic.ask("two", '{"category": "bug", "why": "it is a very long story"}', purpose="shadow", parent_id=asked)
    [item] = review.pairs_from_log(ws, "desk", *window(ws), 1)
    assert item.reasons == ("the shadow answered otherwise", "stands for 1 of 1 answers: segment plan=pro")


def test_a_choice_means_the_answer_that_was_shown_there(ws: Workspace, write: Write) -> None:
    items = queue_file(ws, write("p.jsonl", [{"prompt": f"q{i}", "a": "first", "b": "second"} for i in range(8)]))
    assert {swapped(item) for item in items} == {True, False}
    for item in items:
        opened = review.open_item(ws, item.id, by="ana")
        done = review.prefer(ws, item.id, "a", by="ana", seconds=4)
        assert done.better == opened.answer
        assert review.open_item(ws, item.id, by="ana").chosen == "a"
    review.prefer(ws, items[0].id, "tie", by="ana")
    assert review.get(ws, items[0].id).better == "tie"


def test_a_file_of_pairs_is_redacted_and_queued_once(ws: Workspace, write: Write) -> None:
    row = {
        "messages": [{"role": "user", "content": "I am bo@example.com"}],
        "a": "Hello bo@example.com",
        "b": "Hi",
        "a_from": "v1",
    }
    path = write("p.jsonl", [row, row])
    assert len(queue_file(ws, path, dry_run=True)) == 1
    [item] = queue_file(ws, path, opinions=2)
    assert item.shown == {
        "messages": [{"role": "system", "content": "Triage."}, {"role": "user", "content": "I am [EMAIL]"}],
        "answer": "Hello [EMAIL]",
        "other": "Hi",
        "from": ["v1", "b"],
    }
    assert (item.wants, item.reasons) == (2, ("row 1 of p.jsonl",))
    assert queue_file(ws, path) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "a": "x"}, "p.jsonl:2: two answers are needed"),
        ({"a": "x", "b": "y"}, "p.jsonl:2: no messages"),
        ({"messages": [], "a": "x", "b": "y"}, "p.jsonl:2: no messages"),
        ({"messages": ["q"], "a": "x", "b": "y"}, "p.jsonl:2: no messages"),
        ({"prompt": "q", "a": "x", "b": "y", "c": "z"}, "p.jsonl:2: unknown key 'c'"),
    ],
)
def test_one_bad_row_queues_nothing(ws: Workspace, write: Write, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        queue_file(ws, write("p.jsonl", [{"prompt": "q", "a": "x", "b": "y"}, row]))
    assert review.find(ws, "desk") == []


def test_a_missing_file_is_named(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        queue_file(ws, tmp_path / "none.jsonl")
