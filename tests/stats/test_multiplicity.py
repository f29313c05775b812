from __future__ import annotations

import math

import numpy as np
from scipy import stats

from tunekeeper.stats.multiplicity import bh, e_bh


def test_bh_agrees_with_scipy() -> None:
    p = list(np.random.default_rng(1).beta(0.4, 2, 40))
    adjusted = stats.false_discovery_control(p)
    assert bh(p, 0.1) == [bool(a <= 0.1) for a in adjusted]


def test_e_bh_rejects_the_k_largest_with_enough_evidence() -> None:
    assert e_bh([math.log(v) for v in (45, 1, 25, 0.2)], 0.1) == [True, False, True, False]
    assert e_bh([math.log(v) for v in (39, 1, 19, 0.2)], 0.1) == [False] * 4


def test_no_tests_are_no_discoveries() -> None:
    assert bh([]) == e_bh([]) == []
