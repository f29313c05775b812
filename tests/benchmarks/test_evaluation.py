"""The benchmark of evaluation: a real exam over HTTP, a comparison that must say what others say, and the table of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import evaluation
from benchmarks.bench import Rounds
from benchmarks.peers import examining
from tunekeeper.stats.intervals import wilson

BOTH = {"inspect-ai": "x", "statsmodels": "x"}


def test_an_exam_over_the_model_server_is_measured_with_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "missing", lambda: BOTH)
    rounds = evaluation.examining(tmp_path, 60, 1)
    assert list(rounds.samples[0]) == ["ours"]
    assert rounds.samples[0]["ours"]["rate"] > 0
    assert rounds.samples[0]["ours"]["cpu_ms"] > 0.1


def test_the_comparison_is_of_the_same_exams_each_time_and_disagreement_is_no_figure(tmp_path: Path) -> None:
    path = evaluation.write_results(tmp_path / "results.json", 600)
    assert path.read_bytes() == evaluation.write_results(tmp_path / "again.json", 600).read_bytes()
    found = examining.compare(path, 3)
    assert found["ms"] > 0
    low, high = found["difference"]
    assert -1 < low < high < 1
    assert len(found["slices"]) == evaluation.CATEGORIES
    same = {"p": found["p"] + 1e-9, "slices": {name: list(both) for name, both in found["slices"].items()}}
    evaluation.agree(found, same)
    for other in ({**same, "p": found["p"] + 0.01}, {**same, "slices": {**same["slices"], "k1": list(wilson(1, 50))}}):
        with pytest.raises(SystemExit, match="different things: no figure"):
            evaluation.agree(found, other)


def test_peers_that_are_not_there_say_how_to_get_them_and_stay_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "PEERS", tmp_path)
    wanted = {"inspect-ai": 'make bench-peers ARGS="inspect"', "statsmodels": 'make bench-peers ARGS="evidently"'}
    assert evaluation.missing() == wanted
    ours = {"rate": 300.0, "cpu_ms": 2.0, "ms": 50.0}
    alone = Rounds([{"ours": ours}])
    beside = Rounds([{"ours": ours, "inspect": {"rate": 30.0, "cpu_ms": 8.0}, "statsmodels": {"ms": 25.0}}])
    without = {each.id: each for each in evaluation.figures(alone, alone, promised=False)}
    found = {each.id: each for each in evaluation.figures(beside, beside, promised=True)}
    assert list(without) == list(found)
    assert without["exam_cpu_to_inspect"].as_json()["value"] == "not measured"
    assert {each.goal for each in without.values()} == {None}
    assert (found["exam_rate_to_inspect"].value, found["exam_cpu_to_inspect"].holds) == (10.0, True)
    assert found["compare_to_statsmodels"].value == 2.0


def test_a_command_that_fails_is_no_figure() -> None:
    with pytest.raises(SystemExit, match="no such exam"):
        evaluation.asked("sh", "-c", "echo no such exam >&2; exit 3")
