from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.monitoring import Alert, Signal
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.rollout import Phase, Rollout
from tunekeeper.core.nouns.serving import FallbackEntry, Slot
from tunekeeper.deployment.slots import declare_slots, observe_slot
from tunekeeper.overview import ModelStatus, overview
from tunekeeper.rollout.moves import seed_routes, set_route
from tunekeeper.rollout.routes import RouteSeed
from tunekeeper.store.ledgers.alerts import save_alert
from tunekeeper.store.ledgers.cycles import save_cycle
from tunekeeper.store.ledgers.rollouts import save_rollout
from tunekeeper.store.ledgers.signals import save_signal
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A workspace where `desk` is answered by slot a."""
    workspace = create_workspace(tmp_path / "data", clock=ManualClock())
    declare_slots(
        workspace, [Slot(id=name, model="desk", version=f"v-{name}", endpoint="http://127.0.0.1:9/v1") for name in "ab"]
    )
    seed_routes(workspace, [RouteSeed(model="desk", weights={"a": 10_000}, block="1")], by="test")
    return workspace


def status(ws: Workspace, models: tuple[str, ...] = ("desk",)) -> ModelStatus:
    return overview(ws, list(models))[0]


def measure(ws: Workspace, requests: int) -> None:
    """A day goes by, and its window is measured, as a whole and in a segment."""
    since = ws.clock.utc()
    ws.clock.advance(86_400)
    with ws.state.write(by="monitoring") as tx:
        for segment, n in (("", requests), ("lang=de", 1)):
            until = ws.clock.utc()
            id = f"desk/requests/{segment}/{until.isoformat()}"
            save_signal(tx, Signal(id=id, model="desk", name="requests", since=since, until=until, segment=segment, n=n))


def test_silence_is_no_evidence_that_all_is_well(ws):
    found = status(ws)
    assert (found.state, found.live) == ("not enough evidence", "v-a")
    assert found.verdict == "NOT ENOUGH EVIDENCE: desk, live v-a, no window of it was measured yet"
    assert (found.shares[0].weight, found.requests) == (10_000, 0)
    measure(ws, 29)
    assert status(ws).verdict == "NOT ENOUGH EVIDENCE: desk, live v-a, 29 of 30 requests in the newest window"
    assert overview(ws, ["desk"], {"desk": 29})[0].state == "ok"
    measure(ws, 30)
    assert (status(ws).state, status(ws).verdict) == ("ok", "OK: desk, live v-a")


def test_a_model_whose_every_server_is_away_is_not_served_whatever_was_measured(ws):
    measure(ws, 500)
    observe_slot(ws, "a", "failed", reason="the file a.gguf is damaged")
    assert (status(ws).state, status(ws).verdict) == (
        "not serving",
        "NOT SERVING: desk, live v-a, its server failed: the file a.gguf is damaged",
    )
    observe_slot(ws, "a", "starting")
    with ws.state.write(by="test") as tx:
        save_alert(tx, Alert(id="alr_1", model="desk", rule="MON-02", reason="errors 40 %"))
    assert status(ws).verdict == "NOT SERVING: desk, live v-a, its server is starting, alert: errors 40 %"
    set_route(ws, "desk", {"a": 9_000, "b": 1_000}, by="ann", override="half of it is away")
    assert status(ws).state == "alert"
    observe_slot(ws, "b", "stopped")
    observe_slot(ws, "a", "stopped")
    assert status(ws).verdict.startswith("NOT SERVING: desk, live v-a, no server of it runs")


def test_a_model_that_a_fallback_answers_for_is_served(ws):
    seed = RouteSeed(model="desk", weights={"a": 10_000}, block="2", fallback=(FallbackEntry(slot="b"),))
    seed_routes(ws, [seed], by="test")
    observe_slot(ws, "a", "failed")
    assert status(ws).state == "not enough evidence"
    observe_slot(ws, "b", "failed")
    assert status(ws).verdict == "NOT SERVING: desk, live v-a, its server failed"


def test_what_was_measured_of_the_version_before_says_nothing_of_the_next(ws):
    measure(ws, 500)
    ws.clock.advance(60)
    set_route(ws, "desk", {"b": 10_000}, by="ann", override="it is new")
    assert status(ws).verdict == "NOT ENOUGH EVIDENCE: desk, live v-b, no window of it was measured yet"
    ws.clock.advance(60)
    measure(ws, 500)
    assert status(ws).verdict == "OK: desk, live v-b"


def test_a_routed_model_that_no_file_names_is_shown_too(ws):
    assert [(each.model, each.state) for each in overview(ws, ["mail"])] == [
        ("mail", "not serving"),
        ("desk", "not enough evidence"),
    ]


def test_a_cycle_a_rollout_and_an_alert_are_said_in_the_order_of_their_weight(ws):
    with ws.state.write(by="test") as tx:
        save_cycle(tx, Cycle(id="cyc_1", model="desk", number=2, why="drift", stage="train", waiting="training, step 40 of 400"))
    assert status(ws).verdict == "RETRAINING: desk, live v-a, cycle 2 in train, training, step 40 of 400"
    with ws.control.write(by="test") as tx:
        phases = (Phase(weight=500, seconds=60.0),)
        saved = save_rollout(tx, Rollout(id="rol_1", model="desk", version="desk@v-b", slot="b", phases=phases, state="running"))
    assert status(ws).verdict.startswith("ROLLING OUT: desk, live v-a, desk@v-b at 5 %")
    with ws.state.write(by="test") as tx:
        save_alert(tx, Alert(id="alr_1", model="desk", rule="MON-03", reason="edits 12 % of 400, baseline 3 %"))
    found = status(ws)
    assert found.state == "alert"
    assert found.verdict.startswith("ALERT: desk, live v-a, alert: edits 12 % of 400, baseline 3 %")
    assert (found.rollout, found.cycle, found.stage) == ("rol_1", "cyc_1", "train")
    with ws.control.write(by="test") as tx:
        save_rollout(tx, replace(saved, state="promoted"))
    assert status(ws).rollout is None
