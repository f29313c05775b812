from __future__ import annotations

from tunekeeper.monitoring.baseline import ensure_baseline, live_version
from tunekeeper.monitoring.config import Config
from tunekeeper.rollout import rollback
from tunekeeper.rollout.moves import promote
from tunekeeper.store.ledgers.baselines import find_baselines
from tunekeeper.testing.desk import FORMAT, MODEL, Desk

CONFIG = Config(baseline_requests=50)


def test_day_one_is_the_first_requests_after_the_promotion_and_is_kept_once(desk: Desk) -> None:
    since = desk.clock.utc()
    desk.traffic(49, 3600)
    assert ensure_baseline(desk.ws, MODEL, CONFIG, FORMAT) is None
    desk.traffic(21, 3600, desk.faulty({"blue": 1.0}))
    made = ensure_baseline(desk.ws, MODEL, CONFIG, FORMAT)
    assert made is not None
    assert (made.version, made.n, made.since) == ("v1.0", 50, since)
    assert made.values["edit_rate"] == 1 / 50, "the fiftieth request was edited"
    assert made.values["error_rate"] == 0
    assert "accuracy" not in made.values, "nobody reviewed: there is no number"
    assert made.features["vocabulary"]["hello"] == 50
    desk.traffic(50, 3600)
    assert ensure_baseline(desk.ws, MODEL, CONFIG, FORMAT) == made
    with desk.ws.state.read() as tx:
        assert len(find_baselines(tx, model=MODEL)) == 1


def test_each_version_has_its_own_day_one(desk: Desk) -> None:
    desk.traffic(50, 3600)
    first = ensure_baseline(desk.ws, MODEL, CONFIG, FORMAT)
    desk.slot("green", "v1.1")
    promote(desk.ws, MODEL, "green", by="test", reason="second")
    assert ensure_baseline(desk.ws, MODEL, CONFIG, FORMAT) is None
    desk.traffic(50, 3600)
    second = ensure_baseline(desk.ws, MODEL, CONFIG, FORMAT)
    assert second is not None
    assert second.version == "v1.1"
    rollback(desk.ws, MODEL, by="ana")
    assert ensure_baseline(desk.ws, MODEL, CONFIG, FORMAT) == first


def test_a_model_that_is_not_live_has_none(desk: Desk) -> None:
    assert live_version(desk.ws, MODEL) == "v1.0"
    assert live_version(desk.ws, "nobody") is None
    assert ensure_baseline(desk.ws, "nobody", CONFIG, FORMAT) is None
