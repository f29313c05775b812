from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing, review
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace


@pytest.fixture
def asked(traffic: Any) -> list[str]:
    """Sixty answers: fifty about bugs, eight about refunds, two about billing."""
    names = ["bug"] * 50 + ["refund"] * 8 + ["billing"] * 2
    return [traffic.ask(f"ticket {i}", json.dumps({"category": name})) for i, name in enumerate(names)]


def window(ws: Workspace) -> tuple[Any, Any]:
    return ws.clock.utc() - timedelta(days=1), ws.clock.utc() + timedelta(seconds=5)


def test_a_sample_sees_rare_answers_as_well(ws: Workspace, asked: list[str]) -> None:
    items = review.sample(ws, "desk", *window(ws), n=12)
    label = {id: json.loads(ws.log.load(id).response["choices"][0]["message"]["content"])["category"] for id in asked}
    counted = Counter(label[item.request_id] for item in items)
    assert counted == {"bug": 5, "refund": 5, "billing": 2}
    assert {item.why for item in items} == {"sample"}


def test_the_same_window_is_sampled_once(ws: Workspace, asked: list[str], traffic: Any) -> None:
    since, until = window(ws)
    first = review.sample(ws, "desk", since, until, share=0.1)
    assert len(first) == 6
    assert review.sample(ws, "desk", since, until, share=0.1) == []
    assert len(review.sample(ws, "desk", since, until, share=0.2)) == 6
    assert len({item.request_id for item in review.find(ws, "desk")}) == 12


