"""What the worker knows and `/metrics` tells."""

from __future__ import annotations

from datetime import timedelta

from tunekeeper.core.nouns.evaluation import Estimate, Exam, Verdict
from tunekeeper.core.nouns.monitoring import Signal
from tunekeeper.monitoring.gauges import tell
from tunekeeper.store.gauges import load_gauges
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.signals import save_signal
from tunekeeper.testing.desk import MODEL, Desk


def told(desk: Desk) -> dict[str, dict[tuple[str, ...], float]]:
    """Gauge → labels → number, as gateways read them."""
    tell(desk.ws, (MODEL, "other"))
    return {family.name: dict(family.series) for family in load_gauges(desk.ws.root)}


def signal(desk: Desk, name: str, value: float | None, *, hours: int = 0, segment: str = "") -> Signal:
    """A signal of a window that ended so many hours from now."""
    until = desk.ws.clock.utc() + timedelta(hours=hours)
    since = until - timedelta(hours=1)
    return Signal(
        id=f"{MODEL}/{name}/{segment}/{until.isoformat()}",
        model=MODEL,
        name=name,
        since=since,
        until=until,
        segment=segment,
        value=value,
    )


def test_before_anything_was_measured_only_the_watch_is_told(desk: Desk) -> None:
    assert told(desk) == {"model_watchdog_timestamp_seconds": {(): desk.ws.clock.utc().timestamp()}}


def test_the_newest_quality_and_drift_over_all_requests_are_told(desk: Desk) -> None:
    with desk.ws.state.write(by="test") as tx:
        for each in (
            signal(desk, "accuracy", 0.8),
            signal(desk, "accuracy", 0.9, hours=1),
            signal(desk, "accuracy", None, hours=2),
            signal(desk, "accuracy", 0.1, hours=3, segment="tier=gold"),
            signal(desk, "input_drift", 0.25),
            signal(desk, "vocabulary_drift", 0.5),
        ):
            save_signal(tx, each)
    found = told(desk)
    assert found["model_quality_score"] == {(MODEL, "all"): 0.9}
    assert found["model_drift_score"] == {(MODEL, "input"): 0.25, (MODEL, "vocabulary"): 0.5}


def test_the_newest_exam_of_each_version_and_suite_is_told(desk: Desk) -> None:
    def exam(number: int, version: str, value: float | None, state: str = "done") -> Exam:
        verdict = Verdict(outcome="pass", measured={"accuracy": Estimate(value=value, n=5), "format": Estimate(value=None)})
        return Exam(
            id=f"exam_{number}",
            model=MODEL,
            version=version,
            artifact=None,
            artifact_digest=None,
            suite="core",
            suite_digest="d",
            state=state,  # type: ignore[arg-type]
            verdict=verdict,
        )

    for each in (exam(1, "v1", 0.7), exam(2, "v1", 0.75), exam(3, "v2", 0.8), exam(4, "v2", 0.1, "running")):
        with desk.ws.state.write(by="test") as tx:
            save_exam(tx, each)
    found = told(desk)
    assert found["model_eval_score"] == {(MODEL, "v1", "core", "accuracy"): 0.75, (MODEL, "v2", "core", "accuracy"): 0.8}
    assert set(found["model_last_evaluated_timestamp_seconds"]) == {(MODEL,)}
