from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.rollout.conftest import CONFIG, canary, now_of
from tunekeeper.core.errors import LeaseLost
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.rollout import rollback
from tunekeeper.rollout.canary import tick
from tunekeeper.rollout.incidents import regression_cases
from tunekeeper.store.ledgers.incidents import find_incidents, load_incident
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.rollouts import save_rollout
from tunekeeper.store.ledgers.routes import find_routes
from tunekeeper.store.log import Log
from tunekeeper.store.published import PublishedReader
from tunekeeper.testing.desk import FORMAT, MODEL, Desk, right
from tunekeeper.workspace import open_workspace

HOUR = 3600.0


def step(desk: Desk, **given: Any) -> Rollout:
    return tick(desk.ws, "rol_1", CONFIG, FORMAT, **given)


def begun(desk: Desk, **fields: Any) -> Rollout:
    canary(desk, **fields)
    return step(desk)


def looks(desk: Desk, count: int, requests: int, **faults: dict[str, float]) -> Rollout:
    """`count` looks, each after `requests` of users and the time between two looks; ends with the rollout."""
    answers = desk.faulty(faults.get("wrong", {}), faults.get("garbled"))
    rollout = now_of(desk)
    for _ in range(count):
        desk.traffic(requests, rollout.check_every, answers)
        rollout = step(desk)
        if rollout.state != "running":
            break
    return rollout


def test_a_canary_begins_with_its_first_share_and_is_published(desk: Desk) -> None:
    rollout = begun(desk)
    assert (rollout.state, rollout.phase, rollout.started_at) == ("running", 0, desk.clock.utc())
    assert desk.shares() == {"blue": 9_500, "green": 500}
    assert desk.route().rollout == "rol_1"
    assert PublishedReader(desk.ws.root).current().routes[MODEL].challenger == "green"


def test_a_good_candidate_holds_advances_and_is_promoted(desk: Desk) -> None:
    begun(desk, check_every=HOUR)
    assert looks(desk, 1, 300).checks[-1].action == "hold"
    assert desk.shares() == {"blue": 9_500, "green": 500}
    rollout = looks(desk, 1, 600)
    assert [check.action for check in rollout.checks] == ["hold", "advance"]
    assert desk.shares() == {"blue": 7_500, "green": 2_500}
    rollout = looks(desk, 12, 400)
    assert rollout.state == "promoted", rollout.checks[-1].reason
    assert rollout.verdict is not None
    assert rollout.verdict.outcome == "pass"
    assert rollout.verdict.measured["errors.candidate"].n > 100
    assert desk.shares() == {"green": 10_000}
    with desk.ws.control.read() as tx:
        assert [line.champion for line in find_promotions(tx, model=MODEL)] == ["blue", "green"]
        assert find_incidents(tx, model=MODEL) == []


def test_harm_goes_back_to_the_champion_and_leaves_an_incident_with_cases(desk: Desk) -> None:
    begun(desk)
    rollout = looks(desk, 24, 120, wrong={"green": 0.8})
    assert rollout.state == "rolled_back"
    assert rollout.checks[-1].action == "go_back"
    assert rollout.verdict is not None
    assert rollout.verdict.outcome == "fail"
    assert desk.shares() == {"blue": 10_000}
    with desk.ws.control.read() as tx:
        incident = load_incident(tx, rollout.incident or "")
    assert (incident.version, incident.rollout, incident.reason) == ("desk@v1.1", "rol_1", rollout.checks[-1].reason)
    assert 0 < len(incident.cases) <= CONFIG.incident_cases
    assert {case.expected for case in incident.cases} <= {right(name) for name in ("account", "billing", "refund", "shipping")}
    assert len(incident.requests) >= len(incident.cases)
    assert regression_cases(desk.ws, MODEL) == incident.cases


def test_harm_is_seen_though_the_clock_was_set_back_behind_the_beginning(desk: Desk) -> None:
    begun(desk, check_every=HOUR)
    looks(desk, 1, 100)
    desk.clock.start -= timedelta(days=3)
    rollout = looks(desk, 12, 200, wrong={"green": 0.8})
    assert (rollout.state, rollout.checks[-1].action) == ("rolled_back", "go_back")


def test_a_clock_that_is_set_back_promotes_nobody_early(desk: Desk) -> None:
    begun(desk, check_every=HOUR)
    began = desk.clock.steady()
    looks(desk, 1, 300)
    desk.clock.start -= timedelta(days=3)
    assert looks(desk, 12, 400).state == "promoted"
    assert desk.clock.steady() - began >= 6 * HOUR, "two hours are two hours, and four are four"


def test_wrong_formats_go_back_too(desk: Desk) -> None:
    begun(desk)
    rollout = looks(desk, 24, 120, garbled={"green": 0.8})
    assert rollout.state == "rolled_back"
    assert "errors are shown to be higher" in rollout.checks[-1].reason


