from __future__ import annotations

import random

import pytest

from tunekeeper.stats.intervals import wilson
from tunekeeper.stats.judge import corrected_share, margin_on_judge_scale, sampling_shares


def study(rng: random.Random, n: int, total: int, theta: float, sees: float) -> tuple[list[bool], list[float], list[float]]:
    truth = [rng.random() < theta for _ in range(total)]
    said = [float(t if rng.random() < sees else not t) for t in truth]
    return truth[:n], said[:n], said[n:]


def test_the_corrected_share_covers_where_the_judge_alone_is_wrong() -> None:
    rng = random.Random(1)
    covered = alone = 0
    for _ in range(150):
        human, judged, rest = study(rng, 200, 1500, 0.8, 0.9)
        found = corrected_share(human, judged, rest)
        covered += found.low <= 0.8 <= found.high
        low, high = wilson(sum(rest), len(rest))
        alone += low <= 0.8 <= high
    assert covered >= 0.92 * 150
    assert alone < 0.1 * 150


def test_a_strong_judge_saves_labels_and_says_so() -> None:
    found = corrected_share(*study(random.Random(2), 300, 4000, 0.8, 0.98))
    assert found.method == "ppi++"
    assert found.rho is not None
    assert found.rho > 0.85
    assert found.gain is not None
    assert found.gain > 1.3


def test_below_two_hundred_labels_people_alone_count() -> None:
    human, judged, rest = study(random.Random(3), 60, 1000, 0.8, 0.9)
    found = corrected_share(human, judged, rest)
    assert (found.method, found.gain) == ("wilson", None)
    assert (found.low, found.high) == wilson(sum(human), 60)


def test_without_labels_nothing_is_known() -> None:
    found = corrected_share([], [], [1.0, 0.0])
    assert (found.value, found.low, found.high) == (None, 0.0, 1.0)


def test_a_judge_that_never_varies_is_not_trusted() -> None:
    found = corrected_share([True] * 190 + [False] * 20, [1.0] * 210, [1.0] * 500)
    assert found.rho is None
    assert found.value == pytest.approx(190 / 210)


def test_doubtful_answers_are_asked_more_often() -> None:
    shares = sampling_shares([0.5, 0.99, 0.01, 1.0], 2)
    assert shares[0] == max(shares)
    assert all(0 < s <= 1 for s in shares)
    assert sampling_shares([1.0, 1.0], 1) == [0.5, 0.5]
    assert sampling_shares([], 5) == []


def test_a_margin_shrinks_on_the_scale_of_an_imperfect_judge() -> None:
    assert margin_on_judge_scale(0.05, 0.85, 0.95) == pytest.approx(0.04)


def test_unequal_lists_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        corrected_share([True], [], [])
