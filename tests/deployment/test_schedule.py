from __future__ import annotations

import pytest

from tunekeeper.deployment.schedule import span, times


def test_what_is_left_is_said_beside_what_each_part_took() -> None:
    took = times({"train": 9000.0, "export": 720.0, "load": 40.0, "check": 5.0, "rollout": 99_999.0})

    assert (took.export, took.verify, took.total, took.late) == (720.0, 45.0, 765.0, False)
    assert took.says() == "export 12 min of 30 min, load and verify 45 s of 30 min: 1 h 17 min left of 1 h 30 min"


def test_one_part_may_use_what_is_to_spare_and_beyond_that_it_is_late() -> None:
    spare, late = times({"export": 2400.0, "load": 600.0}), times({"export": 2400.0, "load": 3000.0, "check": 1.0})

    assert not spare.late
    assert "40 min left of 1 h 30 min; part of what is to spare is used" in str(spare.says())
    assert late.late
    assert "1 s beyond the 1 h 30 min set aside" in str(late.says())


def test_nothing_is_said_before_anything_ended_and_one_part_alone_where_another_cycle_did_the_rest() -> None:
    assert times({}).says() is None
    assert times({"data": 5.0}).says() is None
    assert times({"load": 30.0}).says() == "load and verify 30 s of 30 min: 1 h 30 min left of 1 h 30 min"


@pytest.mark.parametrize(("seconds", "told"), [(0, "0 s"), (59, "59 s"), (61, "1 min"), (3600, "1 h"), (5400, "1 h 30 min")])
def test_spans_are_short(seconds: float, told: str) -> None:
    assert span(seconds) == told
