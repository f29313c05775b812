"""The page is true to demo.json, whole, safe and alone in the world."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.demo.report import Lines, estimate, number, promises, render, share, write_report

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "support_desk"
START = datetime(2026, 1, 6, tzinfo=UTC)
LINES = Lines(limits={"edit_rate": (0.15, "above"), "accuracy": (0.88, "below")}, alpha=0.05)


class Page(HTMLParser):
    """Tags, what they refer to, and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.refers: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "line", "rect", "path", "polyline", "polygon", "br"):
            self.open.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("href", "src", "action", "srcset", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += f" {data}"


def at(days: float) -> str:
    return (START + timedelta(days=days)).isoformat()


def share_of(value: float, n: int) -> dict[str, Any]:
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.002) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def exam(version: str, accuracy: float, verdict: str | None = "pass", **more: Any) -> dict[str, Any]:
    metrics = {"accuracy": share_of(accuracy, 200), "format": share_of(min(1.0, accuracy + 0.08), 200), **more}
    reasons = [
        f"accuracy {accuracy:.1%} of 200 (one-sided 95% bounds), asked at least 90.0%",
        "no regression cases yet (not blocking)",
    ]
    return {
        "exam": "exam_1", "version": version, "suite": "core", "suite_digest": "sha256:aa", "cases": 200, "verdict": verdict,
        "reasons": reasons if verdict else [], "rules": ["EVAL-07"], "metrics": metrics, "seconds": 9.1,
    }  # fmt: skip