def test_silence_holds_then_goes_back_after_its_patience(desk: Desk) -> None:
    begun(desk, patience=10 * HOUR)
    desk.clock.advance(9 * HOUR)
    assert step(desk).checks[-1].reason == "only 0 of 20 requests in this phase: not enough data"
    assert desk.shares() == {"blue": 9_500, "green": 500}
    desk.clock.advance(HOUR)
    rollout = step(desk)
    assert (rollout.state, rollout.verdict and rollout.verdict.outcome) == ("rolled_back", "inconclusive")


def test_a_look_that_is_not_due_changes_nothing(desk: Desk) -> None:
    rollout = begun(desk)
    desk.clock.advance(899)
    assert step(desk) == rollout
    desk.clock.advance(1)
    again = step(desk)
    assert again.rev == rollout.rev + 1
    assert step(desk) == again


def test_an_ended_rollout_is_left_alone(desk: Desk) -> None:
    begun(desk)
    rollback(desk.ws, MODEL, by="ana")
    ended = now_of(desk)
    desk.clock.advance(9 * HOUR)
    assert step(desk) == ended
    assert ended.state == "rolled_back"


def test_a_canary_waits_for_its_slot(desk: Desk) -> None:
    desk.slot("green", "v1.1", files={"model": "m.gguf"}, endpoint=None, observed="starting")
    assert begun(desk).state == "loading"
    assert desk.shares() == {"blue": 10_000}


def test_another_file_in_the_slot_goes_back_at_once(desk: Desk) -> None:
    begun(desk)
    desk.slot("green", "v1.1", digest="sha256:other")
    desk.clock.advance(900)
    rollout = step(desk)
    assert rollout.state == "rolled_back"
    assert "another file" in rollout.checks[-1].reason


def test_blue_green_switches_in_one_step(desk: Desk) -> None:
    rollout = begun(desk, strategy="blue-green", phases=())
    assert (rollout.state, rollout.due) == ("promoted", None)
    assert desk.shares() == {"green": 10_000}
    assert step(desk) == rollout


def test_the_first_version_of_a_model_gets_everything_whatever_the_strategy(desk: Desk) -> None:
    desk.slot("first", "v0.1", model="other")
    first = replace(canary(desk), id="rol_9", model="other", version="other@v0.1", slot="first", artifact_digest=None, rev=0)
    with desk.ws.control.write(by="test") as tx:
        save_rollout(tx, first)
    assert tick(desk.ws, "rol_9", CONFIG, FORMAT).state == "promoted"


class Overtaken:
    """A log at whose first question another controller takes the step."""

    def __init__(self, log: Log, meanwhile: Callable[[], object]) -> None:
        self.log, self.meanwhile = log, [meanwhile]

    def __getattr__(self, name: str) -> Any:
        if self.meanwhile:
            self.meanwhile.pop()()
        return getattr(self.log, name)


def test_a_controller_that_was_overtaken_while_it_looked_changes_nothing(desk: Desk) -> None:
    begun(desk)
    desk.clock.advance(900)
    other = open_workspace(desk.ws.root, clock=desk.clock)
    other.log = Overtaken(desk.ws.log, lambda: rollback(desk.ws, MODEL, by="ana", reason="complaints"))  # type: ignore[assignment]
    found = tick(other, "rol_1", CONFIG, FORMAT)
    assert found.state == "rolled_back"
    assert found == now_of(desk)
    assert desk.shares() == {"blue": 10_000}
    assert desk.route().reason == "complaints"


@pytest.mark.parametrize("moment", ["begin", "look"])
def test_a_controller_whose_lease_another_took_moves_no_traffic(desk: Desk, moment: str) -> None:
    canary(desk)
    if moment == "look":
        step(desk)
        desk.clock.advance(900)
    old = desk.ws.control.acquire_lease("worker", "one", 10.0)
    assert old is not None
    desk.ws.control.release_lease(old)
    assert desk.ws.control.acquire_lease("worker", "two", 10.0) is not None
    before, route = now_of(desk), desk.route()
    with pytest.raises(LeaseLost):
        step(desk, lease=old)
    assert (now_of(desk), desk.route()) == (before, route)


def test_every_move_is_told_once_and_kept_in_the_history(desk: Desk) -> None:
    begun(desk)
    looks(desk, 24, 120, wrong={"green": 0.9})
    step(desk)
    with desk.ws.control.read() as tx:
        told = [message.subject for message in find_messages(tx) if message.kind == "rollout"]
        moves = [route.reason for route in reversed(find_routes(tx, model=MODEL))]
    assert sorted(told) == ["desk: desk@v1.1 5 % of traffic", "desk: desk@v1.1 gone back"]
    assert moves[0] == "first"
    assert moves[1] == "rol_1: 5 %"
    assert len(moves) == 3
