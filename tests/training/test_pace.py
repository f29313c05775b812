"""How long a run takes, beside what was estimated; one far from its usual speed is flagged, another kind is no measure."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.training.conftest import SMALL
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.store.ledgers.runs import load_run, save_run
from tunekeeper.training.pace import beside_estimate, expected, loop_seconds, measured_speed, outlier
from tunekeeper.training.recipe import resolve
from tunekeeper.training.verbs import train, wait
from tunekeeper.workspace import Workspace


def run(number: int, speed: float | None, **changes: Any) -> TrainingRun:
    values: dict[str, Any] = {
        "id": f"run_{number}",
        "model": "desk",
        "dataset": "desk/d1",
        "dataset_digest": "sha256:d",
        "recipe": resolve(SMALL).as_json(),
        "recipe_digest": "sha256:r",
        "base": "base",
        "base_digest": "sha256:b",
        "tokens_per_second": speed,
        "machine": {"device": "x86_64"},
    }
    return TrainingRun(**{**values, **changes})


def test_the_speed_is_that_of_the_same_method_or_scaled_from_the_other() -> None:
    lora, full = run(1, 300.0, recipe={}), run(2, 300.0, recipe={"method": "full"})
    assert measured_speed([lora, full], "sha256:b", "full") == full
    assert measured_speed([lora, full], "sha256:b", "lora") == lora, "what was trained before there was a choice is a LoRA"
    assert measured_speed([lora], "sha256:b", "full") == lora
    assert measured_speed([lora], "sha256:other", "lora") is None
    assert [loop_seconds(lora, 600, method) for method in ("lora", "full")] == [2.0, 3.0]
    assert [loop_seconds(full, 600, method) for method in ("lora", "full")] == [pytest.approx(4 / 3), 2.0]


def test_what_a_run_took_stands_beside_what_was_estimated() -> None:
    assert expected(run(1, 100.0), 600, [run(2, 200.0)]) == 3.0
    assert expected(run(1, 100.0), 600, [run(1, 200.0)]) is None, "a run is no measure of itself"
    assert expected(run(1, 100.0), None, [run(2, 200.0)]) is None
    assert expected(run(1, 100.0), 600, [run(2, 200.0, recipe={"backend": {"name": "trl"}})]) is None
    ended = run(1, 100.0, seconds=6.0, estimated_seconds=3.0, memory={"estimated": 10**9, "peak": 8 * 10**8})
    assert beside_estimate(ended) == (
        "took 6.0 s where 3.0 s were estimated (+100%), 800 MB of memory where the formula says 1,000 MB (-20%); "
        "the next plan of this base goes by it"
    )
    assert beside_estimate(run(1, 100.0, seconds=6.0)) is None


def test_far_slower_and_far_faster_are_said_with_numbers() -> None:
    before = [run(1, 1000.0), run(2, 900.0), run(3, 1200.0)]
    assert outlier(run(4, 400.0), before) is None
    assert outlier(run(4, 2900.0), before) is None
    slow, fast = outlier(run(4, 250.0), before), outlier(run(4, 4000.0), before)
    assert slow is not None
    assert slow.startswith("250 tokens/s, 4.0 times slower than the 3 runs alike before (1,000)")
    assert fast is not None
    assert "4.0 times faster" in fast


def test_two_runs_or_runs_of_another_kind_make_nothing_usual() -> None:
    assert outlier(run(4, 1.0), [run(1, 1000.0), run(2, 1000.0)]) is None
    assert outlier(run(4, None), [run(n, 1000.0) for n in (1, 2, 3)]) is None
    assert outlier(run(4, 1.0), [run(4, 1000.0), run(1, 1000.0), run(2, 1000.0), run(3, None)]) is None
    recipe = resolve(SMALL).as_json()
    for other in (
        {"base_digest": "sha256:other"},
        {"machine": {"device": "H100"}},
        {"recipe": recipe | {"rank": 64}},
        {"recipe": recipe | {"backend": {"name": "trl"}}},
    ):
        assert outlier(run(4, 1.0), [run(n, 1000.0, **other) for n in (1, 2, 3)]) is None
    # How long it learns changes no speed.
    assert outlier(run(4, 1.0), [run(n, 1000.0, recipe=recipe | {"epochs": 9}) for n in (1, 2, 3)]) is not None


@pytest.mark.real
def test_a_run_that_took_far_longer_than_those_before_says_so(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    begun = train(ws, task, dataclasses.replace(SMALL, epochs=1), dataset)
    import platform

    with ws.state.write(by="training") as tx:
        known = load_run(tx, begun.id)
        for number in range(3):
            earlier = run(number, 1e9, state="done", recipe=known.recipe, base_digest=known.base_digest)
            save_run(tx, dataclasses.replace(earlier, machine={"device": platform.machine()}, dataset=dataset.id))
    ended = wait(ws, begun)
    assert ended.state == "done", ended.ended
    assert [line for line in ended.warnings if "times slower than the 3 runs alike before" in line] == list(ended.warnings)[-1:]
    assert ended.estimated_seconds is not None
    assert ended.estimated_seconds < ended.seconds
    assert ended.memory["peak"] > 0
