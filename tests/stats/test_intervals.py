from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tunekeeper.stats.intervals import (
    asymptotic_cs,
    betting_cs,
    clopper_pearson,
    mean_interval,
    newcombe,
    quantile_levels,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (45, 50), (50, 50), (188, 200)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_and_clopper_pearson_agree_with_scipy(k: int, n: int, confidence: float) -> None:
    reference = stats.binomtest(k, n)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        wanted = reference.proportion_ci(confidence, method=method)
        assert ours(k, n, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_nothing_measured_is_nothing_known() -> None:
    assert wilson(0, 0) == clopper_pearson(0, 0) == mean_interval([]) == betting_cs([]) == quantile_levels(0.5, 0) == (0.0, 1.0)
    assert newcombe(0, 0, 3, 10) == (-1.0, 1.0)
    assert asymptotic_cs(1.0, 0) == math.inf


def test_newcombe_gives_the_published_example() -> None:
    # Newcombe 1998 (17: 873), table II, example (a), method 10: 56/70 - 48/80.
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_more_hits_than_trials_are_refused() -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="hits"):
            interval(5, 4)


def test_ten_equal_scores_do_not_give_a_width_of_zero() -> None:
    low, high = mean_interval([0.8] * 10)
    assert low < 0.75
    assert high > 0.85


def test_a_mean_interval_covers_graded_scores() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        low, high = mean_interval(list(rng.beta(8, 2, 40)))
        covered += low <= 0.8 <= high
    assert covered >= 0.93 * 400


def test_the_betting_sequence_is_right_at_every_look() -> None:
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(40):
        x = (rng.random(200) < 0.1).astype(float)
        looks = (betting_cs(x[:n], grid=100) for n in (20, 50, 100, 200))
        wrong += any(not low <= 0.1 <= high for low, high in looks)
    assert wrong <= 6
    low, high = betting_cs(x)
    assert high - low < 0.2
    with pytest.raises(ValueError, match="must lie"):
        betting_cs([1.5])


def test_the_asymptotic_sequence_is_right_at_every_look_and_shrinks() -> None:
    rng = np.random.default_rng(5)
    n = np.arange(100, 1001)
    half = np.array([asymptotic_cs(1.0, float(t)) for t in n])
    wrong = 0
    for _ in range(200):
        means = np.cumsum(rng.normal(size=1000))[99:] / n
        wrong += bool((np.abs(means) > half).any())
    assert wrong <= 0.05 * 200 + 3 * math.sqrt(200 * 0.05 * 0.95)
    assert half[-1] < half[0]


def test_quantile_levels_bracket_and_narrow() -> None:
    wide, narrow = quantile_levels(0.95, 200), quantile_levels(0.95, 20_000)
    assert wide[0] < narrow[0] < 0.95 < narrow[1] <= wide[1]
