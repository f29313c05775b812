from __future__ import annotations

import json
import random

import pytest

from tunekeeper.stats.detect import Detector


def stream(rng: random.Random, rate: float, n: int) -> list[bool]:
    return [rng.random() < rate for _ in range(n)]


def test_a_rise_of_ten_points_is_found_soon() -> None:
    rng = random.Random(2)
    delays = []
    for _ in range(20):
        found = Detector(0.1, 1000, arl=20_000).feed(stream(rng, 0.1, 1000) + stream(rng, 0.2, 2000))
        assert found is not None
        delays.append(found - 1000)
    assert 50 < sorted(delays)[10] < 350


def test_an_unchanged_stream_and_an_improving_one_stay_quiet() -> None:
    rng = random.Random(3)
    alarms = sum(
        Detector(0.1, 1000, arl=20_000).feed(stream(rng, rate, 3000)) is not None for rate in (0.1, 0.02) for _ in range(15)
    )
    assert alarms <= 4


def test_a_detector_survives_json() -> None:
    rng = random.Random(4)
    first = Detector(0.1, 500, arl=5000)
    first.feed(stream(rng, 0.1, 300))
    second = Detector.from_dict(json.loads(json.dumps(first.to_dict())))
    rest = stream(rng, 0.3, 300)
    assert first.feed(rest) == second.feed(rest)
    assert first.statistic == second.statistic
    assert first.update(False)  # an alarm stays on


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="arl"):
        Detector(0.1, 100, arl=1)