def signals(until: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for day in range(1, until + 1):
        late = max(0, day - 7)
        rows.append({"name": "edit_rate", "until": at(day), **share_of(0.06 + 0.05 * late, 114), "detail": {}})
        rows.append({"name": "accuracy", "until": at(day), **share_of(0.95 - 0.05 * late, 24), "detail": {}})
        drift = {"value": 0.004 + 0.01 * late, "low": None, "high": None, "n": 2100, "detail": {"new_words": ["lumen", "post"]}}
        rows.append({"name": "vocabulary_drift", "until": at(day), **drift})
        if day > 2:  # the first windows have no baseline yet
            rows.append({"name": "input_drift", "until": at(day), **drift, "value": 0.05 + 0.03 * late, "n": 114, "detail": {}})
    rows.append({"name": "accuracy", "until": at(until + 1), "value": None, "low": None, "high": None, "n": 0, "detail": {}})
    return rows


def rollout(version: str, state: str, harm: float, safe: float, looks: int) -> dict[str, Any]:
    def metric(i: int, rate: float) -> dict[str, float]:
        n1, n0 = i * (4 if i < 9 else 22), i * 70
        return {
            "candidate": n1, "candidate_failed": round(rate * n1), "champion": n0, "champion_failed": round(0.05 * n0),
            "margin": 0.05, "log_e_harm": harm * i, "log_e_safe": safe * i,
        }  # fmt: skip

    checks = [
        {"at": at(20 + i / 96), "phase": int(i >= 9), "action": "hold", "reason": "at 5 %",
         "metrics": {"errors": metric(i, 0.01), "corrections": metric(i, 0.05 + 0.1 * (harm > 0))}}
        for i in range(1, looks + 1)
    ]  # fmt: skip
    return {
        "id": "rol_1", "version": version, "strategy": "canary", "state": state, "phases": [{"percent": 5.0, "hours": 2.0},
        {"percent": 25.0, "hours": 4.0}], "margins": {"errors": 0.05, "corrections": 0.05}, "checks": checks,
        "verdict": {"outcome": "pass" if state == "promoted" else "fail", "reasons": ["every margin is excluded"]},
        "steps": ["advance: no harm shown at 5 %; going on to 25 %", "promote: every margin is excluded after 520 requests"],
    }  # fmt: skip


def crowd(sent: int) -> dict[str, Any]:
    return {
        "sent": sent,
        "answered": sent,
        "failed": 0,
        "edits": sent // 12,
        "latency_ms": {"p50": 38.2, "p95": 61.0, "p99": 84.9},
    }


def trained(version: str, start: float, end: float) -> dict[str, Any]:
    loss = [end + (start - end) * math.exp(-i / 7) for i in range(38)]
    return {
        "version": version,
        "run": "run_1",
        "loss": loss,
        "seconds": 31.2,
        "cpu_seconds": 58.0,
        "tokens_per_second": 6210.0,
        "cost_usd": None,
    }


def exported() -> dict[str, Any]:
    layers = ("template", "stop", "tokenizer", "merge", "quantization", "sampling")
    checks = [{"layer": each, "ok": True, "detail": "40 of 40 equal", "value": 0.0, "limit": 0.0, "n": 40} for each in layers]
    return {"artifact": "art_1", "digest": "sha256:0123456789abcdef", "bytes": 2_310_000, "quantization": "Q4_K_M",
            "parity": {"verdict": "pass", "layer": None, "checks": checks}}  # fmt: skip


def made_up() -> dict[str, Any]:
    """A demo that never was: every act, in the shape of demo.json."""
    base, v1, v2, bad = exam("base", 0.31, None), exam("v1", 0.955), exam("v2", 0.962), exam("v3", 0.22, "fail")
    first = {"candidate": v1, "compared_with": base}
    versus = {
        "accuracy_vs_champion": {"value": 0.21, "low": 0.15, "high": 0.27, "n": 200},
        "latency_ratio": {"value": 1.03, "low": None, "high": None, "n": 200},
    }
    second = {"candidate": {**v2, "metrics": v2["metrics"] | versus}, "compared_with": exam("v1", 0.75, None)}
    incident = {
        "id": "inc_1",
        "reason": "corrections are shown to be higher",
        "what_failed": "refund: 9, billing: 3",
        "cases": 12,
    }
    drill = {"model": "support-desk", "back_ms": 4.21, "forth_ms": 3.9, "acknowledged_by": ["gateway-1"], "pending": []}
    alerts = [{"rule": "MON-03", "state": "firing", "severity": "warning", "reason": "edit_rate is 21.0 % (n=114), line 15.0 %",
               "since": at(10), "samples": ["inf_1", "inf_2"]}]  # fmt: skip
    trigger = {"id": "trg_1", "reason": "RETR-01", "summary": "accuracy is 81.0 % (n=24), line 88.0 %", "evidence": ["alr_1"]}
    acts: dict[str, Any] = {
        "data": {"rows": 1056, "dropped": {"duplicate": 41, "contradiction": 22}, "redacted": {"email": 63}, "flagged": {},
                 "version": "support-desk/d1", "digest": "sha256:fedcba98", "train": 846, "eval": 94, "created": at(0)},
        "train": trained("v1", 2.9, 0.04), "export": exported(), "evaluate": first, "deploy": {"state": "promoted"},
        "traffic": {"traffic": crowd(260), "accuracy": share_of(0.95, 260), "signals": signals(7)},
        "change": {"traffic": crowd(412), "accuracy": share_of(0.76, 412), "signals": signals(11), "alerts": alerts,
                   "trigger": trigger},
        "cycle": {"dataset": "support-desk/d2", "diff": {"added": 96, "removed": 0, "edited": 31, "moved": 0, "unchanged": 815},
                  "train": trained("v2", 0.9, 0.05), "export": exported(), "exam": second},
        "canary": {"state": "promoted", "traffic": crowd(2301), "rollout": rollout("v2", "promoted", -0.05, 0.19, 26)},
        "bad": {"state": "blocked", "traffic": crowd(300), "train": trained("v3", 2.9, 1.3),
                "exam": {"candidate": bad, "compared_with": v2}},
        "override": {"state": "rolled_back", "traffic": crowd(700), "incident": incident,
                     "rollout": rollout("v3", "rolled_back", 1.1, -0.4, 5)},
        "regression": {"state": "blocked", "exam": {"candidate": exam("v3", 0.22, "fail"), "compared_with": v2}},
        "drill": {"drill": drill, "traffic": crowd(121)},
    }  # fmt: skip
    spent = (8, 41, 12, 30, 9, 15, 26, 71, 34, 40, 22, 12, 5)
    stages = [
        {"name": n, "title": f"Act {n}", "wall_seconds": float(s), "cpu_seconds": 1.7 * s}
        for n, s in zip(acts, spent, strict=True)
    ]
    return {
        "tunekeeper": "0.1.0", "seed": 7, "stages": stages, "wall_seconds": 325.0, "cpu_seconds": 552.5,
        "accuracy": {"base": share_of(0.31, 200), "v1": share_of(0.955, 200), "v1 live before the change": share_of(0.95, 260),
                     "v1 live after the change": share_of(0.76, 412), "v1 on the new suite": share_of(0.75, 200), "v2": None},
        "alerts": alerts, "trigger": trigger, "traffic": {"sent": 4096, "answered": 4096, "failed": 0}, "drill": drill,
        "acts": acts,
    }  # fmt: skip


@pytest.fixture
def figures() -> dict[str, Any]:
    return made_up()


def test_the_page_closes_every_tag_and_refers_to_nothing_outside_itself(figures: dict[str, Any]) -> None:
    text = render(figures, LINES)
    page = Page(text)
    assert page.open == []
    assert page.refers == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text


def test_a_whole_run_says_so_and_shows_its_numbers(figures: dict[str, Any]) -> None:
    words = Page(render(figures, LINES)).words
    for wanted in (
        "The loop closed",
        "95.5 % [",
        "n = 200",
        "MON-03",
        "4.2",
        "alarm above 15 %",
        "the world changes",
        "candidate",
    ):
        assert wanted in words
    assert words.count("✗ blocked") == 1
    assert "harm is shown" in words


def test_what_was_not_measured_is_called_that(figures: dict[str, Any]) -> None:
    words = " ".join(Page(render(figures, LINES)).words.split())
    assert "v2 not measured" in words
    assert "cost not measured" in words
    assert "nan" not in words.lower().split()
    assert "None" not in words


def test_no_figures_at_all_still_make_a_page() -> None:
    words = Page(render({}, Lines())).words
    assert "This run has not ended: 0 of 8 promises" in words
    assert words.count("not played yet") == 8


@pytest.mark.parametrize("missing", list(made_up()["acts"]))
def test_any_act_may_be_missing(figures: dict[str, Any], missing: str) -> None:
    figures["acts"][missing] = {}
    assert Page(render(figures, LINES)).open == []
    figures["acts"] = {name: act for name, act in made_up()["acts"].items() if list(figures["acts"]).index(name) <= 3}
    assert "has not ended" in render(figures, LINES)


def test_a_promise_that_broke_is_the_headline(figures: dict[str, Any]) -> None:
    figures["traffic"]["failed"] = 3
    figures["acts"]["override"]["state"] = "promoted"
    broken = [each["name"] for each in promises(figures) if each["kept"] is False]
    assert broken == ["Let through, it went back alone", "No request was lost"]
    assert "2 of 8 promises did not hold" in Page(render(figures, LINES)).words


def test_what_users_wrote_cannot_become_markup(figures: dict[str, Any]) -> None:
    evil = '<script>alert(1)</script>"><svg onload=x>'
    figures["acts"]["change"]["alerts"][0]["reason"] = evil
    figures["acts"]["cycle"]["diff"] = {evil: 3}
    figures["acts"]["cycle"]["exam"]["candidate"]["metrics"] = {evil: share_of(0.5, 10)}
    figures["accuracy"] = {evil: share_of(0.5, 10)}
    figures["acts"]["override"]["rollout"]["phases"][0]["percent"] = 5
    figures["acts"]["canary"]["rollout"]["checks"][-1]["metrics"] = {evil: {"candidate": 3, "log_e_harm": 0.1}}
    page = Page(render(figures, LINES))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.words


def test_the_report_is_written_whole_and_again(tmp_path: Path, figures: dict[str, Any]) -> None:
    first = write_report(tmp_path, figures)
    assert first == tmp_path / "report.html"
    assert write_report(tmp_path, {}).read_text(encoding="utf-8") != render(figures, Lines())
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_alarm_lines_come_from_the_projects_own_files(figures: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in ("tunekeeper.yaml", "models/support-desk.yaml"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    model = tmp_path / "models" / "support-desk.yaml"
    model.write_text(model.read_text().replace("monitoring:\n", "monitoring:\n  limits: {edit_rate: 0.11}\n"))
    text = write_report(tmp_path, figures).read_text(encoding="utf-8")
    assert "alarm above 11 %" in text
    assert "error of each test 5.0 %" in text


def test_the_moment_of_change_is_the_noted_one_else_the_end_of_the_quiet_week(figures: dict[str, Any]) -> None:
    figures["acts"]["change"]["changed_at"] = at(9.5)
    assert "the world changes" in render(figures, LINES)
    del figures["acts"]["change"]["changed_at"]
    figures["acts"]["traffic"]["signals"] = [{**each, "n": 0} for each in signals(7)]
    assert "the world changes" not in render(figures, LINES)


def test_numbers_read_the_same_everywhere() -> None:
    assert share(0.9349) == "93.5 %"
    assert share({"value": None}) == share(math.nan) == number(None) == estimate({}) == "not measured"
    assert number(1234.5, 1, "s") == "1\u202f234.5\u00a0s"
    assert estimate({"value": 1.5, "low": None, "high": None, "n": 4}, "×") == "1.50 ×, n = 4"
