from __future__ import annotations

import json
import math
import random

import pytest

from tunekeeper.stats.eprocess import Paired, TwoSample, project, requests_bound, requests_needed
from tunekeeper.stats.special import kl_bernoulli


def binomial(rng: random.Random, n: int, p: float) -> int:
    return sum(rng.random() < p for _ in range(n))


def ever_shown(rng: random.Random, side: str, p0: float, p1: float, margin: float, looks: int = 40, share: float = 0.25) -> bool:
    test = TwoSample(side, margin, prior_rate=p0)  # type: ignore[arg-type]
    for _ in range(looks):
        n1 = binomial(rng, 60, share)
        n0 = 60 - n1
        test.update(n1, binomial(rng, n1, p1), n0, binomial(rng, n0, p0), share)
        if test.shown():
            return True
    return False


@pytest.mark.parametrize(("side", "p0", "p1", "margin"), [("harm", 0.05, 0.05, 0.0), ("safe", 0.05, 0.10, 0.05)])
def test_looking_forty_times_errs_no_more_often_than_alpha(side: str, p0: float, p1: float, margin: float) -> None:
    rng = random.Random(7)
    wrong = sum(ever_shown(rng, side, p0, p1, margin) for _ in range(150))
    assert wrong <= 150 * 0.05 + 3 * math.sqrt(150 * 0.05 * 0.95)


def test_real_harm_and_real_safety_are_shown() -> None:
    rng = random.Random(8)
    assert sum(ever_shown(rng, "harm", 0.05, 0.25, 0.0) for _ in range(30)) >= 29
    assert sum(ever_shown(rng, "safe", 0.05, 0.05, 0.10) for _ in range(30)) >= 27


def test_a_share_that_ramps_while_both_arms_worsen_is_no_harm() -> None:
    rng = random.Random(9)
    alarms = 0
    for _ in range(60):
        test = TwoSample("harm", prior_rate=0.02)
        for step in range(40):
            share, rate = 0.05 + 0.45 * step / 40, 0.02 + 0.04 * step / 40
            n1 = binomial(rng, 100, share)
            test.update(n1, binomial(rng, n1, rate), 100 - n1, binomial(rng, 100 - n1, rate), share)
            if test.shown():
                alarms += 1
                break
    assert alarms <= 8


@pytest.mark.parametrize("a", [0.0, 0.02, 0.1, -0.05])
@pytest.mark.parametrize("b", [1.0, 1.5])
@pytest.mark.parametrize("w", [0.05, 0.5])
def test_the_bet_is_fair_or_losing_everywhere_in_the_null(a: float, b: float, w: float) -> None:
    for p0, p1 in ((0.1, 0.12), (0.1, 0.4), (0.3, 0.2)):
        q0, q1 = project(p0, p1, w, a, b)
        assert q1 == pytest.approx(a + b * q0, abs=1e-9)
        harm = p1 > a + b * p0
        for i in range(1, 60):
            r0 = i / 60
            edge = a + b * r0
            for r1 in (edge, edge * 0.7 if harm else edge + 0.7 * (1 - edge)):
                if not 0 <= r1 <= 1:
                    continue
                new = r1 * p1 / q1 + (1 - r1) * (1 - p1) / (1 - q1)
                old = r0 * p0 / q0 + (1 - r0) * (1 - p0) / (1 - q0)
                assert w * new + (1 - w) * old <= 1 + 1e-7


def test_the_projection_is_the_nearest_point_of_the_line() -> None:
    q0, _ = project(0.1, 0.3, 0.3, 0.05, 1.0)

    def distance(x: float) -> float:
        return 0.3 * kl_bernoulli(0.3, 0.05 + x) + 0.7 * kl_bernoulli(0.1, x)

    assert all(distance(q0) <= distance(q0 + step) + 1e-12 for step in (-0.01, -0.001, 0.001, 0.01))


def test_zero_data_is_zero_evidence() -> None:
    for side in ("harm", "safe"):
        test = TwoSample(side, 0.05)  # type: ignore[arg-type]
        test.update(0, 0, 0, 0, 0.25)
        assert test.log_e == 0
        assert not test.shown()


def test_a_state_survives_json_and_goes_on_alike() -> None:
    test = TwoSample("safe", 0.05, prior_rate=0.1, carried=0.7)
    test.update(20, 1, 60, 6, 0.25)
    again = TwoSample.from_dict(json.loads(json.dumps(test.to_dict())))
    for each in (test, again):
        each.update(30, 2, 90, 9, 0.25)
    assert again.log_e == test.log_e
    pairs = Paired("harm")
    pairs.update(5, 1, 90)
    assert Paired.from_dict(json.loads(json.dumps(pairs.to_dict()))).log_e == pairs.log_e


def test_evidence_of_a_replay_is_carried_into_the_live_test() -> None:
    replay = Paired("harm")
    replay.update(6, 1, 50)
    assert TwoSample("harm", carried=replay.log_e).log_e == pytest.approx(replay.log_e)


def test_several_guardrails_share_one_error_budget() -> None:
    test = Paired("harm")
    test.update(7, 0, 10)
    assert test.log_e == pytest.approx(math.log((1.2**7 + 1.4**7 + 1.6**7 + 1.9**7) / 4))
    assert test.shown(0.05)
    assert not test.shown(0.05, tests=3)


@pytest.mark.parametrize(("side", "only_new"), [("harm", 0.05), ("safe", 0.10)])
def test_pairs_err_no_more_often_than_alpha(side: str, only_new: float) -> None:
    rng = random.Random(10)
    wrong = 0
    for _ in range(200):
        test = Paired(side, 0.05 if side == "safe" else 0.0)  # type: ignore[arg-type]
        for _ in range(300):
            draw = rng.random()
            test.update(draw < only_new, only_new <= draw < only_new + 0.05, draw >= only_new + 0.05)
            if test.shown():
                wrong += 1
                break
    assert wrong <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95)


def test_the_plan_matches_the_bounds_of_the_study() -> None:
    assert requests_bound(0.02, 0.05, 0.25) == pytest.approx(854, rel=0.01)
    assert requests_bound(0.02, 0.02, 0.25, margin=0.02) == pytest.approx(1697, rel=0.01)
    assert requests_needed("safe", 0.02, 0.02, 0.25, margin=0.02) / (0.5 * 5000) == pytest.approx(1.0, abs=0.1)
    assert requests_needed("harm", 0.02, 0.02, 0.25) == math.inf
    assert requests_needed("safe", 0.02, 0.05, 0.25, margin=0.02) == math.inf


def test_impossible_counts_and_margins_are_refused() -> None:
    with pytest.raises(ValueError, match="exceed"):
        TwoSample("harm").update(1, 2, 5, 0, 0.5)
    with pytest.raises(ValueError, match="negative"):
        Paired("harm").update(-1, 0, 0)
    for make in (lambda: TwoSample("up"), lambda: TwoSample("harm", 1.5), lambda: Paired("safe", -0.1)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="want"):
            make()
