from __future__ import annotations

import pytest

from tunekeeper.monitoring.arms import Arm, arms
from tunekeeper.rollout.moves import set_route
from tunekeeper.testing.desk import FORMAT, MODEL, Desk


@pytest.fixture
def split(desk: Desk) -> Desk:
    """Two slots with half of the traffic each; green garbles a half of its answers."""
    desk.slot("green", "v1.1")
    set_route(desk.ws, MODEL, {"blue": 5_000, "green": 5_000}, by="ana", override="a look", experiment="exp-1")
    desk.traffic(200, 3_600, desk.faulty({}, garbled={"green": 0.5}))
    return desk


def value(arm: Arm, name: str) -> float:
    found = arm.number(name)
    assert found is not None, name
    assert found.value is not None
    return found.value


def test_arms_carry_the_same_metrics_with_intervals(split: Desk) -> None:
    champion, challenger = sorted(arms(split.ws, MODEL, FORMAT), key=lambda each: each.key["variant"] != "champion")
    assert champion.requests + challenger.requests == 200
    well = challenger.number("format")
    assert well is not None
    assert well.low is not None
    assert well.high is not None
    assert (value(champion, "format"), well.n, well.low < 0.5 < well.high) == (1.0, challenger.requests, True)
    assert value(champion, "edit_rate") == 0.0
    assert 0.3 < value(challenger, "edit_rate") < 0.7
    assert (value(champion, "latency_ms_p99"), value(champion, "error_rate")) == (12.0, 0.0)
    assert champion.number("cost_usd") is None, "nothing was priced"


def test_what_was_said_later_and_what_was_reviewed_belong_to_their_arm(split: Desk) -> None:
    asked = split.ws.log.find(model=MODEL, bodies=False)
    for place, each in enumerate(asked):
        split.say(each.request_id, "score", 0.9 if each.variant == "champion" else 0.2)
        if place % 2:
            split.say(each.request_id, "outcome", "success" if each.variant == "champion" else "failure")
    split.spool.flush()
    found = {each.key["slot_assigned"]: each for each in arms(split.ws, MODEL, FORMAT, by=("slot_assigned",))}
    assert {name: round(value(each, "quality_score"), 6) for name, each in found.items()} == {"blue": 0.9, "green": 0.2}
    assert {name: value(each, "success_rate") for name, each in found.items()} == {"blue": 1.0, "green": 0.0}
    assert all(each.number("accuracy") is None for each in found.values())


def test_groups_are_those_of_the_log_and_may_be_crossed(split: Desk) -> None:
    found = arms(split.ws, MODEL, FORMAT, by=("rollout", "segment:category"))
    assert {each.key["rollout"] for each in found} == {"exp-1"}
    assert sum(each.requests for each in found) == 200
    assert all(each.number("format") is not None for each in found)
    assert arms(split.ws, MODEL, FORMAT, since=split.clock.utc()) == []
