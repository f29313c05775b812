from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.blame import blame, follow
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace


@pytest.fixture
def held(row: Any) -> list[Example]:
    return [replace(row("stay?", "yes", id="s"), split="eval"), row("other?", "no", id="o")]


def freeze(ws: Workspace, task: Model, rows: list[Example], by: str) -> None:
    drafts.save_draft(ws, "desk", rows)
    data.freeze(ws, task, Config(), by=by)


def test_an_example_is_followed_from_its_first_version_through_its_edits(
    ws: Workspace, task: Model, row: Any, held: list[Example]
) -> None:
    first = row("when?", "in 3 days", id="t1", source="file:tickets.csv:7")
    second = row("when?", "in 5 days", id="t1", source="inference:req_abc", said_by="ana")
    freeze(ws, task, held, "ben")
    freeze(ws, task, [*held, first], "cleo")
    freeze(ws, task, [*held[:1], second], "dora")
    drafts.save_draft(ws, "desk", [*held, replace(second, split="eval")])
    found = blame(ws, "t1", "desk")
    assert (found.id, found.source, found.request) == ("t1", "inference:req_abc", "req_abc")
    assert [(e.what, e.version, e.author, e.source, e.said_by, e.detail) for e in found.events] == [
        ("added", "desk/d2", "cleo", "file:tickets.csv:7", None, ""),
        ("edited", "desk/d3", "dora", "inference:req_abc", "ana", "when? => in [-3-]{+5+} days"),
        ("moved", "draft", None, "inference:req_abc", None, "train -> eval"),
    ]
    assert [(e.what, e.version) for e in blame(ws, "o", "desk").events] == [
        ("added", "desk/d1"),
        ("removed", "desk/d3"),
        ("added", "draft"),
    ]
    assert [e.what for e in blame(ws, "t1", "desk", version="d2").events] == ["added"]


def test_another_category_is_an_event_of_its_own(ws: Workspace, task: Model, row: Any, held: list[Example]) -> None:
    freeze(ws, task, [*held, row("when?", "soon", id="t1", category="bug")], "ben")
    freeze(ws, task, [*held, row("when?", "soon", id="t1", category="refund")], "cleo")
    events = [(e.what, e.version, e.detail) for e in blame(ws, "t1", "desk").events]
    assert events == [("added", "desk/d1", ""), ("metadata", "desk/d2", "category: bug -> refund")]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_row_named_by_its_content_is_followed_under_all_its_names(
    ws: Workspace, task: Model, row: Any, held: list[Example], which: int
) -> None:
    lives = [row("Where is it?", answer) for answer in ("here", "there", "gone")]
    for life in lives:
        freeze(ws, task, [*held, life], "ana")
    found = blame(ws, lives[which].id, "desk")
    assert found.id == lives[2].id
    assert found.request is None
    assert [(e.what, e.version, e.id) for e in found.events] == [
        ("added", "desk/d1", lives[0].id),
        ("edited", "desk/d2", lives[1].id),
        ("edited", "desk/d3", lives[2].id),
    ]


def test_a_row_that_only_mentions_the_name_is_not_it(ws: Workspace, task: Model, row: Any, held: list[Example]) -> None:
    freeze(ws, task, [*held, row("x?", '{"id":"ghost"}', id="t9", linked={"id": "ghost"})], "ana")
    with pytest.raises(NotFound, match="no version of desk up to the draft has an example ghost"):
        blame(ws, "ghost", "desk")


def test_a_draft_that_was_never_frozen_can_be_asked(ws: Workspace, held: list[Example]) -> None:
    drafts.save_draft(ws, "desk", held)
    assert [(e.what, e.version, e.at) for e in blame(ws, "s", "desk").events] == [("added", "draft", None)]


def test_a_gap_in_the_middle_is_a_gap(row: Any) -> None:
    one = row("q?", "a", id="t1")
    there = (lambda id: one if id == "t1" else None, lambda example: None)
    gone = (lambda id: None, lambda example: None)
    assert follow("t1", [gone, there, gone, there, gone]) == [None, one, None, one, None]
    assert follow("t2", [there, there]) == [None, None]
