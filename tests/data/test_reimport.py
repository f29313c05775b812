from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, exports, gathering, mending
from tunekeeper.data.config import Config
from tunekeeper.data.outdated import prune
from tunekeeper.text.fingerprints import answer_of
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]
SECTION = Config(collect_sample=0)


def told(i: int, answer: str = "", **metadata: Any) -> dict[str, Any]:
    """A row about box `i`, named `B<i>`."""
    messages = [{"role": "user", "content": f"Where does box {i} of {i * 13} go?"}]
    messages.append({"role": "assistant", "content": answer or f"To shelf {i}."})
    return {"messages": messages, "metadata": {"id": f"B{i}", **metadata}}


@pytest.fixture
def boxes(write: Write) -> Path:
    """A file of twelve undated rows, and one from 2019."""
    return write("boxes.jsonl", [*map(told, range(12)), told(12, created="2019-01-01")])


def answers(ws: Workspace) -> dict[str, str]:
    return {e.id: answer_of(e.messages) for e in drafts.load_draft(ws, "desk")}


def test_the_same_file_again_leaves_what_people_corrected_since(ws: Workspace, task: Model, boxes: Path, traffic: Any) -> None:
    assert data.import_files(ws, task, SECTION, [boxes]).added == 13
    said = traffic.ask("Where does box 3 of 39 go?", "To shelf 3.", edit="To the new hall.")
    gathering.collect(ws, task, SECTION)
    before = answers(ws)
    assert (before[said], "B3" in before) == ("To the new hall.", False)
    again = data.import_files(ws, task, SECTION, [boxes])
    assert (again.added, again.replaced, again.dropped) == (0, 0, {"already_there": 12, "left_before": 1})
    assert again.files[0].dropped == again.dropped
    assert again.left_out == ("boxes.jsonl:4: it left the draft before: `data readmit B3` brings it back",)
    assert answers(ws) == before


def test_what_was_pruned_stays_out_until_it_is_brought_back_or_everything_is_replaced(
    ws: Workspace, task: Model, boxes: Path
) -> None:
    data.import_files(ws, task, SECTION, [boxes])
    prune(ws, task, SECTION, older_than=timedelta(days=365))
    assert data.import_files(ws, task, SECTION, [boxes]).dropped == {"already_there": 12, "left_before": 1}
    assert mending.readmit(ws, task, SECTION, ["B12"]).changed == ("B12",)
    assert data.import_files(ws, task, SECTION, [boxes]).dropped == {"already_there": 13}
    prune(ws, task, Config(glossary={"shelf 4": "shelf 5"}), renamed=True)
    assert data.import_files(ws, task, SECTION, [boxes], replace=True).examples == 13


def test_its_twin_and_what_lost_to_it_stay_out_as_well_until_they_are_said_later(
    ws: Workspace, task: Model, write: Write, traffic: Any
) -> None:
    rows = [*map(told, range(12)), told(3, "To the attic.", id="lost"), told(3, id="twin")]
    data.import_files(ws, task, SECTION, [write("rows.jsonl", rows)])
    assert "lost" not in answers(ws)
    traffic.ask("Where does box 3 of 39 go?", "To shelf 3.", edit="To the new hall.")
    gathering.collect(ws, task, SECTION)
    before = answers(ws)
    again = data.import_files(ws, task, SECTION, [write("rows.jsonl", rows)])
    assert (again.added, again.replaced, again.dropped["left_before"], answers(ws)) == (0, 0, 3, before)
    later = data.import_files(ws, task, SECTION, [write("later.jsonl", [told(3, created="2030-01-01")])])
    assert (later.replaced, answers(ws)["B3"]) == (1, "To shelf 3.")


def test_a_row_that_lost_to_another_comes_in_once_that_one_is_gone(ws: Workspace, task: Model, write: Write) -> None:
    both = write("both.jsonl", [*map(told, range(12)), told(3, "To shelf 9.")])
    first = data.import_files(ws, task, SECTION, [both])
    assert (first.added, first.dropped) == (11, {"contradiction": 2})
    one = write("one.jsonl", map(told, range(12)))
    assert data.import_files(ws, task, SECTION, [one]).added == 1


def test_a_row_that_tells_another_date_or_topic_now_is_brought_up_to_date(
    ws: Workspace, task: Model, boxes: Path, write: Write
) -> None:
    data.import_files(ws, task, SECTION, [boxes])
    before = drafts.load_draft(ws, "desk")
    again = write(
        "later.jsonl", [told(0), told(3, created="2026-01-05", category="hall"), told(12, category="old", pages=[1, 2])]
    )
    done = data.import_files(ws, task, SECTION, [again])
    assert (done.added, done.replaced, done.dropped) == (0, 2, {"already_there": 1})
    after = drafts.load_draft(ws, "desk")
    assert [(e.id, e.messages, e.split) for e in after] == [(e.id, e.messages, e.split) for e in before]
    assert {e.id: e.metadata for e in after if e.metadata.keys() > {"id"}} == {
        "B3": {"id": "B3", "created": "2026-01-05", "category": "hall"},
        "B12": {"id": "B12", "created": "2019-01-01", "category": "old", "pages": [1, 2]},
    }
    assert data.import_files(ws, task, SECTION, [again]).dropped == {"already_there": 3}


def test_what_is_noted_of_a_row_stays_when_it_comes_again(ws: Workspace, task: Model, boxes: Path, write: Write) -> None:
    section = Config(glossary={"shelf": "rack"})
    data.import_files(ws, task, section, [boxes])
    mending.rewrite_terms(ws, task, section)
    data.import_files(ws, task, section, [write("later.jsonl", [told(3, category="hall")])])
    [row] = [e for e in drafts.load_draft(ws, "desk") if e.id == "B3"]
    assert (answer_of(row.messages), row.metadata["category"]) == ("To rack 3.", "hall")
    assert row.metadata["rewritten"][0]["terms"] == {"shelf": "rack"}


@pytest.mark.parametrize(("format", "name"), [("openai", "o.jsonl"), ("csv", "o.csv"), ("parquet", "o.parquet"), ("hf", "o")])
def test_an_export_that_comes_back_tells_nothing_anew(
    ws: Workspace, task: Model, write: Write, tmp_path: Path, format: str, name: str
) -> None:
    rows = [{**told(i), "id": f"B{i}"} for i in range(24)]
    for i, row in enumerate(rows):
        row["metadata"] = {"topic": "halls", "floor": i % 3, "late": i % 2 == 0} | ({"by": "ana"} if i % 5 else {})
    data.import_files(ws, task, SECTION, [write("rows.jsonl", rows)])
    before = drafts.load_draft(ws, "desk")
    exports.export(ws, "desk/draft", format, "all", tmp_path / name)
    again = data.import_files(ws, task, SECTION, [tmp_path / name])
    assert (again.replaced, again.dropped, drafts.load_draft(ws, "desk")) == (0, {"already_there": 24}, before)
