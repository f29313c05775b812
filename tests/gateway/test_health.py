"""When a slot is given a rest, and for how long."""

from __future__ import annotations

from tunekeeper.gateway.health import FAILURES, LONGEST_REST, LONGEST_WAIT, REFUSAL_SECONDS, Health


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


def test_after_a_rest_one_request_tries_the_slot_and_the_others_wait() -> None:
    health = Health()
    for _ in range(FAILURES):
        health.failed("a", 0.0)
    assert not health.resting("a", 5.0)
    health.trying("a", 5.0)
    assert health.resting("a", 5.1)
    assert health.resting("a", 9.9)
    health.succeeded("a")
    assert not health.resting("a", 9.9)
    health.trying("a", 10.0)
    assert not health.resting("a", 10.0), "asking a healthy slot changes nothing"


def test_a_slot_rests_as_long_as_it_asked_but_not_for_ever() -> None:
    health = Health()
    health.asked_to_wait("a", 7.0, 100.0)
    assert health.waiting("a", 106.9)
    assert health.ejected(106.9) == ["a"]
    assert not health.resting("a", 107.0)
    assert not health.calm
    health.trying("a", 107.0)
    assert health.calm, "what is over is forgotten"
    health.asked_to_wait("a", 1e9, 0.0)
    assert not health.resting("a", LONGEST_WAIT)


def test_a_single_failure_makes_a_slot_shaky_until_it_answers() -> None:
    health = Health()
    assert not health.shaky("a")
    health.failed("a", 0.0)
    assert health.shaky("a")
    assert not health.resting("a", 0.0)
    health.succeeded("a")
    assert not health.shaky("a")


def test_that_a_slot_refuses_log_probabilities_is_forgotten_in_time() -> None:
    health = Health()
    assert not health.refuses_probabilities("a", 0.0)
    health.refused_probabilities("a", 0.0)
    assert health.refuses_probabilities("a", REFUSAL_SECONDS - 1)
    assert not health.refuses_probabilities("b", 1.0)
    assert not health.refuses_probabilities("a", REFUSAL_SECONDS)
    assert health.calm
