"""The figures of the training benchmark are those of its rounds, with the goals where they were set."""

from __future__ import annotations

import pytest

from benchmarks import training
from benchmarks.bench import Rounds


def sample(speed: float, loss: float) -> dict[str, float]:
    return {"per_cpu": speed, "process_cpu": 10.0, "peak_mb": 500.0, "loss": loss}


def test_a_ratio_is_taken_inside_its_round_and_a_missing_peer_is_not_measured() -> None:
    rounds = Rounds(
        [
            {"ours": sample(4000, 0.11), "trl": sample(2000, 0.10), "trl_tuned": sample(3200, 0.10)},
            {"ours": sample(3000, 0.10), "trl": sample(2000, 0.12), "trl_tuned": sample(2400, 0.10)},
            {"ours": sample(2000, 0.12), "trl": sample(1600, 0.11), "trl_tuned": sample(2000, 0.10)},
        ]
    )
    found = {each.id: each for each in training.figures(rounds, rounds, promised=True)}
    faster = found["tokens_per_cpu_s_to_trl"]
    assert (faster.value, faster.spread, faster.goal, faster.holds) == (1.5, (1.25, 2.0), 1.3, True)
    gap = found["loss_over_trl"]
    assert (gap.value, gap.holds) == (pytest.approx(0.01), True)
    alone = Rounds([{"ours": sample(4000, 0.1)}])
    left = {each.id: each for each in training.figures(alone, alone, promised=False)}
    assert left["tokens_per_cpu_s"].value == 4000
    assert {left[id].value for id in ("tokens_per_cpu_s_to_trl", "loss_trl", "peak_trl", "wide_peak_to_trl")} == {None}
    assert {each.goal for each in left.values()} == {None}


def test_the_recipe_is_the_demos() -> None:
    import yaml

    from benchmarks.tuning import BASE

    said = yaml.safe_load((BASE.parent / "models" / "support-desk.yaml").read_text())["training"]
    assert {name: said[name] for name in training.RECIPE} == training.RECIPE
