from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, tags, versions
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace


@pytest.fixture
def two(ws: Workspace, task: Model, row: Any) -> tuple[DatasetVersion, DatasetVersion]:
    """Two versions; the second has one row more."""
    rows = [replace(row(f"q{i}", "a", id=f"t{i}"), split="eval" if i == 0 else "train") for i in range(4)]
    drafts.save_draft(ws, "desk", rows[:3])
    first = data.freeze(ws, task, Config())
    drafts.save_draft(ws, "desk", rows)
    return first, data.freeze(ws, task, Config())


def test_a_tag_stands_wherever_a_version_does(ws: Workspace, two: tuple[DatasetVersion, DatasetVersion]) -> None:
    made = tags.tag(ws, two[0], "before-the-fair", by="ana")
    assert (made.version, made.by, made.was, made.at) == ("desk/d1", "ana", None, ws.clock.utc())
    for name, model in (("desk/before-the-fair", None), ("before-the-fair", "desk")):
        assert versions.resolve(ws, name, model).id == "desk/d1"
    assert data.diff(ws, "desk/before-the-fair", "desk/latest").added == ("t3",)
    assert tags.tags_of(ws, two[0]) == ["before-the-fair"]
    assert tags.tags_of(ws, two[1]) == []


def test_a_tag_moves_only_when_asked_and_remembers_where_it_was(
    ws: Workspace, two: tuple[DatasetVersion, DatasetVersion]
) -> None:
    tags.tag(ws, two[0], "live")
    with pytest.raises(UserError, match=r"live means desk/d1 already .*--move"):
        tags.tag(ws, two[1], "live")
    moved = tags.tag(ws, two[1], "live", move=True, by="ben")
    assert (moved.version, moved.was) == ("desk/d2", "desk/d1")
    assert tags.tag(ws, two[1], "live", by="someone") == moved
    assert tags.current(ws, "desk") == {"live": "desk/d2"}
    assert [(each.version, each.by) for each in tags.history(ws, "desk")] == [("desk/d1", "data"), ("desk/d2", "ben")]


@pytest.mark.parametrize("name", ["latest", "draft", "d3", "7", "", "with space", "a/b", "-x", "x" * 65])
def test_what_could_mean_something_else_is_no_tag(ws: Workspace, two: tuple[DatasetVersion, DatasetVersion], name: str) -> None:
    with pytest.raises(UserError, match="not a tag"):
        tags.tag(ws, two[0], name)
    assert tags.current(ws, "desk") == {}


def test_an_unknown_tag_is_not_found(ws: Workspace, two: tuple[DatasetVersion, DatasetVersion]) -> None:
    with pytest.raises(NotFound, match="desk/nightly"):
        versions.resolve(ws, "nightly", "desk")
