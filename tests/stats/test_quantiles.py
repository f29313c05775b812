from __future__ import annotations

import math
import random

import pytest

from tunekeeper.stats.quantiles import quantile, quantile_interval


def test_a_quantile_lies_between_the_values_around_it() -> None:
    assert quantile([5.0], 0.95) == 5.0
    assert quantile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([0.0, 10.0], 0.25) == 2.5


def test_the_interval_of_a_median_is_that_of_the_tables() -> None:
    # David, Nagaraja: for n = 10 the 2nd and the 9th value (97.9 %), for n = 20 the 6th and the 15th (95.9 %).
    assert quantile_interval([float(i) for i in range(1, 11)], 0.5) == (2.0, 9.0)
    assert quantile_interval([float(i) for i in range(1, 21)], 0.5) == (6.0, 15.0)
    assert quantile_interval([float(i) for i in range(5)], 0.5) is None
    assert quantile_interval([float(i) for i in range(6)], 0.5) == (0.0, 5.0)
    assert quantile_interval([float(i) for i in range(60)], 0.95) is None, (
        "sixty values do not bound a 95th percentile from above"
    )


@pytest.mark.parametrize("p", [0.5, 0.95])
def test_it_covers_the_truth_at_least_as_often_as_it_says(p: float) -> None:
    rng, hits, rounds = random.Random(7), 0, 400
    truth = -math.log(1 - p)
    for _ in range(rounds):
        found = quantile_interval(sorted(rng.expovariate(1.0) for _ in range(200)), p)
        assert found is not None
        hits += found[0] <= truth <= found[1]
    assert hits / rounds > 0.925
