from __future__ import annotations

import math

import pytest
from scipy import stats

from tunekeeper.stats import special


def test_special_functions_agree_with_scipy() -> None:
    assert special.normal_quantile(0.975) == pytest.approx(stats.norm.ppf(0.975))
    assert special.normal_cdf(1.3) == pytest.approx(stats.norm.cdf(1.3))
    assert special.chi2_tail(7.8, 3) == pytest.approx(stats.chi2.sf(7.8, 3))
    assert special.beta_quantile(0.1, 3, 5) == pytest.approx(stats.beta.ppf(0.1, 3, 5))
    assert special.t_quantile(0.975, 12) == pytest.approx(stats.t.ppf(0.975, 12))


def test_divergence_is_zero_only_for_equal_rates_and_finite_at_the_ends() -> None:
    assert special.kl_bernoulli(0.3, 0.3) == 0.0
    assert special.kl_bernoulli(0.0, 0.5) == pytest.approx(math.log(2))
    assert math.isfinite(special.kl_bernoulli(0.5, 0.0))


def test_means_of_huge_logs_do_not_overflow() -> None:
    assert special.log_mean_exp([1000.0, 1000.0]) == pytest.approx(1000.0)
