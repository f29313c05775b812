"""Prometheus text: the agreed names, sums over workers, counters that never fall."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tunekeeper.core.nouns.serving import Route, RouteTable, Share, Slot
from tunekeeper.gateway.metrics import MAX_SERIES, Metrics
from tunekeeper.store.gauges import Family, save_gauges

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+|\+Inf)')
TABLE = RouteTable(generation=7)


def record(**more: Any) -> dict[str, Any]:
    return {"model_id": "m", "variant": "champion", "status": "ok", "latency_ms": 300.0, **more}


def parsed(text: bytes) -> dict[str, float]:
    """Every sample by its name and labels; every line must be well-formed."""
    found = {}
    for line in text.decode().splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line)
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        found[f"{match[1]}{{{match[2] or ''}}}"] = float(match[3])
    return found


def test_requests_latency_tokens_and_cost_are_counted_under_the_agreed_names(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w0")
    metrics.count(record(prompt_tokens=5, completion_tokens=7, cost_usd=0.25))
    metrics.count(record(latency_ms=200_000.0, status="error"))
    got = parsed(metrics.text(TABLE))
    labels = 'model_id="m",variant="champion"'
    assert got[f'model_inference_requests_total{{{labels},status="ok"}}'] == 1
    assert got[f'model_inference_latency_seconds_bucket{{{labels},le="0.25"}}'] == 0
    assert got[f'model_inference_latency_seconds_bucket{{{labels},le="0.5"}}'] == 1
    assert got[f'model_inference_latency_seconds_bucket{{{labels},le="80"}}'] == 1
    assert got[f'model_inference_latency_seconds_bucket{{{labels},le="+Inf"}}'] == 2
    assert got[f"model_inference_latency_seconds_count{{{labels}}}"] == 2
    assert got[f"model_inference_latency_seconds_sum{{{labels}}}"] == 200.3
    assert got[f'model_tokens_total{{{labels},direction="completion"}}'] == 7
    assert got[f"model_cost_usd_total{{{labels}}}"] == 0.25
    assert got["tunekeeper_route_generation{}"] == 7


def test_how_requests_failed_and_how_soon_streams_began_are_counted_over_all_workers(tmp_path: Path) -> None:
    first, second = Metrics(tmp_path, "w0"), Metrics(tmp_path, "w1")
    for metrics in (first, second):
        metrics.count(record(status="error", error="upstream_timeout"))
        metrics.count(record(stream=True, ttft_ms=120.0))
        metrics.count(record(ttft_ms=120.0))
        metrics.save()
    got, labels = parsed(first.text(TABLE)), 'model_id="m",variant="champion"'
    assert got[f'model_inference_errors_total{{{labels},error="upstream_timeout"}}'] == 2
    assert got[f'model_time_to_first_token_seconds_bucket{{{labels},le="0.1"}}'] == 0
    assert got[f'model_time_to_first_token_seconds_bucket{{{labels},le="0.25"}}'] == 2
    assert got[f"model_time_to_first_token_seconds_count{{{labels}}}"] == 2, "a plain answer comes at once"


def test_what_only_the_worker_knows_is_told_as_well(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "run", "w0")
    save_gauges(tmp_path, (Family("model_drift_score", "How\nfar.", ("model_id", "feature"), ((('a"b', "input"), 0.25),)),))
    assert parsed(metrics.text(TABLE))['model_drift_score{model_id="a\\"b",feature="input"}'] == 0.25


def test_a_snapshot_of_another_release_is_passed_over(tmp_path: Path) -> None:
    for name, kept in (
        ("a", {"seconds": {"m\tchampion": [1.0, 2.0]}}),
        ("b", {"requests": {"m\tok": 4}}),
        ("c", {"cost": {"m": 1}}),
    ):
        (tmp_path / f"metrics-{name}.json").write_text(json.dumps(kept))
        metrics = Metrics(tmp_path, name)  # a worker that starts again under that name
        metrics.count(record(cost_usd=0.5))
        labels = 'model_id="m",variant="champion"'
        got = parsed(metrics.text(TABLE))
        assert got[f'model_inference_requests_total{{{labels},status="ok"}}'] == 1
        assert got[f"model_inference_latency_seconds_count{{{labels}}}"] == 1


def test_only_users_are_traffic(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w0")
    for purpose in ("exam", "shadow", "drill", "probe", "replay"):
        metrics.count(record(purpose=purpose))
    assert not any("requests_total" in name for name in parsed(metrics.text(TABLE)))


def test_workers_are_added_up_and_a_restart_goes_on(tmp_path: Path) -> None:
    first, second = Metrics(tmp_path, "w0"), Metrics(tmp_path, "w1")
    for metrics in (first, second, second):
        metrics.count(record())
        metrics.count_feedback("thumb")
    first.save()
    second.save()
    wanted = 'model_inference_requests_total{model_id="m",variant="champion",status="ok"}'
    assert parsed(first.text(TABLE))[wanted] == 3
    again = Metrics(tmp_path, "w1")
    again.count(record())
    assert parsed(again.text(TABLE))[wanted] == 4
    assert parsed(again.text(TABLE))['tunekeeper_feedback_total{kind="thumb"}'] == 3


def test_labels_are_escaped_and_their_number_is_bounded(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w0")
    metrics.count(record(model_id='a"b\\c\nd'))
    for number in range(MAX_SERIES + 50):
        metrics.count(record(model_id=f"m{number}"))
    got = parsed(metrics.text(TABLE))
    assert 'model_inference_requests_total{model_id="a\\"b\\\\c\\nd",variant="champion",status="ok"}' in got
    assert sum("requests_total" in name for name in got) == MAX_SERIES + 1
    assert got['model_inference_requests_total{model_id="other",variant="other",status="other"}'] == 51


def test_routes_and_slots_show_as_gauges(tmp_path: Path) -> None:
    shares = (
        Share(slot="a", variant="champion", ranges=((0, 9500),)),
        Share(slot="b", variant="challenger", ranges=((9500, 10_000),)),
    )
    table = RouteTable(
        generation=1, routes={"m": Route(model="m", shares=shares)}, slots={"a": Slot(id="a", model="m", version="v1")}
    )
    got = parsed(Metrics(tmp_path, "w0").text(table))
    assert got['model_canary_weight_ratio{model_id="m"}'] == 0.05
    assert got['model_deployment_info{model_id="m",version="v1",slot="a",base="",adapter_hash=""}'] == 1


def test_a_damaged_snapshot_counts_as_none_and_a_full_disk_is_survived(tmp_path: Path) -> None:
    (tmp_path / "metrics-w0.json").write_text("{")
    metrics = Metrics(tmp_path, "w0")
    metrics.set_plain({"shadow_sent": 2.0})
    metrics.save()
    assert parsed(metrics.text(TABLE))["tunekeeper_shadow_sent_total{}"] == 2
    gone = Metrics(tmp_path / "gone", "w1")
    gone.count(record())
    gone.save()
    assert parsed(gone.text(TABLE))
