from __future__ import annotations

from pathlib import Path
from typing import Any

from tunekeeper.demo.journal import Journal
from tunekeeper.demo.summary import collect, one_screen

SHARE = {"value": 0.97, "low": 0.95, "high": 0.99, "n": 200}


def exam(verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "reasons": [f"it says {verdict}"], "metrics": {"accuracy": SHARE}}


def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "journal.json")
    spent = {"wall_seconds": 2.0, "cpu_seconds": 3.0}
    sent = {"sent": 10, "answered": 9, "failed": 1}
    made.close("evaluate", {"title": "Exam", "spent": spent, "candidate": exam("pass"), "compared_with": exam("fail")})
    made.close("traffic", {"title": "Week", "spent": spent, "traffic": sent, "requests": sent, "accuracy": SHARE})
    alerts = [{"rule": "MON-01", "reason": "low"}, {"rule": "MON-03[topic=bug]", "reason": "edits"}]
    made.close(
        "change", {"title": "Change", "spent": spent, "alerts": alerts, "trigger": {"reason": "RETR-01", "summary": "low"}}
    )
    return made


def test_figures_add_up_and_what_was_not_measured_is_absent(tmp_path: Path) -> None:
    figures = collect(journal(tmp_path), version="1", seed=7, tickets=14)
    assert figures["wall_seconds"] == 6.0
    assert figures["cpu_seconds"] == 9.0
    assert figures["traffic"] == {"sent": 10, "answered": 9, "failed": 1, "in_acts_cut_off": 4}
    assert figures["failed_requests"] == 1
    assert figures["accuracy"]["v1"] == SHARE
    assert figures["accuracy"]["v2"] is None
    assert figures["verdicts"]["v1"] == {"outcome": "pass", "reasons": ["it says pass"]}
    assert figures["drill"] is None


def test_the_screen_shows_every_number_and_names_what_is_missing(tmp_path: Path) -> None:
    text = "\n".join(one_screen(collect(journal(tmp_path), version="1", seed=7, tickets=14)))
    assert "97.0 % [95.0, 99.0] n=200" in text
    assert "not measured" in text
    assert "10 requests sent, 9 answered, 1 failed; 4 more in acts that were cut off" in text
    assert "alert MON-01: low" in text
    assert "and 1 alerts of single topics" in text


def test_an_empty_journal_still_makes_a_summary(tmp_path: Path) -> None:
    figures = collect(Journal(tmp_path / "none.json"), version="1", seed=7, tickets=0)
    assert figures["traffic"]["sent"] == 0
    assert any("not measured" in line for line in one_screen(figures))
