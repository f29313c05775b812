from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.rollout.checklist import Facts, judge, review

FINE = Facts(
    first=False,
    gate="pass",
    override=None,
    regression=(4, 4),
    latency_ratio=1.1,
    latency_ms=400.0,
    latency_floor_ms=250.0,
    latency_limit=1.5,
    parity="pass",
    slot_ready=True,
    digest_matches=True,
    previous_ready=True,
    drilled_days=3.0,
    drill_limit=31.0,
    watched=True,
    phases=2,
    strategy="canary",
    on_call="",
    announced=True,
)


def broken(**changes: Any) -> tuple[str, ...]:
    """The lines that stop a deployment when the facts change so."""
    return judge(review(replace(FINE, **changes))).rules


def test_all_is_well() -> None:
    items = review(FINE)
    assert [item.id for item in items] == [f"PRE-{n:02}" for n in range(1, 11)]
    verdict = judge(items, Rollout(id="r", model="desk", version="desk@v1", slot="green"))
    assert (verdict.outcome, verdict.reasons, verdict.subject) == ("pass", (), "desk@v1")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"gate": "fail"}, "PRE-01"),
        ({"gate": "inconclusive"}, "PRE-01"),
        ({"gate": None}, "PRE-01"),
        ({"regression": (3, 4)}, "PRE-02"),
        ({"latency_ratio": 1.6}, "PRE-03"),
        ({"latency_ratio": 1.6, "latency_pace": 1.05}, "PRE-03"),
        ({"latency_ratio": 1.6, "latency_pace": 0.3}, "PRE-03"),
        ({"latency_ratio": 5.0, "latency_pace": 2.0}, "PRE-03"),
        ({"parity": "inconclusive"}, "PRE-04"),
        ({"parity": None}, "PRE-04"),
        ({"live_due": True}, "PRE-04"),
        ({"live_due": True, "live": "inconclusive"}, "PRE-04"),
        ({"live_due": True, "live": "block"}, "PRE-04"),
        ({"slot_ready": False}, "PRE-04"),
        ({"digest_matches": False}, "PRE-04"),
        ({"previous_ready": False}, "PRE-05"),
        ({"drilled_days": 32.0}, "PRE-06"),
        ({"watched": False}, "PRE-07"),
        ({"phases": 0}, "PRE-08"),
        ({"announced": False}, "PRE-10"),
    ],
)
def test_each_line_alone_stops_a_deployment(changes: dict[str, Any], rule: str) -> None:
    assert broken(**changes) == (rule,)


@pytest.mark.parametrize(
    "changes",
    [
        {"regression": (0, 0)},
        {"latency_ratio": None},
        {"latency_ratio": 1.5},
        {"latency_ratio": 9.0, "latency_ms": 250.0},
        {"latency_ratio": 2.9, "latency_pace": 2.0},
        {"drilled_days": None},
        {"drilled_days": 31.0},
        {"phases": 0, "strategy": "blue-green"},
        {"on_call": "Ana"},
        {"parity": None, "hosted": True},
    ],
)
def test_what_does_not_stop_it(changes: dict[str, Any]) -> None:
    assert broken(**changes) == ()


def test_a_first_version_has_nothing_to_go_back_to_and_needs_no_drill() -> None:
    items = {
        item.id: item for item in review(replace(FINE, first=True, previous_ready=False, drilled_days=99.0, latency_ratio=None))
    }
    assert [items[id].ok for id in ("PRE-05", "PRE-06")] == [None, None]
    assert judge(tuple(items.values())).outcome == "pass"


def test_an_override_waives_gate_and_regression_by_name_and_nothing_else() -> None:
    bad = replace(FINE, gate="fail", regression=(1, 4), override="Ana: to show the canary")
    verdict = judge(review(bad))
    assert verdict.outcome == "pass"
    assert verdict.reasons == ("PRE-01 waived by Ana: to show the canary", "PRE-02 waived by Ana: to show the canary")
    assert judge(review(replace(bad, parity="block"))).rules == ("PRE-04",)


def test_an_override_without_a_failure_waives_nothing() -> None:
    assert [item.waived for item in review(replace(FINE, override="Ana: just in case"))] == [None] * 10


def test_a_latency_that_a_busier_machine_explains_is_inconclusive_and_says_so() -> None:
    item = {item.id: item for item in review(replace(FINE, latency_ratio=2.9, latency_pace=2.0))}["PRE-03"]
    assert item.ok is None
    assert "inconclusive: the machine itself was 2.00 x as slow as during the champion's exam" in item.detail


def test_every_line_says_why_with_its_number() -> None:
    said = {item.id: item.detail for item in review(replace(FINE, latency_ratio=1.634, regression=(3, 4), drilled_days=40.0))}
    assert said["PRE-02"] == "3 of 4 regression cases pass"
    assert said["PRE-03"] == "p95 1.63 x the champion's, 400 ms"
    assert said["PRE-06"] == "drilled 40.0 days ago"
