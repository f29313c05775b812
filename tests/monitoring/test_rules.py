from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tunekeeper.core.nouns.monitoring import Signal
from tunekeeper.monitoring.config import Config, Limits
from tunekeeper.monitoring.rules import Finding, look, reason_to_retrain, rules_of

T0 = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
CONFIG = Config(min_samples=30, min_reviewed=20, limits=Limits(latency_floor_ms=0.0))
RULES = {rule.signal: rule for rule in rules_of(CONFIG, {"latency_p95": 100.0, "confidence": 0.8})}


def test_a_p95_that_nobody_notices_is_no_alarm_whatever_its_ratio() -> None:
    rules = {rule.signal: rule for rule in rules_of(Config(), {"latency_p95": 10.0})}
    assert look(rules["latency_p95"], signal("latency_p95", 249.0)).holds == "no"
    assert look(rules["latency_p95"], signal("latency_p95", 251.0)).holds == "yes"


def signal(name: str, value: float | None, n: int = 100, low: float | None = None, high: float | None = None) -> Signal:
    return Signal(id=f"desk/{name}", model="desk", name=name, since=T0, until=T0, value=value, n=n, low=low, high=high)


def finding(name: str, value: float | None, n: int = 100, **bounds: Any) -> Finding:
    return look(RULES[name], signal(name, value, n, **bounds))


@pytest.mark.parametrize(
    ("name", "value", "n", "holds"),
    [
        ("accuracy", 0.87, 20, "yes"),
        ("accuracy", 0.88, 20, "no"),
        ("accuracy", 0.10, 19, "unknown"),
        ("accuracy", None, 0, "unknown"),
        ("format", 0.92, 30, "yes"),
        ("format", 0.93, 30, "no"),
        ("edit_rate", 0.16, 30, "yes"),
        ("edit_rate", 0.15, 30, "no"),
        ("edit_rate", 0.90, 29, "unknown"),
        ("error_rate", 0.03, 30, "yes"),
        ("error_rate", 0.00, 5, "unknown"),
        ("vocabulary_drift", 0.06, 30, "yes"),
        ("input_drift", 0.11, 30, "yes"),
        ("input_drift", 0.09, 30, "no"),
        ("confidence", 0.719, 30, "yes"),
        ("confidence", 0.721, 30, "no"),
        ("confidence", 0.1, 29, "unknown"),
        ("latency_p95", 201.0, 30, "yes"),
        ("latency_p95", 200.0, 30, "no"),
    ],
)
def test_what_each_rule_says(name: str, value: float | None, n: int, holds: str) -> None:
    assert finding(name, value, n).holds == holds


def test_few_samples_are_neither_an_alarm_nor_an_all_clear_and_say_so() -> None:
    assert finding("edit_rate", 0.0, 3).reason == "edit_rate: 3 of 30 samples: not enough data"
    assert look(RULES["accuracy"], None).reason == "accuracy: 0 of 20 samples: not enough data"


def test_without_a_baseline_nothing_is_relative_to_one() -> None:
    assert [rule.id for rule in rules_of(CONFIG, {})] == ["MON-01", "MON-02", "MON-03", "RBK-13", "DRIFT-06", "DRIFT-01"]
    assert RULES["latency_p95"].limit == 200.0


def test_a_number_is_certain_when_its_interval_alone_excludes_the_line() -> None:
    assert finding("edit_rate", 0.30, low=0.2, high=0.4).certain
    assert not finding("edit_rate", 0.20, low=0.1, high=0.3).certain
    assert finding("accuracy", 0.70, low=0.6, high=0.8).certain
    assert not finding("accuracy", 0.86, low=0.8, high=0.9).certain
    assert not finding("edit_rate", 0.01, low=0.0, high=0.02).certain


def test_a_finding_says_number_count_and_line_in_the_signal_s_unit() -> None:
    assert finding("edit_rate", 0.304, 250).reason == "edit_rate is 30.4 % (n=250), line 15.0 %"
    assert finding("latency_p95", 250.4, 40).reason == "latency_p95 is 250 ms (n=40), line 200 ms"
    assert finding("input_drift", 0.25, 40).reason == "input_drift is 0.250 (n=40), line 0.100"


def reason(*findings: Finding, **streaks: int) -> str | None:
    found = reason_to_retrain(findings, streaks, CONFIG)
    return found[0] if found else None


DRIFT = (finding("vocabulary_drift", 0.5, low=0.4, high=0.6), finding("input_drift", 0.9))


@pytest.mark.parametrize(
    ("findings", "streaks", "expected"),
    [
        pytest.param(DRIFT, {"vocabulary_drift": 9, "input_drift": 9}, None, id="drift alone never retrains"),
        pytest.param((finding("error_rate", 0.5, low=0.4, high=0.6),), {"error_rate": 9}, None, id="nor do errors"),
        pytest.param(
            (finding("accuracy", 0.87, low=0.8, high=0.92),), {"accuracy": 1}, None, id="one window below the alarm line"
        ),
        pytest.param((finding("accuracy", 0.87, low=0.8, high=0.92),), {"accuracy": 2}, "RETR-01", id="two windows in a row"),
        pytest.param((finding("accuracy", 0.84, low=0.7, high=0.92),), {"accuracy": 1}, "RETR-01", id="one below the hard line"),
        pytest.param((finding("accuracy", 0.80, low=0.7, high=0.86),), {}, "RETR-01", id="the interval excludes the line"),
        pytest.param((finding("accuracy", 0.1, 5),), {"accuracy": 9}, None, id="too few reviewed"),
        pytest.param((finding("edit_rate", 0.2, low=0.1, high=0.3),), {"edit_rate": 1}, None, id="edits in one window"),
        pytest.param((finding("edit_rate", 0.2, low=0.1, high=0.3),), {"edit_rate": 2}, "RETR-06", id="edits in two"),
        pytest.param((finding("edit_rate", 0.4, low=0.3, high=0.5), *DRIFT), {}, "RETR-02", id="edits with drift"),
        pytest.param((finding("edit_rate", 0.1), finding("accuracy", 0.95)), {}, None, id="all is well"),
    ],
)
def test_what_is_a_reason_to_retrain(findings: tuple[Finding, ...], streaks: dict[str, int], expected: str | None) -> None:
    assert reason(*findings, **streaks) == expected


def test_the_reason_names_the_outcome_first_and_drift_beside_it() -> None:
    found = reason_to_retrain((finding("accuracy", 0.7, low=0.6, high=0.8), finding("edit_rate", 0.3), *DRIFT), {}, CONFIG)
    assert found is not None
    assert found[1].split("; ") == [
        "accuracy is 70.0 % (n=100), line 88.0 %",
        "edit_rate is 30.0 % (n=100), line 15.0 %",
        "vocabulary_drift is 50.0 % (n=100), line 5.0 %",
        "input_drift is 0.900 (n=100), line 0.100",
    ]
