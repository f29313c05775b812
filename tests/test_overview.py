from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.monitoring import Alert
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.rollout import Phase, Rollout
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.overview import ModelStatus, overview
from tunekeeper.rollout.moves import seed_routes
from tunekeeper.rollout.routes import RouteSeed
from tunekeeper.store.ledgers.alerts import save_alert
from tunekeeper.store.ledgers.cycles import save_cycle
from tunekeeper.store.ledgers.rollouts import save_rollout
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


def test_a_quiet_model_is_ok_and_names_what_is_live(ws):
    found = status(ws)
    assert (found.state, found.live, found.verdict) == ("ok", "v-a", "OK: desk, live v-a")
    assert (found.shares[0].weight, found.requests) == (10_000, 0)


def test_a_routed_model_that_no_file_names_is_shown_too(ws):
    assert [(each.model, each.state) for each in overview(ws, ["mail"])] == [("mail", "not serving"), ("desk", "ok")]


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
