"""When a slot is given a rest, and for how long."""

from __future__ import annotations

from tunekeeper.gateway.health import FAILURES, LONGEST_REST, Health


def test_five_failures_in_a_row_eject_a_slot_for_a_while() -> None:
    health = Health()
    for _ in range(FAILURES - 1):
        health.failed("a", 100.0)
    assert not health.resting("a", 100.0)
    health.failed("a", 100.0)
    assert health.resting("a", 104.9)
    assert not health.resting("a", 105.0)
    assert health.ejected(101.0) == ["a"]
    assert not health.resting("b", 101.0)


def test_each_further_failure_doubles_the_rest_up_to_a_minute() -> None:
    health = Health()
    for _ in range(30):
        health.failed("a", 0.0)
    assert health.resting("a", LONGEST_REST - 0.1)
    assert not health.resting("a", LONGEST_REST)


def test_one_answer_forgives_everything() -> None:
    health = Health()
    for _ in range(FAILURES):
        health.failed("a", 0.0)
    health.succeeded("a")
    assert not health.resting("a", 1.0)
    health.failed("a", 1.0)
    assert not health.resting("a", 1.0)
