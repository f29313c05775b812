from __future__ import annotations

import pytest

from tunekeeper.stats.intervals import wilson
from tunekeeper.stats.power import cases_to_show, detectable, n_per_arm


def test_the_textbook_sample_size() -> None:
    # (1.95996 + 0.84162)^2 * 2 * 0.1 * 0.9 / 0.05^2 = 565.1
    assert n_per_arm(0.1, 0.05) == 566
    assert n_per_arm(0.1, 0.05, sides=1) < 566


def test_what_n_can_show_is_the_inverse_of_what_n_is_needed() -> None:
    assert detectable(0.1, 566) == pytest.approx(0.05, rel=0.01)
    assert detectable(0.1, 0) == 1.0


def test_the_cases_that_would_show_a_target_are_the_fewest_that_do() -> None:
    n = cases_to_show(0.95, 0.90)
    assert n is not None
    assert wilson(0.95 * n, n, 0.9)[0] >= 0.90 > wilson(0.95 * (n - 1), n - 1, 0.9)[0]
    assert cases_to_show(0.9, 0.9) is None
    assert cases_to_show(0.9001, 0.9, most=1000) is None


def test_a_difference_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="difference"):
        n_per_arm(0.1, 0.0)