def test_of_a_window_with_more_requests_than_are_looked_at_old_and_new_ones_come_and_the_rest_next_time(
    ws: Workspace, traffic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MOST", 30)
    names = ["fraud"] * 30 + ["bug"] * 30
    asked = [traffic.ask(f"ticket {i}", json.dumps({"category": name})) for i, name in enumerate(names)]
    first = review.fill(ws, "desk", *window(ws), 8)
    assert {item.request_id in asked[:30] for item in first} == {True, False}
    assert [item.id for item in review.fill(ws, "desk", *window(ws), 8, dry_run=True)] != [item.id for item in first]
    review.fill(ws, "desk", *window(ws), 22)
    assert len(review.fill(ws, "desk", *window(ws), 60)) == 30
    assert review.fill(ws, "desk", *window(ws), 1) == []


def test_what_few_requests_have_of_a_segment_is_looked_at_however_large_the_window(
    ws: Workspace, traffic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MOST", 4)
    plans = [("vip" if i in (3, 31) else "free", f"u{i}") for i in range(40)]
    asked = [traffic.ask(f"ticket {i}", "an answer", segments={"plan": plan, "user": u}) for i, (plan, u) in enumerate(plans)]
    found = {each.request_id for each in review.answered(ws, "desk", *window(ws))}
    assert {asked[3], asked[31]} <= found
    assert len(found) <= 4 + 2 + review.RARE
    assert {item.request_id for item in review.fill(ws, "desk", *window(ws), 4)} & {asked[3], asked[31]}


def test_what_a_dry_run_says_is_queued_a_little_later_though_the_window_slid(
    ws: Workspace, asked: list[str], clock: ManualClock
) -> None:
    would = review.fill(ws, "desk", *window(ws), 9, dry_run=True)
    clock.advance(30)
    assert [item.id for item in review.fill(ws, "desk", *window(ws), 9)] == [item.id for item in would]


def test_an_answer_is_queued_once_however_often_it_is_asked_for(ws: Workspace) -> None:
    assert len(review.enqueue(ws, "desk", ["req_a", "req_b", "req_a"], why="edit")) == 2
    assert [i.request_id for i in review.enqueue(ws, "desk", ["req_b", "req_c"], why="thumb")] == ["req_c"]


def test_a_judgement_is_kept_with_who_and_how_long(ws: Workspace) -> None:
    [item] = review.enqueue(ws, "desk", ["req_a"], why="edit")
    done = review.judge(ws, item.id, "edited", answer="right", by="ana", seconds=30)
    assert (done.state, done.verdict, done.answer, done.by, done.seconds) == ("done", "edited", "right", "ana", 30)
    assert done.done_at == ws.clock.utc()
    assert review.find(ws, "desk", state="open") == []
    assert review.find(ws, "desk", state="done") == [done]


@pytest.mark.parametrize(
    ("verdict", "options", "message"),
    [
        ("superb", {}, "no verdict is called 'superb'"),
        ("edited", {}, "`edited` needs the right answer .*--answer TEXT"),
        ("good", {"answer": "x"}, "an answer of your own goes with `edited` or `bad`"),
        ("good", {"by": ""}, "who says so"),
        ("good", {"seconds": -1}, "-1 is no number of seconds"),
    ],
)
def test_half_a_judgement_is_refused(ws: Workspace, verdict: Any, options: dict[str, Any], message: str) -> None:
    [item] = review.enqueue(ws, "desk", ["req_a"], why="edit")
    with pytest.raises(UserError, match=message):
        review.judge(ws, item.id, verdict, **{"by": "ana", **options})
    assert review.find(ws, "desk", state="open") == [item]


def test_an_unknown_item_and_a_sample_without_a_size_are_refused(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        review.judge(ws, "rev_none", "good", by="ana")
    with pytest.raises(UserError, match="either a share or a number"):
        review.sample(ws, "desk", *window(ws))


def test_a_sample_says_why_each_was_chosen_and_keeps_clear_of_gold(ws: Workspace, asked: list[str], traffic: Any) -> None:
    traffic.say(asked[3], "thumb", "down")
    review.add_gold(ws, "desk", request_id=asked[4], answer="known", by="boss")
    since, until = window(ws)
    tried = review.fill(ws, "desk", since, until, 80, dry_run=True)
    assert review.find(ws, "desk") == []
    items = review.fill(ws, "desk", since, until, 80, opinions=2)
    assert {item.id for item in items} == {item.id for item in tried}
    assert {item.request_id for item in items} == {*asked} - {asked[4]}
    assert {item.wants for item in items} == {2}
    told = {item.request_id: (item.why, item.reasons) for item in items}
    assert told[asked[3]] == (
        "disagreement",
        (
            "the user's feedback contradicts it: thumb down",
            "stands for 1 of 59 answers: topic bug, length 16 to 31 characters",
        ),
    )
    assert told[asked[59]][1] == ("stands for 2 of 59 answers: topic billing, length 16 to 31 characters",)
    assert review.fill(ws, "desk", since, until, 5) == []


def test_what_the_newest_version_lacks_is_chosen_as_new(ws: Workspace, traffic: Any, row: Any, task: Model) -> None:
    rows = [row(f"my parcel number {i} has not come yet", "ok") for i in range(12)]
    drafts.save_draft(ws, "desk", [replace(each, split="train" if i else "eval") for i, each in enumerate(rows)])
    version = freezing.freeze(ws, task, Config())
    for i in range(9):
        traffic.ask(f"my parcel number {i} has not come yet", "ok")
    odd = traffic.ask("please cancel the subscription of our team", "ok")
    [new] = [i for i in review.fill(ws, "desk", *window(ws), 2) if i.why == "novel"]
    assert new.request_id == odd
    assert new.reasons[0] == f"100% of its question's word 3-grams are not in {version.id}"


def test_an_item_that_an_older_release_saved_is_read_and_goes_on(ws: Workspace) -> None:
    body = (
        '{"schema":1,"id":"rev_old","model":"desk","request_id":"req_a","why":"sample","state":"done","verdict":"edited",'
        '"answer":"right","by":"ana","seconds":30.0,"created":"2026-01-05T09:00:00Z","done_at":"2026-01-05T09:01:00Z","rev":2}'
    )
    [item] = review.enqueue(ws, "desk", ["req_a"], why="sample")
    with closing(sqlite3.connect(ws.path("state.db"))) as database, database:
        database.execute("UPDATE reviews SET id = 'rev_old', body = ?, state = 'done', rev = 2 WHERE id = ?", (body, item.id))
    old = review.get(ws, "rev_old")
    assert (old.verdict, old.opinions, old.wants, old.kind) == ("edited", (), 1, "answer")
    assert review.pace([old]).by_reviewer["ana"].minutes_each == 0.5
    done = review.judge(ws, "rev_old", "edited", answer="right", by="bob")
    assert (done.state, [o.by for o in done.opinions]) == ("done", ["ana", "bob"])
