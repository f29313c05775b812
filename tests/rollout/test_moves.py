from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import GateFailed, NotFound, UpstreamUnavailable, UserError
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.rollout.moves import halt, promote, rollback, seed_routes, set_route, would_go_back_to
from tunekeeper.rollout.routes import RouteSeed
from tunekeeper.store.ledgers.incidents import find_incidents
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.rollouts import load_rollout, save_rollout
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import load_slot, save_slot
from tunekeeper.store.published import PublishedReader
from tunekeeper.workspace import Workspace, open_workspace

MODEL = "desk"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = open_workspace(tmp_path / "data", clock=ManualClock(), create=True)
    with made.control.write(by="test") as tx:
        for number, name in enumerate(("blue", "green", "red"), 1):
            save_slot(
                tx,
                Slot(
                    id=name, model=MODEL, version=f"v1.{number}", endpoint="http://127.0.0.1:1/v1", observed="ready", gated=True
                ),
            )
    return made


def shares(ws: Workspace) -> dict[str, int]:
    with ws.control.read() as tx:
        return {share.slot: share.weight for share in load_route(tx, MODEL).shares}


def go(ws: Workspace, *slots: str) -> None:
    for slot in slots:
        promote(ws, MODEL, slot, by="test", reason="test")


def test_a_promotion_is_published_for_the_gateway(ws: Workspace) -> None:
    move = promote(ws, MODEL, "blue", by="test", reason="first")
    table = PublishedReader(ws.root).current()
    assert table.generation == move.route_version
    assert table.routes[MODEL].champion == "blue"
    assert move.as_json()["to"] == "v1.1"


def test_rollback_goes_to_the_version_before(ws: Workspace) -> None:
    go(ws, "blue", "green")
    move = rollback(ws, MODEL, by="ana")
    assert (move.before, move.after) == ("v1.2", "v1.1")
    assert shares(ws) == {"blue": 10_000}


def test_rollback_never_bounces_back_to_what_was_gone_back_from(ws: Workspace) -> None:
    go(ws, "blue", "green", "red")
    assert rollback(ws, MODEL, by="ana").after == "v1.2"
    assert rollback(ws, MODEL, by="ana").after == "v1.1"
    with pytest.raises(UpstreamUnavailable, match="--to"):
        rollback(ws, MODEL, by="ana")
    assert shares(ws) == {"blue": 10_000}


def test_rollback_skips_a_slot_that_holds_another_version_by_now(ws: Workspace) -> None:
    go(ws, "blue", "green", "red")
    with ws.control.write(by="test") as tx:
        save_slot(tx, replace(load_slot(tx, "green"), version="v9"))
    assert rollback(ws, MODEL, by="ana").after == "v1.1"


def test_rollback_during_a_canary_goes_to_the_champion_and_ends_the_rollout(ws: Workspace) -> None:
    go(ws, "blue")
    with ws.control.write(by="test") as tx:
        save_rollout(tx, Rollout(id="rol_1", model=MODEL, version="desk@v1.2", slot="green", state="running"))
    set_route_in_canary(ws)
    assert would_go_back_to(ws, MODEL) == "blue"
    rollback(ws, MODEL, by="ana", reason="complaints")
    with ws.control.read() as tx:
        ended = load_rollout(tx, "rol_1")
        incidents = find_incidents(tx, model=MODEL)
    assert shares(ws) == {"blue": 10_000}
    assert ended.state == "rolled_back"
    assert [each.id for each in incidents] == [ended.incident]
    assert incidents[0].reason == "complaints"


def set_route_in_canary(ws: Workspace) -> None:
    from tunekeeper.rollout.routes import with_weights
    from tunekeeper.store.ledgers.routes import save_route

    with ws.control.write(by="test") as tx:
        route = load_route(tx, MODEL)
        save_route(tx, replace(with_weights(route, {"green": 500}, "blue", "green"), rollout="rol_1"))


def test_rollback_to_a_named_version(ws: Workspace) -> None:
    go(ws, "blue", "green")
    assert rollback(ws, MODEL, to="v1.3", by="ana").after == "v1.3"
    with pytest.raises(UpstreamUnavailable, match="not loaded"):
        rollback(ws, MODEL, to="v7", by="ana")


def test_rollback_is_no_way_round_the_gate(ws: Workspace) -> None:
    go(ws, "blue")
    with ws.control.write(by="test") as tx:
        save_slot(tx, Slot(id="wild", model=MODEL, version="v0", endpoint="http://127.0.0.1:1/v1", observed="ready"))
    with pytest.raises(GateFailed, match=r"never live, and passed no gate .*route set desk wild=10000 --override REASON"):
        rollback(ws, MODEL, to="v0", by="ana")
    assert shares(ws) == {"blue": 10_000}
    set_route(ws, MODEL, {"wild": 10_000}, by="ana", override="a test of Ana's")
    assert rollback(ws, MODEL, by="ana").after == "v1.1"
    assert rollback(ws, MODEL, to="v0", by="ana").after == "v0", "what users had once, they may have again"


