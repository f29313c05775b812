from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import review
from tunekeeper.data.collect import gather
from tunekeeper.data.config import Config
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

ASKED = [{"role": "user", "content": "Where is it? Write to ana@example.com"}]
Write = Callable[[str, Iterable[Any]], Path]


def test_reviewers_are_measured_on_known_answers(ws: Workspace) -> None:
    def gold(asked: str, served: str, known: str) -> str:
        return review.add_gold(
            ws, "desk", messages=[{"role": "user", "content": asked}], served=served, answer=known, by="boss"
        ).id

    right = gold("one", '{"a": 1}', '{ "a": 1 }')
    wrong = gold("two", '{"a": 1}', '{"a": 2}')
    prose = gold("three", "No idea.", "It is on its way.")
    for id, verdict, answer in ((right, "good", None), (wrong, "edited", '{"a":2}'), (prose, "edited", "It comes tomorrow.")):
        review.judge(ws, id, verdict, answer=answer, by="ana")
    for id, verdict, answer in ((right, "bad", None), (wrong, "good", None), (prose, "bad", None)):
        review.judge(ws, id, verdict, answer=answer, by="bob")
    review.judge(ws, wrong, "edited", answer='{"a": 3}', by="eve")
    scores = review.gold_scores(ws, "desk")
    assert [(s.met, s.right, s.missed, s.blamed) for s in (scores["ana"], scores["bob"], scores["eve"])] == [
        (3, 3, 0, 0), (3, 1, 1, 1), (1, 0, 0, 0)
    ]  # fmt: skip
    assert scores["ana"].low == pytest.approx(0.4385, abs=1e-4)
    assert scores["ana"].high == pytest.approx(1.0)


def test_a_gold_item_never_becomes_an_example_whatever_is_said_about_its_request(
    ws: Workspace, traffic: Any, task: Model
) -> None:
    edited, judged = traffic.ask("one", "served", edit="the user's edit"), traffic.ask("two", "served")
    before = gather(ws, task, Config(), None)
    assert [c.example.id for c in before.corrections] == [edited]
    for request in (edited, judged):
        item = review.add_gold(ws, "desk", request_id=request, answer="known", by="boss")
        review.judge(ws, item.id, "edited", answer="a reviewer's edit", by="ana")
    assert gather(ws, task, Config(), None).corrections == ()
    assert review.find(ws, "desk") == []
    assert len(review.find(ws, "desk", state="gold")) == 2


def test_an_item_that_waits_or_was_judged_becomes_gold_with_what_was_said(ws: Workspace, traffic: Any) -> None:
    request = traffic.ask("one", "served")
    [item] = review.enqueue(ws, "desk", [request], why="thumb")
    review.judge(ws, item.id, "good", by="ana")
    gold = review.add_gold(ws, "desk", request_id=request, answer="known", by="boss")
    assert (gold.id, gold.state, gold.verdict, [o.by for o in gold.opinions]) == (item.id, "gold", None, ["ana"])
    assert review.gold_scores(ws, "desk")["ana"].missed == 1
    assert review.enqueue(ws, "desk", [request], why="sample") == [], "it is not queued a second time"


def test_given_messages_are_redacted_and_get_the_system_message(ws: Workspace) -> None:
    gold = review.add_gold(
        ws, "desk", messages=ASKED, answer="Call 4111 1111 1111 1111", system="Triage.", redactor=Redactor(), by="boss"
    )
    assert [m["content"] for m in gold.shown["messages"]] == ["Triage.", "Where is it? Write to [EMAIL]"]
    assert gold.known == "Call [CARD]"
    assert review.get(ws, gold.id) == gold


def test_a_dry_run_adds_nothing_and_a_retired_item_comes_no_more(ws: Workspace) -> None:
    assert review.add_gold(ws, "desk", messages=ASKED, answer="x", by="boss", dry_run=True).state == "gold"
    assert review.find(ws, "desk", state="gold") == []
    gold = review.add_gold(ws, "desk", messages=ASKED, answer="x", by="boss")
    assert review.retire_gold(ws, gold.id, by="boss").state == "skipped"
    with pytest.raises(UserError, match="no gold item"):
        review.retire_gold(ws, gold.id, by="boss")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answer": "x"}, "a request of the log or messages"),
        ({"answer": "x", "messages": ASKED, "request_id": "req_1"}, "a request of the log or messages"),
        ({"answer": " ", "messages": ASKED}, "needs its right answer"),
    ],
)
def test_half_a_gold_item_is_refused(ws: Workspace, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        review.add_gold(ws, "desk", by="boss", **options)


def test_an_unknown_request_is_refused(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        review.add_gold(ws, "desk", request_id="req_none", answer="x", by="boss")


def test_a_file_of_gold_items_is_read_or_refused_with_its_line(write: Write) -> None:
    path = write("gold.jsonl", [{"prompt": "hi", "answer": "x"}, "", {"request_id": "req_1", "answer": "y", "served": "z"}])
    assert review.read_gold(path) == [
        {"answer": "x", "messages": [{"role": "user", "content": "hi"}]},
        {"request_id": "req_1", "answer": "y", "served": "z"},
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "gold.jsonl:2: not JSON"),
        ("[]", "gold.jsonl:2: not an object"),
        ({"prompt": "hi"}, "gold.jsonl:2: no answer"),
        ({"answer": "x"}, "gold.jsonl:2: either request_id or messages"),
        ({"prompt": "hi", "answer": "x", "servd": "y"}, "gold.jsonl:2: unknown key 'servd'"),
        (b'{"prompt": "' + b"x" * (4 << 20) + b'"}', "gold.jsonl:2: longer than 4 MB"),
        (b'{"prompt": "\xff"}', "gold.jsonl:2: not JSON"),
    ],
)
def test_a_broken_row_of_gold_is_refused_with_its_line(write: Write, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        review.read_gold(write("gold.jsonl", [{"prompt": "hi", "answer": "x"}, row]))
