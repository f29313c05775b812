from __future__ import annotations

import pytest

from tests.monitoring.conftest import desk, new_desk
from tunekeeper.monitoring.config import Config
from tunekeeper.monitoring.watch import watch
from tunekeeper.testing.desk import FORMAT, MODEL

__all__ = ["desk", "new_desk"]
DAY = 86_400.0
CONFIG = Config(every_hours=24, window_hours=24, min_samples=20, baseline_requests=60)


@pytest.fixture
def watched(desk):
    """A good day and a bad one, both measured."""
    for wrong in (0.0, 0.7):
        desk.traffic(80, DAY, desk.faulty({"blue": wrong}))
        watch(desk.ws, MODEL, CONFIG, FORMAT)
    return desk


def test_windows_carry_interval_and_count(tell, watched):
    asked = ("monitor", "windows", "--model", MODEL, "--dir", watched.folder)
    rows = [row for row in tell(*asked, "--json").json if row["name"] == "edit_rate"]
    assert [row["until"][:10] for row in rows] == ["2026-01-06", "2026-01-07"]
    assert rows[1]["low"] < rows[1]["value"] < rows[1]["high"]
    lines = tell(*asked).out.splitlines()
    assert lines[0].split() == ["until", "signal", "segment", "value", "low", "high", "n"]
    later = tell(*asked, "--since", "2026-01-06T12:00", "--json").json
    assert {row["until"][:10] for row in later} == {"2026-01-07"}
    assert tell(*asked, "--since", "lately").code == 2


def test_alerts_say_what_fires_since_when_with_the_number(tell, watched):
    asked = ("monitor", "alerts", "--model", MODEL, "--dir", watched.folder)
    [line] = [line for line in tell(*asked).out.splitlines() if "MON-03" in line]
    assert line.startswith("FIRING MON-03 since 2026-01-07")
    assert "edit_rate is" in line
    assert f"FIRING {MODEL} MON-03 since 2026-01-07" in tell("monitor", "alerts", "--dir", watched.folder).out
    for _ in range(2):
        watched.traffic(80, DAY)
        watch(watched.ws, MODEL, CONFIG, FORMAT)
    assert "MON-03" not in tell(*asked).out
    assert "RESOLVED MON-03" in tell(*asked, "--all").out
    quiet = tell("monitor", "alerts", "--model", "other", "--data", watched.ws.root)
    assert quiet.out == "nothing fires\n"


def test_the_baseline_is_shown_or_said_to_be_missing(tell, watched):
    told = tell("monitor", "baseline", "--model", MODEL, "--dir", watched.folder)
    assert told.out.startswith("v1.0: day one of 60 requests from 2026-01-05")
    assert "error_rate" in told.out
    (watched.folder / "models").mkdir(exist_ok=True)
    (watched.folder / "models" / "other.yaml").write_text("model: other\n")
    missing = tell("monitor", "baseline", "--model", "other", "--dir", watched.folder)
    assert (missing.code, "has no baseline yet" in missing.err) == (2, True)


def test_alert_rules_for_prometheus_are_printed_or_written_once(tell, tmp_path):
    told = tell("monitor", "prometheus")
    assert (told.code, "- alert: HighInferenceLatency" in told.out) == (0, True)
    out = tmp_path / "alerts.yml"
    assert tell("monitor", "prometheus", "--out", out, "--dry-run").out == f"would write 10 alerts to {out}\n"
    assert not out.exists()
    written = tell("monitor", "prometheus", "--out", out, "--json").json
    assert out.read_text() == written["rules"] == told.out
    assert "ModelQualityDegraded" in written["alerts"]
    again = tell("monitor", "prometheus", "--out", out)
    assert (again.code, "exists already" in again.err) == (2, True)
