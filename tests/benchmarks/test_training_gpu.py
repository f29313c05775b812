"""What of the GPU benchmark needs none: its shapes, its examples, its figures, and that it says so where there is no GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import training_gpu, tuning
from benchmarks.bench import Contender, Rounds
from benchmarks.tuning import Work


def test_without_a_gpu_it_says_so_in_one_line_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["training_gpu", "--results", str(tmp_path / "results")])
    assert training_gpu.main() == 0
    said = capsys.readouterr().out
    assert said == "training_gpu: not measured: this machine has no GPU that torch can use\n"
    assert not (tmp_path / "results").exists()


@pytest.mark.real
@pytest.mark.parametrize(("shape", "billions"), [("1_5b", 1.54), ("7b", 7.62)])
def test_a_shape_has_the_numbers_that_it_is_named_for(shape: str, billions: float) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(Qwen2Config(**training_gpu.SHAPES[shape]))
    assert model.num_parameters() / 1e9 == pytest.approx(billions, abs=0.01)


def test_examples_are_of_mixed_length_and_the_same_each_time(tmp_path: Path) -> None:
    found = training_gpu.examples(500, 151_936)
    lengths = sorted(len(row.ids) for row in found)
    assert found == training_gpu.examples(500, 151_936)
    assert (lengths[0], lengths[-1]) == (64, 1500)
    assert 300 <= lengths[250] <= 400
    assert all(row.learned[-1] and not row.learned[0] for row in found)
    work = training_gpu.work_of("7b", tmp_path, quick=True)
    assert (work.device, work.dtype, work.recipe["epochs"]) == ("cuda", "bfloat16", 1)
    assert len((tmp_path / "7b.jsonl").read_text().splitlines()) == 32


def test_our_better_way_stands_beside_trls_better_way() -> None:
    def sample(speed: float) -> dict[str, float]:
        return {"per_second": speed, "gpu_mb": 1000.0, "seconds": 600.0}

    sides = {"ours": sample(130), "ours_packed": sample(160), "trl": sample(100), "trl_tuned": sample(140)}
    rounds = Rounds([sides | {"trl_liger": sample(150)}])
    found = {each.id: each for each in training_gpu.figures("7b", rounds, promised=True)}
    assert (found["7b_to_trl"].value, found["7b_to_trl"].holds) == (1.3, True)
    assert found["7b_best_to_trl_tuned"].value == pytest.approx(160 / 150)
    assert (found["7b_500_examples"].value, found["7b_500_examples"].holds) == (pytest.approx(10.0), True)
    [plain] = [f for f in training_gpu.figures("7b", Rounds([sides]), promised=True) if f.id == "7b_best_to_trl_tuned"]
    assert plain.value == pytest.approx(160 / 140), "Liger could not be had"
    without = {each.id: each for each in training_gpu.figures("1_5b", Rounds([]), promised=True)}
    assert {each.value for each in without.values()} == {None}
    assert "7b_500_examples" not in without


def test_a_shape_that_the_gpu_does_not_hold_is_not_measured_and_the_other_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    def side(work: Work, name: str, seed: int) -> Contender:
        def run() -> dict[str, float]:
            if work.name == "7b" or name == "trl_liger":
                raise SystemExit("tuning ended with 1: OutOfMemoryError")
            return {"per_second": 100.0 + seed, "per_cpu": 1.0, "gpu_mb": 1.0, "seconds": 1.0}

        return run

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a small one")
    monkeypatch.setattr(tuning, "_side", side)
    monkeypatch.setattr(training_gpu, "missing", dict)
    monkeypatch.setattr(sys, "argv", ["training_gpu", "--quick", "--results", str(tmp_path)])
    assert training_gpu.main() == 0
    assert "7b, ours: not measured: tuning ended with 1: OutOfMemoryError" in capsys.readouterr().out
    told = json.loads((tmp_path / "training_gpu.json").read_text())
    values = {each["id"]: each["value"] for each in told["figures"]}
    assert (values["1_5b_tokens_per_s"], values["7b_tokens_per_s"]) == (100.0, "not measured")
    assert (values["1_5b_best_to_trl_tuned"], values["7b_500_examples"]) == (1.0, "not measured")
    failed = [f"7b, {name}" for name in training_gpu.SIDES]
    assert list(told["missing"]) == ["1_5b, trl_liger", *failed]
