from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.data.small import deal_out
from tunekeeper import data
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.core.nouns.retraining import Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import Version
from tunekeeper.data import collect, drafts, gathering, mending, review, versions
from tunekeeper.data.config import Config
from tunekeeper.store.database import Database
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
SECTION = Config(min_corrections=5)
CYCLE = Cycle(id="cyc_1", model="desk", number=1, why="edits rise")
REFUND = "I want my money back for {}. We need a fix today."
OLD, NEW = json.dumps({"category": "refund", "priority": "normal"}), json.dumps({"category": "refund", "priority": "high"})
BUG = json.dumps({"category": "bug", "priority": "low"})


@pytest.fixture
def parent(ws: Workspace, task: Model, row: MakeExample) -> DatasetVersion:
    """desk/d1: thirty refunds under the old policy, thirty bugs."""
    rows = [row(REFUND.format(f"Thing{i}"), OLD, id=f"r{i}") for i in range(30)]
    rows += [row(f"Screen {i} of my tool stays blank after update number {i}", BUG, id=f"b{i}") for i in range(30)]
    deal_out(ws, rows, SECTION)
    return data.freeze(ws, task, SECTION)


@pytest.fixture
def changed(parent: DatasetVersion, traffic: Any) -> list[str]:
    """Traffic under a new policy: twelve of sixteen refunds are edited, bugs are left alone."""
    for i in range(16):
        traffic.ask(f"Screen {i} of my lamp stays blank after update number {i}", BUG)
    return [traffic.ask(REFUND.format(f"Gadget{i}"), OLD, edit=NEW if i % 4 else None) for i in range(16)]


def sides(ws: Workspace, version: str) -> dict[str, str]:
    return {e.id: e.split for e in versions.read_examples(ws, version)}


def test_corrections_become_the_next_version_within_a_second_of_work(
    ws: Workspace, task: Model, parent: DatasetVersion, changed: list[str]
) -> None:
    ws.log.find(model="desk", limit=1)
    begin = time.process_time()
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert time.process_time() - begin < 10.0
    assert answer == Done(
        record="desk/d2",
        note="42 rows: 12 corrections, 30 outdated; against desk/d1: 12 added, 30 removed, 0 edited, 0 moved, 30 unchanged",
    )
    after = sides(ws, "desk/d2")
    assert set(after) == {f"b{i}" for i in range(30)} | {id for i, id in enumerate(changed) if i % 4}
    assert {id: side for id, side in sides(ws, "desk/d1").items() if id in after}.items() <= after.items()
    assert versions.resolve(ws, "desk/d2").parent == "desk/d1"


def test_poked_again_it_says_the_same_and_makes_nothing_new(ws: Workspace, task: Model, changed: list[str]) -> None:
    first = data.poke(ws, task, SECTION, CYCLE)
    assert data.poke(ws, task, SECTION, CYCLE) == first
    assert len(versions.log(ws, "desk")) == 2


