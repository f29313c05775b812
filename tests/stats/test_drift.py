from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import spatial, stats

from tunekeeper.stats import drift


def test_a_moved_category_is_found_and_a_table_against_itself_is_not() -> None:
    reference = {"billing": 900, "refund": 60, "other": 40}
    moved = drift.g_test(reference, {"billing": 400, "refund": 560, "other": 40})
    same = drift.g_test(reference, {"billing": 450, "refund": 30, "other": 20})
    assert moved.p is not None
    assert moved.p < 1e-100
    assert same.p == pytest.approx(1.0)


def test_the_g_test_agrees_with_scipy() -> None:
    a, b = {"x": 30, "y": 50, "z": 20}, {"x": 45, "y": 35, "z": 30}
    wanted = stats.chi2_contingency([list(a.values()), list(b.values())], lambda_="log-likelihood", correction=False)
    found = drift.g_test(a, b)
    assert (found.statistic, found.p, found.degrees) == pytest.approx((wanted.statistic, wanted.pvalue, 2))


def test_one_unseen_row_in_many_is_pooled_and_no_alarm() -> None:
    found = drift.g_test({"a": 50_000, "b": 50_000}, {"a": 5_000, "b": 5_000, "new": 1})
    assert found.pooled == ("new",)
    assert found.p is not None
    assert found.p > 0.01


def test_the_g_test_alarms_at_its_level_when_nothing_changed() -> None:
    rng = np.random.default_rng(1)
    share = [0.5, 0.3, 0.15, 0.05]
    found = 0
    for _ in range(300):
        a, b = rng.multinomial(300, share), rng.multinomial(200, share)
        p = drift.g_test(dict(enumerate(a.tolist())), dict(enumerate(b.tolist()))).p  # type: ignore[arg-type]
        found += p is not None and p < 0.05
    assert found <= 0.05 * 300 + 3 * math.sqrt(300 * 0.05 * 0.95)


def test_js_distance_agrees_with_scipy_and_stays_finite() -> None:
    a, b = {"x": 3, "y": 7}, {"x": 60, "y": 30, "z": 10}
    assert drift.js_distance(a, b) == pytest.approx(float(spatial.distance.jensenshannon([0.3, 0.7, 0], [0.6, 0.3, 0.1], 2)))
    assert drift.js_distance({"x": 1}, {"y": 1}) == 1.0
    assert drift.js_distance(a, a) == 0.0
    assert drift.js_distance(a, {}) is None
    assert drift.psi(a, {}) is None


def test_psi_without_change_is_about_its_bias() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        a, b = (dict(zip("abcdefghij", rng.multinomial(400, [0.1] * 10).tolist(), strict=True)) for _ in range(2))
        found.append(drift.psi(a, b) or 0.0)
    assert np.mean(found) == pytest.approx(drift.psi_bias(10, 400, 400), rel=0.2)


def test_unseen_categories_are_counted_with_their_bound() -> None:
    found = drift.unseen({"a": 10}, {"a": 90, "new": 8, "other": 2})
    assert found is not None
    assert (found.share, found.names) == (0.1, ("new", "other"))
    assert found.low < 0.1 < found.high
    assert drift.unseen({"a": 1}, {}) is None


def test_a_shift_agrees_with_scipy_on_a_small_reference() -> None:
    rng = np.random.default_rng(3)
    reference, current = rng.normal(size=500), rng.normal(0.5, 1.2, size=300)
    found = drift.shift(json.loads(json.dumps(drift.profile(list(reference)))), list(current))
    assert found is not None
    assert found.ks == pytest.approx(stats.ks_2samp(reference, current).statistic)
    assert found.w1_sd == pytest.approx(stats.wasserstein_distance(reference, current) / reference.std())
    assert found.js > 0.1
    assert found.psi > found.psi_bias


def test_a_long_reference_keeps_its_quantiles_only() -> None:
    rng = np.random.default_rng(4)
    reference = rng.lognormal(size=20_000)
    kept = drift.profile(list(reference))
    assert len(kept["quantiles"]) == drift.QUANTILES
    found = drift.shift(kept, list(rng.lognormal(size=5_000)))
    assert found is not None
    assert found.w1_sd < 0.05
    assert drift.shift(kept, []) is None
    with pytest.raises(ValueError, match="at least one"):
        drift.profile([])


def test_a_constant_reference_is_compared_in_its_own_unit() -> None:
    found = drift.shift(drift.profile([5.0] * 40), [7.0] * 10)
    assert found is not None
    assert (found.w1_sd, found.ks) == (2.0, 1.0)


def test_the_threshold_from_user_blocks_is_higher_than_from_single_rows() -> None:
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(40), 10)
    rows = [float(v) for v in rng.normal(size=40)[users] + 0.2 * rng.normal(size=400)]

    def distance(a: list[float], b: list[float]) -> float | None:
        found = drift.shift(drift.profile(a), b)
        return None if found is None else found.w1_sd

    by_user = drift.split_threshold(rows, [str(u) for u in users], 150, distance, seed=1, splits=60)
    by_row = drift.split_threshold(rows, [str(i) for i in range(400)], 150, distance, seed=1, splits=60)
    assert by_user is not None
    assert by_row is not None
    assert by_user > 1.5 * by_row
    assert drift.split_threshold(rows[:30], ["a", "b", "c"] * 10, 10, distance, seed=1) is None


def test_fisher_agrees_with_scipy() -> None:
    for k1, n1, k0, n0 in ((5, 50, 1, 60), (0, 10, 3, 12), (10, 10, 0, 10)):
        wanted = stats.fisher_exact([[k1, n1 - k1], [k0, n0 - k0]], "greater").pvalue
        assert drift.fisher_greater(k1, n1, k0, n0) == pytest.approx(wanted)


def topics(rng: np.random.Generator, centres: np.ndarray, n: int) -> np.ndarray:
    return centres[rng.integers(len(centres), size=n)] + 0.05 * rng.normal(size=(n, centres.shape[1]))


def test_new_topics_are_novel_rows_and_known_ones_are_not() -> None:
    rng = np.random.default_rng(6)
    centres = rng.normal(size=(9, 32))
    reference = topics(rng, centres[:8], 600)
    mixed = np.concatenate([topics(rng, centres[:8], 285), topics(rng, centres[8:], 15)])
    found, none = drift.novel_share(reference, mixed, seed=1), drift.novel_share(reference, topics(rng, centres[:8], 300), seed=1)
    assert found is not None
    assert none is not None
    assert found.p < 0.005
    assert set(range(285, 300)) <= set(found.rows)
    assert none.p > 0.01
    assert drift.novel_share(reference[:10], mixed, seed=1) is None


def test_mmd_finds_a_moved_mix_and_repeats_with_its_seed() -> None:
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(6, 16))
    reference = topics(rng, centres, 800)
    moved = np.concatenate([topics(rng, centres, 400), topics(rng, centres[:1], 400)])
    changed, same = drift.mmd(reference, moved, seed=1), drift.mmd(reference, topics(rng, centres, 800), seed=1)
    assert changed is not None
    assert same is not None
    assert changed[1] < 0.01
    assert same[1] > 0.01
    assert drift.mmd(reference, moved, seed=1) == changed
    assert drift.mmd(reference[:1], moved, seed=1) is None


def test_mmd_alarms_at_its_level_when_nothing_changed() -> None:
    rng = np.random.default_rng(8)
    found = 0
    for seed in range(60):
        result = drift.mmd(rng.normal(size=(150, 4)), rng.normal(size=(150, 4)), seed=seed, frequencies=32, permutations=100)
        assert result is not None
        found += result[1] <= 0.05
    assert found <= 9
