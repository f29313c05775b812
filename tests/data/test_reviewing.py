from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.data import review
from tunekeeper.workspace import Workspace


@pytest.fixture
def item(ws: Workspace) -> str:
    return review.enqueue(ws, "desk", ["req_a"], why="edit")[0].id


def test_a_judgment_carries_its_note_and_labels(ws: Workspace, item: str) -> None:
    done = review.judge(ws, item, "good", by="ana", seconds=12, note=" clear ", labels=("refund", "refund"))
    assert [(r["kind"], r["text"], r["by"]) for r in done.remarks] == [("label", "refund", "ana"), ("note", "clear", "ana")]
    assert done.remarks[0]["at"] == ws.clock.utc().isoformat()


def test_flags_labels_and_notes_leave_an_item_where_it_is(ws: Workspace, item: str) -> None:
    review.flag(ws, item, "the policy is unclear", by="ana")
    review.label(ws, item, "refund", by="ana")
    review.label(ws, item, "billing", by="bob")
    review.note(ws, item, "see the handbook", by="ana")
    left = review.unlabel(ws, item, "refund", by="ana")
    assert [(r["kind"], r["by"]) for r in left.remarks] == [("flag", "ana"), ("label", "bob"), ("note", "ana")]
    assert review.unlabel(ws, item, "billing", by="ana") == left, "nobody takes off what another wrote"
    assert left.state == "open"


def test_what_was_typed_survives_and_goes_when_it_is_judged(ws: Workspace, item: str) -> None:
    review.save_text(ws, item, "half", by="ana")
    kept = review.save_text(ws, item, "half a sen", by="ana")
    assert kept.texts == {"ana": "half a sen"}
    assert kept.held is not None
    assert kept.held[0] == "ana"
    assert review.judge(ws, item, "edited", answer="half a sentence", by="ana").texts == {}


def test_an_opinion_can_be_taken_back(ws: Workspace, item: str) -> None:
    review.judge(ws, item, "bad", by="ana")
    assert review.undo(ws, item, by="ana").state == "open"
    assert review.find(ws, "desk", state="done") == []
    marked = review.undo(ws, item, by="ana")
    assert [(remark["kind"], remark["by"]) for remark in marked.remarks] == [("undone", "ana")]
    review.judge(ws, item, "bad", by="ana")
    skipped = review.skip(ws, item, by="ana")
    assert (skipped.state, skipped.opinions, list(skipped.skipped)) == ("open", (), ["ana"])


def test_a_rejection_with_an_answer_of_blanks_is_a_rejection_without_one(ws: Workspace, item: str) -> None:
    assert review.judge(ws, item, "bad", answer=" \n", by="ana").answer is None


def test_an_expired_lock_stops_nobody(ws: Workspace, item: str, clock: ManualClock) -> None:
    review.keep(ws, item, by="ana")
    clock.advance(3600)
    assert review.judge(ws, item, "good", by="bob").by == "bob"


def test_two_reviewers_at_once_never_get_the_same_item(ws: Workspace, traffic: Any) -> None:
    ids = [traffic.ask(f"q{i}", "a") for i in range(8)]
    review.enqueue(ws, "desk", ids, why="sample")

    def work(by: str) -> list[str]:
        got = []
        while (found := review.open_next(ws, "desk", by=by)) is not None:
            got.append(found.item.id)
            review.judge(ws, found.item.id, "good", by=by)
        return got

    with ThreadPoolExecutor(max_workers=3) as pool:
        done = list(pool.map(work, ("ana", "bob", "eve")))
    assert sorted(id for each in done for id in each) == sorted(i.id for i in review.find(ws, "desk", state="done"))
    assert sum(len(each) for each in done) == 8
    assert all(len(i.opinions) == 1 for i in review.find(ws, "desk"))


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        (review.prefer, ("a",), "holds one answer"),
        (review.prefer, ("c",), "no choice is called 'c'"),
        (review.flag, (" ",), "an empty flag"),
        (review.note, ("",), "an empty note"),
        (review.label, ("x" * ((1 << 20) + 1),), "characters, 1048576 are the most"),
        (review.save_text, ("x" * ((1 << 20) + 1),), "characters, 1048576 are the most"),
    ],
)
def test_what_makes_no_sense_is_refused(ws: Workspace, item: str, verb: Any, arguments: tuple[str, ...], message: str) -> None:
    before = review.get(ws, item)
    with pytest.raises(UserError, match=message):
        verb(ws, item, *arguments, by="ana")
    assert review.get(ws, item) == before


def test_every_verb_needs_a_name_and_an_item(ws: Workspace, item: str) -> None:
    verbs: list[Any] = [review.skip, review.keep, review.release, review.undo]
    for verb in verbs:
        with pytest.raises(UserError, match="who says so"):
            verb(ws, item, by="")
        with pytest.raises(NotFound):
            verb(ws, "rev_none", by="ana")
