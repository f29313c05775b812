"""What the worker knows and `/metrics` tells."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.evaluation import Estimate, Exam, Verdict
from tunekeeper.core.nouns.monitoring import Signal
from tunekeeper.core.nouns.training import Version
from tunekeeper.gateway.metrics import Metrics
from tunekeeper.monitoring.gauges import tell
from tunekeeper.rollout.moves import promote, rollback, set_route
from tunekeeper.store.gauges import load_gauges
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.reviews import save_review
from tunekeeper.store.ledgers.routes import load_route_table
from tunekeeper.store.ledgers.signals import save_signal
from tunekeeper.store.ledgers.versions import save_version
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
    found = told(desk)
    assert found.pop("model_rollbacks_total") == {(MODEL, "hand"): 0, (MODEL, "rollout"): 0}
    assert found == {"model_watchdog_timestamp_seconds": {(): desk.ws.clock.utc().timestamp()}}


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


def reviewed(desk: Desk, *judged: tuple[str, str]) -> None:
    """Review items drawn by chance: request, verdict."""
    with desk.ws.state.write(by="test") as tx:
        for request, verdict in judged:
            given: Any = {"state": "done", "verdict": verdict}
            save_review(tx, ReviewItem(id=f"rev_{request}", model=MODEL, request_id=request, why="sample", **given))


def test_quality_is_told_by_variant_from_reviews_and_where_there_are_none_from_scores(desk: Desk) -> None:
    desk.slot("green", "v1.1")
    set_route(desk.ws, MODEL, {"blue": 5_000, "green": 5_000}, by="ana", override="a look")
    desk.traffic(40, 600)
    asked = desk.ws.log.find(model=MODEL, bodies=False)
    for each in asked:
        desk.say(each.request_id, "score", 0.7 if each.variant == "champion" else 0.5)
    desk.spool.flush()
    assert told(desk)["model_quality_score"] == {(MODEL, "challenger"): 0.5, (MODEL, "champion"): pytest.approx(0.7)}
    mine = [each.request_id for each in asked if each.variant == "champion"][:4]
    reviewed(desk, *((id, "bad" if id == mine[0] else "good") for id in mine))
    assert told(desk)["model_quality_score"] == {(MODEL, "challenger"): 0.5, (MODEL, "champion"): 0.75}


def test_rollbacks_are_counted_by_who_decided_and_a_slot_says_its_base(desk: Desk) -> None:
    desk.slot("green", "v1.1")
    promote(desk.ws, MODEL, "green", by="test", reason="next")
    rollback(desk.ws, MODEL, by="ana", reason="too slow")
    promote(desk.ws, MODEL, "green", by="test", reason="again")
    rollback(desk.ws, MODEL, to="blue", by="rollout", reason="worse")
    base = {"major": 1, "minor": 0, "base": "qwen3-4b", "base_digest": "sha256:b"}
    with desk.ws.state.write(by="test") as tx:
        save_version(tx, Version(id=f"{MODEL}@v1.0", model=MODEL, name="v1.0", **base))  # type: ignore[arg-type]
    assert told(desk)["model_rollbacks_total"] == {(MODEL, "hand"): 1, (MODEL, "rollout"): 1}
    with desk.ws.control.read() as tx:
        table = load_route_table(tx)
    text = Metrics(desk.ws.root / "run", "w0").text(table).decode()
    assert "# TYPE model_rollbacks_total counter" in text
    assert f'model_rollbacks_total{{model_id="{MODEL}",reason="hand"}} 1' in text
    info = 'model_deployment_info{model_id="desk",version="%s",slot="%s",base="%s",adapter_hash="sha256:%s"} 1'
    assert info % ("v1.0", "blue", "qwen3-4b", "v1.0") in text
    assert info % ("v1.1", "green", "", "v1.1") in text
