from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.rollout import rollback
from tunekeeper.rollout.incidents import born, cases_from, close, regression_cases
from tunekeeper.rollout.moves import promote
from tunekeeper.store.ledgers.incidents import find_incidents, load_incident
from tunekeeper.testing.desk import MODEL, Desk

T0 = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ROLLOUT = Rollout(id="rol_1", model=MODEL, version="desk@v1.1", slot="green")


def failing(number: int, text: str | None = None, category: str = "billing") -> Inference:
    messages = [{"role": "system", "content": "Triage."}, {"role": "user", "content": text or f"question {number}"}]
    return Inference(
        request_id=f"req_{number}", timestamp=T0, model_id=MODEL, request={"messages": messages}, segments={"category": category}
    )


def truth(number: int, value: Any = "the right answer") -> dict[str, list[Feedback]]:
    return {f"req_{number}": [Feedback(id="fb", request_id=f"req_{number}", timestamp=T0, kind="edit", value=value)]}


def test_a_failing_request_with_a_user_s_answer_becomes_a_case() -> None:
    [case] = cases_from("inc_1", [failing(1)], truth(1), 5)
    assert (case.id, case.expected, case.category, case.tags) == ("inc_1-1", "the right answer", "billing", ("regression",))
    assert case.messages[-1] == {"role": "user", "content": "question 1"}
    assert case.source == "inc_1:req_1"


def test_without_a_true_answer_or_a_kept_body_there_is_no_case() -> None:
    bare = Inference(request_id="req_3", timestamp=T0, model_id=MODEL)
    assert cases_from("inc_1", [failing(1), failing(2), bare], {**truth(2, {"not": "text"}), **truth(3)}, 5) == ()


def test_the_same_question_counts_once_and_the_number_of_cases_is_limited() -> None:
    many = [failing(n, text=f"question {n // 2}") for n in range(20)]
    edits = {id: edit for n in range(20) for id, edit in truth(n).items()}
    cases = cases_from("inc_1", many, edits, 4)
    assert [case.id for case in cases] == [f"inc_1-{n}" for n in range(1, 5)]
    assert len({case.messages[-1]["content"] for case in cases}) == 4


def test_an_incident_says_what_failed_by_category_and_is_due_in_a_day() -> None:
    found = [failing(1), failing(2), failing(3, category="refund")]
    incident = born("inc_1", ROLLOUT, "errors are higher", found, truth(1), T0, 12)
    assert incident.what_failed == "3 failing requests (billing: 2, refund: 1)"
    assert incident.requests == ("req_1", "req_2", "req_3")
    assert (len(incident.cases), incident.rollout, incident.due) == (1, "rol_1", T0 + timedelta(hours=24))


def test_an_incident_without_a_failing_request_still_stands() -> None:
    assert born("inc_1", ROLLOUT, "no decision", [], {}, T0, 12).what_failed == "0 failing requests"


@pytest.fixture
def incident(desk: Desk) -> str:
    promote(desk.ws, MODEL, "green", by="test", reason="second")
    desk.clock.advance(60)
    rollback(desk.ws, MODEL, by="ana", reason="complaints")
    with desk.ws.control.read() as tx:
        return find_incidents(tx, model=MODEL)[0].id


ANSWERS = {
    "why_missed": "no such tickets in the suite",
    "what_changes": "the suite",
    "retry_on": T0 + timedelta(days=7),
    "by": "ana",
}


@pytest.mark.parametrize("missing", ["why_missed", "what_changes"])
def test_an_incident_is_closed_with_both_answers_only(desk: Desk, incident: str, missing: str) -> None:
    with pytest.raises(UserError, match="both answers"):
        close(desk.ws, incident, **{**ANSWERS, missing: " "})


def test_a_closed_incident_keeps_its_analysis_and_is_not_closed_twice(desk: Desk, incident: str) -> None:
    closed = close(desk.ws, incident, **ANSWERS)
    assert (closed.state, closed.why_missed, closed.retry_on) == ("closed", ANSWERS["why_missed"], ANSWERS["retry_on"])
    with pytest.raises(UserError, match="closed already"):
        close(desk.ws, incident, **ANSWERS)
    with desk.ws.control.read() as tx:
        assert load_incident(tx, incident).version == "desk@v1.1"
    with pytest.raises(NotFound, match="inc_none"):
        close(desk.ws, "inc_none", **ANSWERS)


def test_a_rollback_by_hand_gives_no_cases(desk: Desk, incident: str) -> None:
    assert incident
    assert regression_cases(desk.ws, MODEL) == ()
