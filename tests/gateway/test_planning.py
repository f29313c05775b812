"""Which candidate is asked next, and which are passed over."""

from __future__ import annotations

from tunekeeper.core.nouns.serving import FallbackEntry, Route, RouteTable, Slot
from tunekeeper.gateway.health import FAILURES, Health
from tunekeeper.gateway.planning import Candidate, following, plan_of, reachable, willing
from tunekeeper.gateway.routing import Choice
from tunekeeper.gateway.tables import Obeyed, target_of


def candidates(*names: str, dead: str = "") -> tuple[Candidate, ...]:
    made = []
    for name in names:
        slot = Slot(id=name, model="m", version="v", endpoint=None if name == dead else "http://h:1/v1")
        made.append((target_of(slot, {}), "fallback"))
    return tuple(made)


def ill(health: Health, slot: str, times: int = FAILURES) -> Health:
    for _ in range(times):
        health.failed(slot, 0.0)
    return health


def passed(found: tuple[int, list]) -> tuple[int, list[tuple[str, str]]]:
    return found[0], [(attempt.slot, attempt.error) for attempt in found[1]]


def test_the_first_candidate_that_can_answer_is_asked() -> None:
    assert following(candidates("a", "b"), 0, Health(), 0.0, spare=True) == (0, [])
    assert passed(following(candidates("a", "b", dead="a"), 0, Health(), 0.0, spare=True)) == (1, [("a", "slot_unavailable")])
    assert following(candidates("a"), 1, Health(), 0.0, spare=True) == (1, [])


def test_a_resting_slot_is_passed_over_but_never_the_last_that_can_answer() -> None:
    health = ill(Health(), "a")
    assert passed(following(candidates("a", "b"), 0, health, 1.0, spare=True)) == (1, [("a", "ejected")])
    assert following(candidates("a"), 0, health, 1.0, spare=True) == (0, [])
    assert following(candidates("a", "b", dead="b"), 0, health, 1.0, spare=True) == (0, []), "b cannot be asked"
    ill(health, "b")
    assert following(candidates("a", "b"), 0, health, 1.0, spare=True) == (0, []), "all rest: as if none did"


def test_a_slot_that_asked_to_wait_is_passed_over_until_then() -> None:
    health = Health()
    health.asked_to_wait("a", 7.0, 0.0)
    assert passed(following(candidates("a", "b"), 0, health, 6.9, spare=True)) == (1, [("a", "asked_to_wait")])
    assert following(candidates("a", "b"), 0, health, 7.0, spare=True) == (0, [])


def test_without_an_extra_call_left_a_slot_that_has_just_failed_is_passed_over() -> None:
    health = ill(Health(), "a", 1)
    assert following(candidates("a", "b"), 0, health, 0.0, spare=True) == (0, [])
    assert passed(following(candidates("a", "b"), 0, health, 0.0, spare=False)) == (1, [("a", "ejected")])
    ill(health, "b", 1)
    assert following(candidates("a", "b"), 0, health, 0.0, spare=False) == (0, [])


def test_a_doubtful_answer_is_taken_elsewhere_only_where_somebody_is_well() -> None:
    assert reachable(candidates("a", "b"), 1)
    assert not reachable(candidates("a", "b", dead="b"), 1)
    assert willing(candidates("a", "b"), 1, Health(), 0.0)
    assert not willing(candidates("a", "b"), 1, ill(Health(), "b"), 0.0)


def test_a_plan_begins_with_the_assigned_slot_and_a_pinned_one_has_no_other() -> None:
    slots = {name: Slot(id=name, model="m", version="v", endpoint="http://h:1/v1") for name in ("a", "b")}
    fallback = (FallbackEntry(slot="a"), FallbackEntry(slot="b"), FallbackEntry(slot="a", system="Be short."))
    route = Route(model="m", champion="a", fallback=fallback)
    obeyed = Obeyed(RouteTable(generation=1, routes={"m": route}, slots=slots), {})
    choice = Choice(slot="a", variant="champion", bucket=1, weight=10_000)
    plan = plan_of(obeyed, route, choice, "process", pinned=False)
    assert [(target.slot, variant) for target, variant in plan.candidates] == [
        ("a", "champion"),
        ("b", "fallback"),
        ("a", "fallback"),
    ]
    assert len(plan_of(obeyed, route, choice, "power", pinned=True).candidates) == 1
