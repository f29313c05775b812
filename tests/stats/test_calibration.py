from __future__ import annotations

import random

import pytest

from tunekeeper.stats.calibration import curve, debiased_error, weighted_error


def answers(n: int, over: float, seed: int) -> tuple[list[float], list[bool]]:
    rng = random.Random(seed)
    confidence = [rng.uniform(0.5, 0.95) for _ in range(n)]
    return confidence, [rng.random() < c - over for c in confidence]


def test_a_calibrated_model_is_near_zero_and_an_over_confident_one_is_not() -> None:
    good, bad = debiased_error(*answers(4000, 0.0, 1)), debiased_error(*answers(4000, 0.1, 1))
    assert good is not None
    assert bad is not None
    assert good < 0.03
    assert bad == pytest.approx(0.1, abs=0.03)


def test_bins_weigh_by_their_count() -> None:
    confidence, correct = [0.9] * 300 + [0.2] * 3, [True] * 270 + [False] * 30 + [True] * 3
    assert weighted_error(confidence, correct) == pytest.approx(3 * 0.8 / 303)


def test_equal_confidences_share_a_bin_and_the_curve_holds_every_answer() -> None:
    parts = curve([0.7] * 25 + [0.8] * 5, [True] * 30, bins=10)
    assert [(b.n, b.accuracy) for b in parts] == [(25, 1.0), (5, 1.0)]
    assert [b.confidence for b in parts] == pytest.approx([0.7, 0.8])


def test_nothing_judged_is_none() -> None:
    assert weighted_error([], []) is None
    assert debiased_error([], []) is None
    assert debiased_error([0.5], [True]) is None
    with pytest.raises(ValueError, match=r"shorter|longer"):
        curve([0.5], [])
