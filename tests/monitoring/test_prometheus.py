"""The alert rules that are shipped speak of what a real /metrics page tells, and are whole."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gateway.conftest import Bench, bench
from tunekeeper.store.gauges import Family, save_gauges
from tunekeeper.store.refusedfile import refuse

__all__ = ["bench"]
TEXT = (files("tunekeeper.monitoring") / "prometheus.yml").read_text("utf-8")
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(TEXT)["groups"] for rule in group["rules"]]
SELECTOR = re.compile(r"\b(?!model_id\b)((?:model|tunekeeper)_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')
GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
CALL = re.compile(r"\b([a-z_]+)\s*\(")
KNOWN_CALLS = {"max", "sum", "avg_over_time", "increase", "rate", "histogram_quantile", "absent", "time", "by", "on", "and"}
DURATION = re.compile(r"\d+[smhd]")


def told_by(bench: Bench) -> dict[str, set[str]]:
    """Metric → its labels, of a page after traffic, errors, an overflow and what the worker tells."""
    bench.a.script.extend(["500", "overflow"])
    for _ in range(3):
        bench.chat()
    families = (
        Family("model_quality_score", "x", ("model_id", "variant"), ((("m", "champion"), 0.5),)),
        Family("model_drift_score", "x", ("model_id", "feature"), ((("m", "input"), 0.5),)),
        Family("model_watchdog_timestamp_seconds", "x", series=(((), 1.0),)),
    )
    save_gauges(bench.root, families)
    rollbacks = Family("model_rollbacks_total", "x", ("model_id", "reason"), ((("m", "hand"), 1.0),))
    save_gauges(bench.root, (rollbacks,), file="rollbacks.json")
    found: dict[str, set[str]] = {}
    for line in bench.get("/metrics").text.splitlines():
        match = re.match(r"([a-z_]+)(?:\{(.*)\})? ", line)
        if match and not line.startswith("#"):
            found.setdefault(match[1], set()).update(re.findall(r'([a-z_]+)="', match[2] or ""))
    return found


def test_every_metric_and_label_of_a_rule_stands_on_a_real_page(bench: Bench) -> None:
    page = told_by(bench)
    for rule in RULES:
        named = SELECTOR.findall(rule["expr"])
        assert named, rule["alert"]
        known = {"instance"}
        for metric, matchers in named:
            assert metric in page, f"{rule['alert']}: no page tells {metric}"
            assert set(MATCHER.findall(matchers)) <= page[metric], rule["alert"]
            known |= page[metric]
        for group in GROUPING.findall(rule["expr"]):
            assert {label.strip() for label in group.split(",")} <= known, rule["alert"]
        used = re.findall(r"\$labels\.([a-z_]+)", str(rule["annotations"]))
        assert set(used) <= known, rule["alert"]


def test_the_statuses_and_codes_that_rules_ask_for_are_real(bench: Bench) -> None:
    told_by(bench)
    text = bench.get("/metrics").text
    assert 'error="context_length_exceeded"' in text
    assert 'status="error"' in text


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_is_whole(rule: dict[str, Any], repository: Path) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert DURATION.fullmatch(rule.get("for", "1m"))
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (repository / page).read_text("utf-8"), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    expr = rule["expr"]
    assert set(CALL.findall(expr)) <= KNOWN_CALLS
    for left, right in ("()", "[]", "{}"):
        assert expr.count(left) == expr.count(right)
    assert all(DURATION.fullmatch(window) for window in re.findall(r"\[([^]]*)\]", expr))


def test_quantiles_are_taken_of_all_instances_together_and_small_samples_are_quiet() -> None:
    by_name = {rule["alert"]: rule["expr"] for rule in RULES}
    assert len(by_name) == len(RULES)
    for expr in by_name.values():
        for inner in re.findall(r"histogram_quantile\(([^)]*)\)", expr):
            assert re.match(r"[\d.]+, sum by \(le, model_id, variant", inner)
    assert "histogram_quantile(0.95" in by_name["HighInferenceLatency"]
    for name in ("ModelQualityDegraded", "HighInferenceLatency", "HighErrorRate", "ContextOverflow"):
        assert re.search(r"and on \([^)]*\)\s+sum by \([^)]*\) \(increase\(.*\) >= \d+", by_name[name]), name


def test_the_articles_three_alerts_have_the_articles_lines() -> None:
    found = {rule["alert"]: rule for rule in RULES}
    lines = {"ModelQualityDegraded": ("< 0.75", "10m", "warning"), "HighInferenceLatency": ("> 5", "5m", "critical")}
    lines["InputDriftDetected"] = ("> 0.2", "15m", "warning")
    for name, (line, lasting, severity) in lines.items():
        rule = found[name]
        assert (line in rule["expr"], rule["for"], rule["labels"]["severity"]) == (True, lasting, severity)


def test_a_refused_routing_file_moves_its_metric(bench: Bench) -> None:
    refuse(bench.root, "routing.yaml", "line 3: no such slot", datetime(2026, 1, 5, tzinfo=UTC))
    assert "tunekeeper_routing_file_refused 1" in bench.get("/metrics").text
