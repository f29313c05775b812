from __future__ import annotations

import pytest

from tunekeeper.core.errors import UserError
from tunekeeper.data import review
from tunekeeper.data.erase import erase_data
from tunekeeper.data.examined import Output, judged, queue_outputs
from tunekeeper.workspace import Workspace


def output(case: str, source: str = "file:cases.jsonl:1") -> Output:
    asked = ({"role": "user", "content": f"q {case}"},)
    return Output(case=case, source=source, messages=asked, answer=f"a {case}", reasons=("exact gives 0",))


def test_outputs_are_queued_once_in_their_order_and_judged_like_any_answer(ws: Workspace) -> None:
    outputs = [output(name) for name in ("c1", "c2", "c3")]
    assert [item.shown["case"] for item in queue_outputs(ws, "desk", "exam_1", outputs, 2, dry_run=True)] == ["c1", "c2"]
    assert review.find(ws, "desk") == []
    assert len(queue_outputs(ws, "desk", "exam_1", outputs, 2)) == 2
    assert [item.shown["case"] for item in queue_outputs(ws, "desk", "exam_1", outputs, 2)] == ["c3"]
    opened = review.open_next(ws, "desk", by="ana", kinds=("exam",))
    assert opened is not None
    assert (opened.messages[0]["content"], opened.answer) == ("q c1", "a c1")
    assert opened.reasons == ("case c1 of exam_1", "exact gives 0")
    review.judge(ws, opened.item.id, "good", by="ana")
    assert judged(ws, "desk", "exam_1") == {"good": 1, "open": 2}
    assert judged(ws, "desk", "exam_2") == {}


def test_an_erasure_reaches_the_answers_of_cases_that_came_of_a_request(ws: Workspace) -> None:
    outputs = [output("c1", "review:req_7"), output("req_8"), output("c3"), output("desk/d1:T3")]
    queue_outputs(ws, "desk", "exam_1", outputs, 9)
    assert erase_data(ws, {"req_7", "req_8"}, "mallory", dry_run=True).counts["reviews"] == 2
    assert erase_data(ws, {"req_7", "req_8"}, "mallory").counts["reviews"] == 2
    left = {item.id: item for item in review.find(ws, "desk", state=review.STATES)}
    assert sorted(str(item.shown.get("case")) for item in left.values() if item.shown) == ["c3", "desk/d1:T3"]
    assert erase_data(ws, {"req_7", "req_8"}, "mallory").counts["reviews"] == 0


def test_nobody_is_asked_by_wanting_no_opinion(ws: Workspace) -> None:
    with pytest.raises(UserError):
        queue_outputs(ws, "desk", "exam_1", [output("c1")], 1, opinions=0)