def test_rollback_takes_the_beginning_of_a_name_that_no_other_shares(ws: Workspace) -> None:
    with ws.control.write(by="test") as tx:
        long = Slot(id="long", model=MODEL, version="v2.0-2026-01-05-833examples", observed="ready", gated=True)
        save_slot(tx, replace(long, endpoint="http://127.0.0.1:1/v1"))
    go(ws, "blue")
    assert rollback(ws, MODEL, to="v2.0", by="ana").after == long.version
    assert would_go_back_to(ws, MODEL, "desk@v2.0") == "long"
    with pytest.raises(UpstreamUnavailable, match="not loaded"):
        rollback(ws, MODEL, to="v2", by="ana")


def test_a_person_setting_the_route_ends_the_active_rollout(ws: Workspace) -> None:
    go(ws, "blue")
    with ws.control.write(by="test") as tx:
        save_rollout(tx, Rollout(id="rol_1", model=MODEL, version="desk@v1.2", slot="green", state="running"))
    set_route(ws, MODEL, {"blue": 9_000, "green": 1_000}, by="ana")
    with ws.control.read() as tx:
        assert load_rollout(tx, "rol_1").state == "stopped"
    assert shares(ws) == {"blue": 9_000, "green": 1_000}


def test_a_champion_with_any_traffic_left_is_where_a_rollback_goes(ws: Workspace) -> None:
    go(ws, "blue")
    set_route(ws, MODEL, {"blue": 1_000, "green": 9_000}, by="ana")
    move = rollback(ws, MODEL, by="ana")
    assert (move.before, move.after, shares(ws)) == ("v1.2", "v1.1", {"blue": 10_000})


def test_halting_ends_a_rollout_and_moves_nothing_where_none_is_under_way(ws: Workspace) -> None:
    go(ws, "blue", "green")
    with pytest.raises(NotFound, match="no rollout under way"):
        halt(ws, MODEL, by="ana", reason="complaints")
    assert shares(ws) == {"green": 10_000}
    with ws.control.write(by="test") as tx:
        save_rollout(tx, Rollout(id="rol_1", model=MODEL, version="desk@v1.3", slot="red", state="loading"))
    assert halt(ws, MODEL, by="ana", reason="complaints").after == "v1.2"
    with ws.control.read() as tx:
        assert load_rollout(tx, "rol_1").state == "rolled_back"
    assert shares(ws) == {"green": 10_000}


def test_a_slot_that_passed_no_gate_is_refused_without_an_override(ws: Workspace) -> None:
    go(ws, "blue")
    with ws.control.write(by="test") as tx:
        save_slot(tx, Slot(id="wild", model=MODEL, version="v0", endpoint="http://127.0.0.1:1/v1", observed="ready"))
    with pytest.raises(GateFailed, match="passed no gate"):
        set_route(ws, MODEL, {"blue": 9_000, "wild": 1_000}, by="ana")
    set_route(ws, MODEL, {"blue": 9_000, "wild": 1_000}, by="ana", override="a test of Ana's")
    with ws.control.read() as tx:
        assert "a test of Ana's" in load_route(tx, MODEL).reason


@pytest.mark.parametrize("weights", [{"blue": 9_000}, {"blue": 11_000, "green": -1_000}])
def test_weights_that_do_not_add_up_are_refused(ws: Workspace, weights: dict[str, int]) -> None:
    go(ws, "blue")
    with pytest.raises(UserError, match="10000"):
        set_route(ws, MODEL, weights, by="ana")


def seed(block: str, **weights: int) -> RouteSeed:
    return RouteSeed(model=MODEL, weights=weights, block=block)


def test_a_configuration_file_seeds_an_empty_store_and_is_not_applied_again(ws: Workspace) -> None:
    seed_routes(ws, [seed("one", blue=9_000, green=1_000)], by="file")
    go(ws, "green")
    seed_routes(ws, [seed("one", blue=9_000, green=1_000)], by="file")
    assert shares(ws) == {"green": 10_000}


def test_a_changed_route_block_counts_again(ws: Workspace) -> None:
    seed_routes(ws, [seed("one", blue=9_000, green=1_000)], by="file")
    go(ws, "green")
    seed_routes(ws, [seed("two", blue=10_000)], by="file")
    assert shares(ws) == {"blue": 10_000}
    with ws.control.read() as tx:
        assert [each.champion for each in find_promotions(tx, model=MODEL)] == ["blue", "green", "blue"]


def test_a_static_route_refuses_rollback_naming_its_file(ws: Workspace) -> None:
    seed_routes(ws, [RouteSeed(model=MODEL, weights={"blue": 10_000}, block="x", static="model_routing.yaml")], by="file")
    with pytest.raises(UserError, match=r"model_routing\.yaml"):
        rollback(ws, MODEL, by="ana")
