"""The benchmark of retraining: a real cycle with all its children's CPU, a worker that opens one, and the table of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import retraining
from benchmarks.bench import Rounds
from tunekeeper.retraining.cycle import ORDER


def test_a_whole_cycle_is_measured_with_its_jobs_and_a_due_one_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "missing", lambda: {"luigi": "x"})
    cycles = retraining.cycling(tmp_path, 1)
    assert list(cycles.samples[0]) == ["ours"]
    found = cycles.samples[0]["ours"]
    assert found["cpu"] > found["longest_ms"] / 1000 > 0
    assert found["seconds"] == pytest.approx(sum(found[f"stage_{stage}"] for stage in ORDER), rel=0.5)
    monkeypatch.setattr(retraining, "SETTLE", 0.0)
    assert retraining.beginning(tmp_path / "begin")["ms"] > 0


def test_a_missing_peer_stays_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "PEERS", tmp_path)
    assert retraining.missing() == {"luigi": 'make bench-peers ARGS="luigi"'}
    ours = {"seconds": 6.0, "cpu": 4.0, "longest_ms": 700.0, **{f"stage_{stage}": 1.0 for stage in ORDER}}
    begun = Rounds([{"worker": {"ms": 300.0}}])
    alone = {each.id: each for each in retraining.figures(Rounds([{"ours": ours}]), begun)}
    both = Rounds([{"ours": ours, "luigi": {"seconds": 2.0, "cpu": 0.5}}])
    found = {each.id: each for each in retraining.figures(both, begun)}
    assert list(alone) == list(found)
    assert alone["cycle_cpu_to_luigi_empty"].as_json()["value"] == "not measured"
    assert (found["cycle_cpu_to_luigi_empty"].value, found["trigger_to_cycle"].holds) == (8.0, True)
