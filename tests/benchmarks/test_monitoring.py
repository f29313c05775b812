"""The benchmark of monitoring: the day in the log is the day in the file, and other numbers than pandas' are no figure."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import monitoring
from benchmarks.bench import Rounds
from benchmarks.peers import ourwatch


def test_the_watch_finds_in_the_log_what_the_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(monitoring, "NEW_WORDS", ("parcelpass", "parcelpass"))
    monkeypatch.setattr(monitoring, "BASELINE", 120)
    data, day, base = monitoring.write(tmp_path, 600)
    ourwatch.main(data, monitoring.DAY + timedelta(days=1), monitoring.SEGMENT, 120)
    said = json.loads(capsys.readouterr().out)
    rows = pq.read_table(day).to_pylist()
    assert pq.read_metadata(base).num_rows == monitoring.BASELINE
    ok = [row for row in rows if row["status"] == "ok"]
    signals = said["signals"]
    assert signals["requests[]"] == len(rows) == 600
    assert signals["error_rate[]"] == pytest.approx(1 - len(ok) / 600)
    assert signals["edit_rate[]"] == pytest.approx(sum(row["edited"] for row in ok) / len(ok))
    assert signals["latency_p95[]"] == sorted(row["latency_ms"] for row in ok)[int(0.95 * len(ok))]
    assert 0 < signals["vocabulary_drift[]"] < 1
    refund = [row for row in rows if row["category"] == "refund"]
    assert signals["requests[category=refund]"] == len(refund)
    assert said["cpu"] > 0


def test_another_number_than_pandas_is_no_figure() -> None:
    monitoring.agree({"a[]": 100.0, "b[]": 0.5}, {"a[]": 100.05})
    for theirs in ({"a[]": 101.0}, {"c[]": 1.0}, {"b[]": 0.51}):
        with pytest.raises(SystemExit, match="by pandas: no figure"):
            monitoring.agree({"a[]": 100.0, "b[]": 0.5}, theirs)


def test_goals_stand_where_they_were_set_and_missing_peers_stay_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "PEERS", tmp_path)
    assert monitoring.missing() == dict.fromkeys(("pandas", "evidently"), 'make bench-peers ARGS="evidently"')
    ours = {"seconds": 50.0, "cpu": 40.0, "mb": 200.0}
    alone = {each.id: each for each in monitoring.figures(Rounds([{"ours": ours}]), promised=False)}
    both = Rounds([{"ours": ours, "pandas": {"seconds": 25.0, "cpu": 20.0, "mb": 800.0}}])
    found = {each.id: each for each in monitoring.figures(both, promised=True)}
    assert list(alone) == list(found)
    assert {each.goal for each in alone.values()} == {None}
    assert (found["watch_cpu_to_pandas"].value, found["watch_memory_to_pandas"].value) == (2.0, 0.25)
    assert found["watch_cpu_to_evidently"].as_json()["value"] == "not measured"
    assert found["watch_memory"].holds is True


def test_a_peer_that_fails_is_no_figure() -> None:
    with pytest.raises(SystemExit, match="no such day"):
        monitoring.measured("sh", "-c", "echo no such day; exit 3")
