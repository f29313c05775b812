from __future__ import annotations

from dataclasses import replace

from tunekeeper.evaluation.latency import compare, piece_ms
from tunekeeper.evaluation.results import Result

OWN = [Result(case=f"c{n}", ms=30.0, pace_ms=4.0) for n in range(20)]
OTHER = [Result(case=f"c{n}", ms=10.0, pace_ms=2.0) for n in range(20)]


def test_both_are_compared_and_so_is_how_busy_the_machine_was() -> None:
    found = compare(OWN, OTHER)
    assert {name: (each.value, each.n) for name, each in found.items()} == {
        "latency_ratio": (3.0, 20),
        "latency_p95_ms": (30.0, 20),
        "latency_pace": (2.0, 20),
    }


def test_an_exam_of_before_has_no_pace_and_one_without_times_nothing() -> None:
    assert set(compare([replace(r, pace_ms=None) for r in OWN], OTHER)) == {"latency_ratio", "latency_p95_ms"}
    assert compare([replace(r, ms=None) for r in OWN], OTHER) == compare(OWN, []) == {}


def test_the_piece_of_work_is_timed_by_the_clock_that_is_given() -> None:
    ticks = iter([1.0, 1.25])
    assert piece_ms(lambda: next(ticks)) == 250.0
    assert piece_ms() > 0
