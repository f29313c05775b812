from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import DataError, NotFound
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, versions
from tunekeeper.data.config import Config
from tunekeeper.data.erase import erase_data
from tunekeeper.data.revert import revert
from tunekeeper.workspace import Workspace

SECTION = Config()


@pytest.fixture
def rows(ws: Workspace, task: Model, row: Any) -> list[Example]:
    """Five rows; the first three are frozen as desk/d1, four as desk/d2; the draft holds all five."""
    made = [replace(row(f"q{i}", "a", id=f"t{i}", user_id=f"u{i}"), split="eval" if i == 0 else "train") for i in range(5)]
    for count in (3, 4):
        drafts.save_draft(ws, "desk", made[:count])
        data.freeze(ws, task, SECTION)
    drafts.save_draft(ws, "desk", made)
    return made


def ids(examples: Sequence[Example]) -> set[str]:
    return {each.id for each in examples}


def test_the_draft_is_what_the_version_held_and_its_former_rows_come_back(
    ws: Workspace, task: Model, rows: list[Example]
) -> None:
    done = revert(ws, "desk/d1", by="ana")
    assert (done.version, done.examples, done.train, done.eval, done.changed) == ("desk/d1", 3, 2, 1, True)
    assert {e.id: e.split for e in drafts.load_draft(ws, "desk")} == {"t0": "eval", "t1": "train", "t2": "train"}
    assert done.kept is not None
    assert ids(list(versions.read_examples(ws, done.kept))) == ids(rows)
    back = revert(ws, done.kept)
    assert (back.kept, back.examples) == ("desk/d1", 5)
    assert ids(drafts.load_draft(ws, "desk")) == ids(rows)


def test_what_is_kept_is_never_latest_and_is_kept_once(ws: Workspace, task: Model, rows: list[Example]) -> None:
    first = revert(ws, "desk/d1")
    drafts.save_draft(ws, "desk", rows)
    assert revert(ws, "desk/d2").kept == first.kept == "desk/d3"
    assert versions.resolve(ws, "latest", "desk").id == "desk/d2"
    assert len(versions.log(ws, "desk")) == 3


def test_doing_it_again_changes_nothing(ws: Workspace, rows: list[Example]) -> None:
    revert(ws, "desk/d1")
    before = (drafts.folder(ws, "desk") / "draft.jsonl").read_bytes()
    again = revert(ws, "desk/d1")
    assert (again.changed, again.kept) == (False, None)
    assert (drafts.folder(ws, "desk") / "draft.jsonl").read_bytes() == before
    assert len(versions.log(ws, "desk")) == 3


def test_the_next_version_tells_what_it_was_made_from_and_the_one_after_does_not(
    ws: Workspace, task: Model, rows: list[Example]
) -> None:
    done = revert(ws, "desk/d1", by="ana")
    frozen = data.freeze(ws, task, SECTION)
    origin = frozen.report["origin"]
    assert (origin["reverted_to"], origin["kept"], origin["by"]) == ("desk/d1", done.kept, "ana")
    assert frozen.parent == "desk/d2"
    drafts.save_draft(ws, "desk", rows[:2])
    assert "origin" not in data.freeze(ws, task, SECTION).report


def test_a_draft_with_one_side_empty_is_kept_too(ws: Workspace, rows: list[Example]) -> None:
    drafts.save_draft(ws, "desk", rows[3:])
    done = revert(ws, "desk/d2")
    assert done.kept is not None
    assert ids(list(versions.read_examples(ws, done.kept))) == {"t3", "t4"}


def test_erased_rows_do_not_come_back(ws: Workspace, rows: list[Example]) -> None:
    kept = revert(ws, "desk/d1").kept
    assert kept is not None
    erase_data(ws, set(), "u4")
    erase_data(ws, set(), "u2")
    assert revert(ws, kept).examples == 3
    assert ids(drafts.load_draft(ws, "desk")) == {"t0", "t1", "t3"}
    for each in ("u0", "u1", "u3"):
        erase_data(ws, set(), each)
    with pytest.raises(DataError, match="every row of desk/d3 was erased"):
        revert(ws, kept)


def test_an_unknown_version_leaves_the_draft_alone(ws: Workspace, rows: list[Example]) -> None:
    with pytest.raises(NotFound):
        revert(ws, "desk/d9")
    assert ids(drafts.load_draft(ws, "desk")) == ids(rows)


@pytest.mark.parametrize("renamed", ["origin.jsonl", "draft.jsonl"])
def test_killed_while_files_get_their_names_the_draft_and_where_it_is_from_say_the_same(
    ws: Workspace, task: Model, rows: list[Example], renamed: str
) -> None:
    def die(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith(renamed):
            os.kill(os.getpid(), signal.SIGKILL)

    revert(ws, "desk/d2", by="ana")
    child = os.fork()
    if not child:
        sys.addaudithook(die)
        revert(ws, "desk/d1", by="bob")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    held = {3: "desk/d1", 4: "desk/d2"}[len(drafts.load_draft(ws, "desk"))]
    with drafts.locked(ws, "desk"):
        drafts.save_draft(ws, "desk", [*drafts.load_draft(ws, "desk"), rows[4]])
    assert data.freeze(ws, task, SECTION).report["origin"]["reverted_to"] == held