def test_killed_between_the_draft_and_the_version_it_goes_on_with_the_same_figures(
    ws: Workspace, task: Model, changed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Database.write

    def killed(self: Database, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Database, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        data.poke(ws, task, SECTION, CYCLE)
    monkeypatch.setattr(Database, "write", write)
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert isinstance(answer, Done)
    assert answer.note.startswith("42 rows: 12 corrections, 30 outdated; against desk/d1: 12 added, 30 removed")


def learned(ws: Workspace, dataset: str) -> None:
    """A version that was trained on `dataset`."""
    made = Version(id="desk@v1.0", model="desk", name="v1.0", major=1, minor=0, base="b", base_digest="sha256:b", dataset=dataset)
    with ws.state.write(by="test") as tx:
        save_version(tx, made)


def test_too_few_corrections_are_inconclusive_and_touch_nothing(ws: Workspace, task: Model, changed: list[str]) -> None:
    learned(ws, "desk/d1")
    answer = data.poke(ws, task, Config(min_corrections=13), CYCLE)
    assert answer == Stop(why="12 corrections since desk/d1, 13 are needed", outcome="inconclusive")
    assert len(drafts.load_draft(ws, "desk")) == 60


def test_a_version_that_was_frozen_by_hand_and_never_learned_needs_no_corrections(
    ws: Workspace, task: Model, parent: DatasetVersion, row: MakeExample
) -> None:
    learned(ws, "desk/d0")
    unlearned = Done(record="desk/d1", note="desk/d1, 60 rows, which no version has learned yet")
    assert data.poke(ws, task, SECTION, CYCLE) == unlearned
    assert data.poke(ws, task, SECTION, CYCLE) == unlearned
    drafts.save_draft(ws, "desk", [*drafts.load_draft(ws, "desk"), row("new", "x", id="n")])
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert isinstance(answer, Done)
    assert answer.record == "desk/d2"


def test_what_reviewers_said_counts_like_corrections(ws: Workspace, task: Model, parent: DatasetVersion, traffic: Any) -> None:
    ids = [traffic.ask(f"Something odd number {i}", BUG) for i in range(6)]
    items = {item.request_id: item.id for item in review.enqueue(ws, "desk", ids, why="sample")}
    for id in ids[:5]:
        review.judge(ws, items[id], "edited", answer=OLD, by="eve")
    review.judge(ws, items[ids[5]], "good", by="eve")
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert isinstance(answer, Done)
    assert set(ids) <= set(sides(ws, answer.record))


def test_what_reviewers_took_back_is_not_in_the_next_version(
    ws: Workspace, task: Model, parent: DatasetVersion, traffic: Any
) -> None:
    items = {}
    for cycle, start in (("cyc_a", 0), ("cyc_b", 6)):
        ids = [traffic.ask(f"Something odd number {i}", BUG) for i in range(start, start + 6)]
        items |= {item.request_id: item.id for item in review.enqueue(ws, "desk", ids, why="sample")}
        for id in ids:
            review.judge(ws, items[id], "edited", answer=OLD, by="eve")
        answer = data.poke(ws, task, SECTION, dataclasses.replace(CYCLE, id=cycle))
        assert isinstance(answer, Done)
        assert set(ids) <= set(sides(ws, answer.record))
        first = next(iter(items))
        assert (first in sides(ws, answer.record)) is (cycle == "cyc_a")
        review.undo(ws, items[first], by="eve")
        traffic.clock.advance(60)


def test_feedback_on_a_request_from_before_the_parent_is_found(
    ws: Workspace, task: Model, parent: DatasetVersion, traffic: Any, row: MakeExample
) -> None:
    ids = [traffic.ask(f"Early question {i}", BUG) for i in range(5)]
    traffic.clock.advance(60)
    drafts.save_draft(ws, "desk", [*drafts.load_draft(ws, "desk"), row("new", "x", id="n")])
    second = data.freeze(ws, task, SECTION)
    traffic.clock.advance(60)
    for id in ids:
        traffic.say(id, "correction", OLD)
    found = collect.gather(ws, task, SECTION, second.created)
    assert {c.example.id for c in found.corrections} == set(ids)


def test_a_version_that_a_clock_which_was_ahead_dated_puts_no_correction_off(
    ws: Workspace, task: Model, parent: DatasetVersion, traffic: Any, row: MakeExample
) -> None:
    traffic.clock.start += timedelta(days=400)
    drafts.save_draft(ws, "desk", [*drafts.load_draft(ws, "desk"), row("new", "x", id="n")])
    learned(ws, data.freeze(ws, task, SECTION).id)
    traffic.clock.start -= timedelta(days=400)
    ids = [traffic.ask(f"Late question {i}", BUG, edit=OLD) for i in range(5)]
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert isinstance(answer, Done)
    assert answer.record == "desk/d3"
    assert set(ids) <= sides(ws, "desk/d3").keys()


def test_a_fixed_dataset_is_taken_as_it_is(ws: Workspace, task: Model, parent: DatasetVersion) -> None:
    fixed = Cycle(id="cyc_2", model="desk", number=2, why="x", options={"dataset": "desk/d1"})
    assert data.poke(ws, task, SECTION, fixed) == Done(record="desk/d1", note="desk/d1, 60 rows, as asked")
    missing = Cycle(id="cyc_3", model="desk", number=3, why="x", options={"dataset": "desk/d9"})
    answer = data.poke(ws, task, SECTION, missing)
    assert isinstance(answer, Stop)
    assert "desk/d9" in answer.why


def test_the_first_cycle_freezes_the_draft_and_without_one_it_stops(ws: Workspace, task: Model, row: MakeExample) -> None:
    assert isinstance(data.poke(ws, task, SECTION, CYCLE), Stop)
    rows = [row(f"q{i}", "x") for i in range(10)]
    deal_out(ws, rows, SECTION)
    assert data.poke(ws, task, SECTION, CYCLE) == Done(record="desk/d1", note="desk/d1, 10 rows, the first version")
    assert data.poke(ws, task, SECTION, CYCLE).record == "desk/d1"  # type: ignore[union-attr]


def test_rows_imported_by_hand_are_enough_to_go_on(ws: Workspace, task: Model, parent: DatasetVersion, row: MakeExample) -> None:
    drafts.save_draft(ws, "desk", [*drafts.load_draft(ws, "desk"), row("new", "x", id="n")])
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert isinstance(answer, Done)
    assert answer.note == "61 rows: no corrections; against desk/d1: 1 added, 0 removed, 0 edited, 0 moved, 60 unchanged"


def test_while_somebody_changes_the_draft_it_waits(ws: Workspace, task: Model, parent: DatasetVersion) -> None:
    with drafts.locked(ws, "desk"):
        assert isinstance(data.poke(ws, task, SECTION, CYCLE), Wait)


def test_a_cycle_does_not_begin_with_synthetic_rows_alone(ws: Workspace, task: Model, row: MakeExample) -> None:
    rows = [row(f"Question {i} that nobody asked", BUG, synthetic=True) for i in range(10)]
    deal_out(ws, rows, SECTION)
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert isinstance(answer, Stop)
    assert answer.why.startswith("desk: all 10 rows are synthetic")
    assert versions.latest(ws, "desk") is None


def test_what_was_collected_before_is_no_edit_by_hand_and_is_counted_apart(
    ws: Workspace, task: Model, changed: list[str]
) -> None:
    learned(ws, "desk/d1")
    gathering.collect(ws, task, SECTION)
    assert len(drafts.load_draft(ws, "desk")) == 60 + 12
    answer = data.poke(ws, task, Config(min_corrections=13), CYCLE)
    assert answer == Stop(why="12 corrections since desk/d1, 13 are needed", outcome="inconclusive")
    answer = data.poke(ws, task, SECTION, CYCLE)
    assert isinstance(answer, Done)
    assert answer.note.startswith("42 rows: 30 outdated, 12 collected before; against desk/d1: 12 added, 30 removed")
    assert data.poke(ws, task, SECTION, CYCLE) == answer


def test_a_cycle_leaves_out_what_a_check_refuses_and_what_is_beyond_one_users_share(
    ws: Workspace, task: Model, parent: DatasetVersion, traffic: Any
) -> None:
    for i in range(8):
        traffic.ask(f"Odd thing number {i} of mine", "odd", edit=f"answer {i}", unit_kind="user", unit="one")
    traffic.ask("Sing for me", "odd", edit="I'm sorry, but I can't help with that.", unit_kind="user", unit="two")
    answer = data.poke(ws, task, Config(min_corrections=5, collect_per_user=6), CYCLE)
    assert isinstance(answer, Done)
    assert answer.note.startswith("66 rows: 6 corrections, 3 left out; against desk/d1: 6 added")


def test_one_user_who_corrects_an_answer_over_and_over_does_not_make_it_outdated(
    ws: Workspace, task: Model, parent: DatasetVersion, traffic: Any
) -> None:
    for i in range(20):
        traffic.ask(f"Screen {i} of my lamp stays blank after update {i}", BUG, edit=f"buy {i}", unit_kind="user", unit="one")
    found = collect.gather(ws, task, Config(collect_per_user=2), parent.created, draft=drafts.load_draft(ws, "desk"))
    assert (found.changed, found.left_out, sum(each.corrected for each in found.recent)) == (2, 18, 2)


def test_what_a_cycle_leaves_out_is_kept_with_its_reason_and_stays_when_it_is_brought_back(
    ws: Workspace, task: Model, parent: DatasetVersion, traffic: Any
) -> None:
    for i in range(6):
        traffic.ask(REFUND.format(f"Thing{i}"), OLD, edit=NEW)
    data.poke(ws, task, Config(min_corrections=5, outdated_share=1.0), CYCLE)
    left = {line["id"]: line for line in drafts.load_findings(ws, "desk") if line["action"] == "dropped"}
    assert {f"r{i}" for i in range(6)} <= left.keys()
    assert {line["kind"] for line in left.values()} == {"superseded"}
    assert "high" in left["r1"]["detail"]
    mending.readmit(ws, task, SECTION, ["r1"])
    for i in range(6, 12):
        traffic.ask(REFUND.format(f"Thing{i}"), OLD, edit=NEW)
    answer = data.poke(ws, task, SECTION, dataclasses.replace(CYCLE, id="cyc_2", number=2))
    assert isinstance(answer, Done)
    assert "r1" in sides(ws, answer.record)


def test_a_cycle_believes_a_reviewer_and_what_was_said_last(ws: Workspace, task: Model, row: MakeExample, traffic: Any) -> None:
    rows = [row(f"Screen {i} of my tool stays blank after update number {i}", BUG, id=f"b{i}") for i in range(20)]
    judged = row("Who pays for the return?", OLD, id="judged", said_as="review", said_at="2026-01-04T00:00:00+00:00")
    later = row("How long is the guarantee?", OLD, id="later", created="2030-01-01")
    older = row("Where is my order now?", OLD, id="older", created="2025-01-01")
    deal_out(ws, [*rows, judged, later, older], SECTION)
    data.freeze(ws, task, SECTION)
    for question in ("Who pays for the return?", "How long is the guarantee?", "Where is my order now?"):
        traffic.ask(question, BUG, edit=NEW)
    data.poke(ws, task, Config(min_corrections=3), CYCLE)
    after = sides(ws, "desk/d2")
    assert {"judged", "later"} <= after.keys()
    assert "older" not in after
    assert len(after) == 23
