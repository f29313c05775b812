"""How many extra calls there may be."""

from __future__ import annotations

import random

from tunekeeper.gateway.budget import LEAST, SHARE, WINDOW, RetryBudget


def test_a_few_extra_calls_are_always_allowed_and_no_more_without_traffic() -> None:
    budget = RetryBudget()
    budget.asked("m", 100.0)
    assert [budget.spend("m", 100.0) for _ in range(LEAST + 2)] == [True] * LEAST + [False] * 2
    assert not budget.left("m", 100.0)
    assert budget.left("other", 100.0), "each model has its own"


def test_with_traffic_a_fifth_of_the_requests_may_be_asked_again() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.asked("m", 5.0)
    assert sum(budget.spend("m", 5.0) for _ in range(100)) == 20


def test_what_is_older_than_the_window_is_forgotten() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.asked("m", 0.0)
    assert [budget.spend("m", 0.0) for _ in range(20)] == [True] * 20
    assert not budget.left("m", WINDOW - 1)
    assert [budget.spend("m", WINDOW) for _ in range(LEAST + 1)] == [True] * LEAST + [False]


def test_in_no_window_is_there_more_than_a_fifth_or_the_least() -> None:
    draw = random.Random(7)
    budget, now = RetryBudget(), 0.0
    asked: list[float] = []
    extra: list[float] = []
    for _ in range(5_000):
        now += draw.expovariate(draw.choice((2.0, 20.0)))
        asked.append(now)
        budget.asked("m", now)
        if not budget.spend("m", now):
            continue
        extra.append(now)
        since = int(now) - WINDOW + 1
        seen = sum(at >= since for at in asked[-2_000:])
        assert sum(at >= since for at in extra[-1_000:]) <= max(LEAST, SHARE * seen)
    assert len(extra) >= SHARE * len(asked) * 0.5, "the budget is there to be used"
