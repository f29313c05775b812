from __future__ import annotations

import random

import pytest
from scipy import stats

from tunekeeper.stats.paired import difference, difference_of_scores, mcnemar, non_inferior


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (3, 1), (10, 2), (7, 7), (40, 60)])
def test_mcnemar_is_the_binomial_mid_p(fixed: int, broken: int) -> None:
    n, few = fixed + broken, min(fixed, broken)
    exact = stats.binom.cdf(few, n, 0.5) * 2 - stats.binom.pmf(few, n, 0.5)
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, exact) if n else 1.0)


def test_the_paired_interval_gives_the_published_example() -> None:
    # Newcombe 1998 (17: 2635), table III, example (36, 12, 2, 0), method 10.
    assert difference(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-4)


def test_the_paired_interval_covers() -> None:
    rng = random.Random(1)
    covered = 0
    for _ in range(500):
        counts = [0, 0, 0, 0]
        for _ in range(100):
            draw = rng.random()
            counts[0 if draw < 0.85 else 1 if draw < 0.89 else 2 if draw < 0.95 else 3] += 1
        low, high = difference(*counts, confidence=0.9)
        covered += low <= -0.02 <= high
    assert covered >= 0.87 * 500


def test_scores_are_compared_as_rates_when_right_or_wrong_and_as_means_when_graded() -> None:
    assert difference_of_scores([1, 1, 0], [1, 0, 0]) == difference(1, 1, 0, 1)
    low, high = difference_of_scores([0.9] * 50, [0.5] * 50)
    assert low < 0.4 < high
    assert difference_of_scores([], []) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="not pairs"):
        difference_of_scores([1.0], [])


@pytest.mark.parametrize(
    ("low", "high", "margin", "outcome"),
    [
        (-0.01, 0.03, 0.05, "pass"),
        (-0.04, -0.01, 0.05, "pass"),  # worse, but by less than the margin: that is what a margin means
        (-0.08, 0.02, 0.05, "inconclusive"),
        (-0.09, -0.01, 0.05, "fail"),
        (0.0, 0.1, 0.0, "pass"),
        (-0.01, 0.1, 0.0, "inconclusive"),
    ],
)
def test_non_inferiority_has_three_answers(low: float, high: float, margin: float, outcome: str) -> None:
    assert non_inferior(low, high, margin) == outcome
