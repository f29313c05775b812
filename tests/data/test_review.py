from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.data import review
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
        ("edited", {}, "an edited answer and the verdict `edited` belong together"),
        ("good", {"answer": "x"}, "belong together"),
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


def test_pace_tells_minutes_each_and_items_an_hour(ws: Workspace) -> None:
    items = review.enqueue(ws, "desk", ["a", "b", "c", "d"], why="sample")
    review.judge(ws, items[0].id, "good", by="ana", seconds=60)
    review.judge(ws, items[1].id, "bad", by="ana", seconds=180)
    review.judge(ws, items[2].id, "good", by="ana")
    review.skip(ws, items[3].id, by="ana")
    assert review.pace(review.find(ws, "desk")) == {"judged": 3, "minutes_each": 2.0, "an_hour": 30.0}
    assert review.pace([]) == {"judged": 0, "minutes_each": None, "an_hour": None}
