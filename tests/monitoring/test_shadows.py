from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.ids import canonical_json, request_id
from tunekeeper.monitoring.shadows import Difference, compare
from tunekeeper.scoring import scorer
from tunekeeper.testing.desk import FORMAT, MODEL, TOPICS, Desk, right


def copied(desk: Desk, count: int, wrong: str = "", every: int = 1, **fields: Any) -> list[str]:
    """Requests of users, each with its shadow copy; every so many copies of topic `wrong` (all of them: "all") are wrong or
    are as `fields` say. Returns the users' request ids."""
    parents = []
    for place in range(count):
        ticket = desk.world.ticket(desk.rng)
        desk.ask(ticket, desk.faulty({}))
        parent, at = desk.sent[-1], desk.clock.utc()
        bad = wrong in ("all", ticket.category) and place % every == 0
        other = next(name for name in TOPICS if name != ticket.category)
        text = right(other) if bad and not fields else ticket.answer
        record: dict[str, Any] = {
            "request_id": request_id(at, desk.ws.request_key(), desk.ws.entropy),
            "parent_id": parent,
            "timestamp": at,
            "model_id": MODEL,
            "purpose": "shadow",
            "variant": "shadow",
            "version": "v1.1",
            "status": "ok",
            "latency_ms": 20.0 + place % 7,
            "segments": {"category": ticket.category},
            "response": canonical_json({"choices": [{"message": {"role": "assistant", "content": text}}]}),
        }
        desk.spool.ended(record | (fields if bad else {}))
        desk.say(parent, "label", ticket.answer)
        parents.append(parent)
        desk.clock.advance(1.0)
    desk.spool.flush()
    return parents


def of(differences: tuple[Difference, ...], name: str) -> Difference:
    return next(each for each in differences if each.name == name)


def test_equal_answers_show_no_loss_and_take_longer(desk: Desk) -> None:
    copied(desk, 60)
    found = compare(desk.ws, MODEL, FORMAT, least=50)
    assert (found.copies, found.all.pairs, found.verdict, found.worse, found.versions) == (60, 60, "no_loss_shown", (), ("v1.1",))
    assert found.all.agreement == 1.0
    assert 0.93 < found.all.agreement_low < 1.0
    errors, latency, words = (of(found.all.differences, name) for name in ("errors", "latency_ms", "words"))
    assert errors.low is not None
    assert errors.high is not None
    assert (errors.champion, errors.shadow, errors.low < 0 < errors.high) == (0.0, 0.0, True)
    assert (latency.champion, latency.shadow, latency.difference, latency.n) == (12.0, 23.0, 11.0, 60)
    assert latency.low is not None
    assert 8.0 <= latency.low <= 11.0
    assert (words.difference, words.low, words.high) == (0.0, 0.0, 0.0)
    assert compare(desk.ws, MODEL, FORMAT).verdict == "not_enough"


def test_a_loss_in_one_segment_is_found_and_named_with_its_requests(desk: Desk) -> None:
    parents = copied(desk, 120, wrong="billing")
    found = compare(desk.ws, MODEL, FORMAT, least=50)
    assert found.verdict == "worse"
    assert set(found.worse) == {"score", "category=billing: score"}
    billing = found.segments["category=billing"]
    assert (billing.agreement, of(billing.differences, "score").difference) == (0.0, -1.0)
    others = [group for name, group in found.segments.items() if name != "category=billing"]
    assert others
    assert all(group.agreement == 1.0 for group in others)
    assert sum(group.pairs for group in found.segments.values()) == 120
    assert found.regressions == {"score": billing.pairs}
    assert found.regressions_by == {"score, category=billing": billing.pairs}
    assert {each.parent for each in found.samples} <= set(parents)


@pytest.mark.parametrize(
    ("fields", "measure", "change"),
    [
        ({"status": "error", "error": "upstream_timeout", "response": None}, "errors", 0.25),
        ({"response": b'{"choices":[{"message":{"content":"I would rather not say."}}]}'}, "format", -0.25),
    ],
)
def test_copies_that_fail_or_lose_their_format_are_a_loss(
    desk: Desk, fields: dict[str, Any], measure: str, change: float
) -> None:
    copied(desk, 80, wrong="all", every=4, **fields)
    found = compare(desk.ws, MODEL, FORMAT, least=50)
    assert found.verdict == "worse"
    assert measure in found.worse
    assert of(found.all.differences, measure).difference == pytest.approx(change)


def test_what_makes_no_pair_is_counted_apart(desk: Desk) -> None:
    copied(desk, 20, wrong="all", every=2, status="error", error="draining")
    copied(desk, 10, wrong="all", every=2, parent_id="req_unknown")
    found = compare(desk.ws, MODEL, FORMAT, least=1)
    assert (found.copies, found.set_aside, found.unpaired, found.all.pairs) == (30, 10, 5, 15)
    assert found.verdict == "no_loss_shown"


def test_a_version_and_a_window_can_be_asked_for_alone(desk: Desk) -> None:
    copied(desk, 10, wrong="all", every=2, version="v1.2")
    half = desk.clock.utc()
    copied(desk, 6)
    assert compare(desk.ws, MODEL, FORMAT, version="v1.2").all.pairs == 5
    assert compare(desk.ws, MODEL, FORMAT, since=half).all.pairs == 6
    assert compare(desk.ws, MODEL, FORMAT, until=half).versions == ("v1.1", "v1.2")
    nothing = compare(desk.ws, "other", FORMAT)
    assert (nothing.copies, nothing.verdict, nothing.all.agreement) == (0, "not_enough", None)


def test_another_scorer_judges_by_the_true_answer(desk: Desk) -> None:
    copied(desk, 12, wrong="all")
    fields = of(compare(desk.ws, MODEL, FORMAT, scorer=scorer("json_fields")).all.differences, "score")
    assert (fields.champion, fields.shadow, fields.n) == (1.0, 0.0, 12)
