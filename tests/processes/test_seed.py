from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.config import load_project
from tunekeeper.core.errors import GateFailed, NotFound
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.core.nouns.serving import FallbackEntry, Route, Timeouts
from tunekeeper.processes.seed import commit_project, main
from tunekeeper.rollout.moves import promote, rollback, set_route
from tunekeeper.store.ledgers.alerts import find_alerts
from tunekeeper.store.ledgers.rollouts import find_rollouts, save_rollout
from tunekeeper.store.ledgers.routes import find_routes, load_route, save_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.published import PublishedReader
from tunekeeper.store.refusedfile import refused
from tunekeeper.workspace import Workspace, create_workspace, open_workspace

TWO_MODELS = """\
models:
  desk:
    slots: {a: {endpoint: "http://127.0.0.1:9/v1", model: m, api_key_env: KEY}, b: {endpoint: "127.0.0.1:9", model: n}}
    route: {a: 9000, b: 1000}
    fallback: [b, {slot: a, system: short}]
    confidence_floor: 0.5
    shadow: {slot: b, share: 500}
  mail:
    slots: {a: {endpoint: "http://127.0.0.1:9/v1", model: z}}
    durability: power
"""


def put(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


def test_what_a_file_says_is_committed_once(tmp_path):
    path, root = put(tmp_path, TWO_MODELS), tmp_path / "data"
    for _ in range(2):
        assert main(["--root", str(root), "--config", str(path)]) == 0
    with open_workspace(root).control.read() as tx:
        route = load_route(tx, "desk")
    assert {share.slot: share.weight for share in route.shares} == {"a": 9000, "b": 1000}


def served(root: Path) -> dict[str, dict[str, int]]:
    """What gateways obey: model → slot → ten-thousandths."""
    return {name: weights(route) for name, route in PublishedReader(root).current().routes.items()}


def test_a_model_that_the_file_names_no_more_answers_nobody_until_a_file_names_it_again(tmp_path):
    root = tmp_path / "data"
    words = ["--root", str(root), "--config", str(put(tmp_path, TWO_MODELS))]
    assert main(words) == 0
    ws = open_workspace(root)
    set_route(ws, "desk", {"a": 0, "b": 10_000}, by="ann")
    put(tmp_path, "models: {help: {slots: {a: {endpoint: 'h:1'}, b: {endpoint: 'h:2'}}, route: {a: 10000}}}\n")
    for _ in range(2):
        assert main(words) == 0
        assert served(root) == {"help": {"help/a": 10_000}}, "renamed: desk and mail are gone, and nobody answers in their place"
    assert {slot.model for slot in PublishedReader(root).current().slots.values()} == {"help"}, "nor are their servers probed"
    for moved in (lambda: set_route(ws, "desk", {"a": 10_000}, by="ann"), lambda: rollback(ws, "desk", by="ann")):
        with pytest.raises(NotFound, match="names the model no more"):
            moved()
    put(tmp_path, TWO_MODELS)
    assert main(words) == 0
    assert served(root) == {"desk": {"b": 10_000}, "mail": {"mail/a": 10_000}}, "as it was set by hand: its block did not change"


def test_models_that_a_project_deploys_or_names_stay_while_serve_runs_from_another_file(ws, tmp_path):
    commit(ws, ROUTED)
    assert (
        main(["--root", str(ws.root), "--config", str(put(tmp_path, "models: {help: {slots: {h: {endpoint: 'h:1'}}}}\n"))]) == 0
    )
    assert served(ws.root).keys() == {"desk", "help"}


def test_a_routing_file_under_another_name_renames_the_model(tmp_path):
    root, routing = tmp_path / "data", tmp_path / "routing.yaml"
    routing.write_text("active_slot: green\nblue: {endpoint: 'h:1'}\ngreen: {endpoint: 'h:2'}\n")
    for name in ("desk", "help"):
        assert main(["--root", str(root), "--routing", str(routing), "--as", name]) == 0
        assert served(root).keys() == {name}


def test_a_broken_file_is_one_json_line_and_exit_2(tmp_path, capsys):
    assert main(["--root", str(tmp_path / "data"), "--config", str(put(tmp_path, "models: {}\n"))]) == 2
    assert '"kind": "ConfigError"' in capsys.readouterr().err


def test_a_file_that_is_obeyed_ends_what_an_earlier_one_left(tmp_path):
    root, routing = tmp_path / "data", tmp_path / "routing.yaml"
    routing.write_text("active_slot: green\nblue: {endpoint: 'h:1'}\ngreen: {endpoint: 'h:2'}\n")
    words = ["--root", str(root), "--routing", str(routing), "--as", "desk"]
    assert main(words) == 0
    routing.write_text("active_slot: red\nblue: {endpoint: 'h:1'}\n")
    assert main(words) == 2
    with open_workspace(root).state.read() as tx:
        assert [each.rule for each in find_alerts(tx, model="desk", state="firing")] == ["BG-04"]
    assert main(["--root", str(root), "--config", str(put(tmp_path, TWO_MODELS))]) == 0
    with open_workspace(root).state.read() as tx:
        assert find_alerts(tx, model="desk", state="firing") == []
    assert refused(root) is None


# ---- a project's own files ----

HOSTED = """\
rollout: {assign_by: session}
serving:
  slots:
    big: {endpoint: "https://api.example.com/v1", model: big-1, api_key_env: BIG_KEY, price_in: 2.5, price_out: 10}
    local: {engine: ollama, endpoint: "127.0.0.1:11434", model: small, price_hour: 1.5, parallel: 3}
  fallback: [local, {slot: big, system: "Be brief.", messages: [{role: user, content: hi}, {role: assistant, content: hello}]}]
  shadow: {slot: local, share: 500}
  timeouts: {connect: 1, first_token: 5, between_tokens: 6, total: 60}
  confidence_floor: 0.4
  durability: power
"""
ROUTED = HOSTED + "  route: {big: 9000, local: 1000}\n"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / ".tunekeeper", project=tmp_path)


def commit(ws: Workspace, text: str) -> None:
    """What `up` does at its start with such a model file."""
    folder = ws.project
    assert folder is not None
    (folder / "models").mkdir(exist_ok=True)
    (folder / "tunekeeper.yaml").write_text("")
    (folder / "models" / "desk.yaml").write_text(text)
    commit_project(ws, load_project(folder, environ={}).models)


def route_of(ws: Workspace) -> Route:
    with ws.control.read() as tx:
        return load_route(tx, "desk")


def weights(route: Route) -> dict[str, int]:
    return {share.slot: share.weight for share in route.shares}


def says(route: Route) -> None:
    """The row alone tells a gateway everything that HOSTED says."""
    brief = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"})
    assert route.fallback == (
        FallbackEntry(slot="desk/local"),
        FallbackEntry(slot="desk/big", system="Be brief.", messages=brief),
    )
    assert (route.shadow, route.shadow_share) == ("desk/local", 500)
    assert route.timeouts == Timeouts(connect=1, first_token=5, between_tokens=6, total=60)
    assert (route.confidence_floor, route.durability, route.assign_by) == (0.4, "power", "session")


def test_a_project_s_outside_endpoints_become_slots_with_key_and_price(ws: Workspace) -> None:
    commit(ws, HOSTED)
    with ws.control.read() as tx:
        big, local = sorted(find_slots(tx, model="desk"), key=lambda slot: slot.id)
    assert (big.id, big.endpoint, big.upstream_model) == ("desk/big", "https://api.example.com/v1", "big-1")
    assert (big.api_key_env, big.price_in, big.price_out, big.gated) == ("BIG_KEY", 2.5, 10, False)
    assert (big.options, local.price_hour, local.options) == ({}, 1.5, {"parallel": 3})
    assert (local.id, local.engine, local.endpoint, local.observed) == (
        "desk/local",
        "ollama",
        "http://127.0.0.1:11434/v1",
        "ready",
    )


def test_what_the_file_says_waits_for_the_first_promotion_and_goes_with_every_later_route(ws: Workspace) -> None:
    commit(ws, HOSTED)
    assert route_of(ws).shares == ()
    says(route_of(ws))
    promote(ws, "desk", "desk/big", by="test", reason="first")
    assert weights(route_of(ws)) == {"desk/big": 10_000}
    says(route_of(ws))
    set_route(ws, "desk", {"desk/big": 9_000, "desk/local": 1_000}, by="test", override="a test")
    says(route_of(ws))


def test_the_same_file_is_committed_once_and_a_changed_one_moves_no_traffic(ws: Workspace) -> None:
    commit(ws, HOSTED)
    promote(ws, "desk", "desk/big", by="test", reason="first")
    before = route_of(ws)
    commit(ws, HOSTED)
    assert route_of(ws) == before
    commit(ws, HOSTED.replace("confidence_floor: 0.4", "confidence_floor: 0.6"))
    assert (route_of(ws).confidence_floor, route_of(ws).shares) == (0.6, before.shares)
    commit(ws, "rollout: {assign_by: session}\n")
    now = route_of(ws)
    assert (now.fallback, now.shadow, now.confidence_floor, now.timeouts) == ((), None, None, Timeouts())
    assert now.shares == before.shares


def test_a_route_of_the_file_is_the_first_one_until_its_block_changes(ws: Workspace) -> None:
    commit(ws, ROUTED)
    assert weights(route_of(ws)) == {"desk/big": 9_000, "desk/local": 1_000}
    set_route(ws, "desk", {"desk/local": 10_000}, by="test", override="a test")
    commit(ws, ROUTED)
    assert weights(route_of(ws)) == {"desk/local": 10_000}
    commit(ws, HOSTED + "  route: {big: 10000}\n")
    assert (weights(route_of(ws)), route_of(ws).previous) == ({"desk/big": 10_000}, "desk/local")


def test_an_endpoint_that_no_exam_judged_gets_traffic_by_hand_only_with_a_reason(ws: Workspace) -> None:
    commit(ws, ROUTED)
    with pytest.raises(GateFailed):
        set_route(ws, "desk", {"desk/local": 10_000}, by="test")


def test_a_changed_route_block_ends_the_rollout_that_moves_the_same_shares(ws: Workspace) -> None:
    commit(ws, ROUTED)
    with ws.control.write(by="test") as tx:
        save_rollout(
            tx, Rollout(id="rol_1", model="desk", version="desk@v2", slot="desk/local", state="running", assign_by="user")
        )
        save_route(tx, replace(load_route(tx, "desk"), rollout="rol_1", assign_by="user"))
    commit(ws, ROUTED.replace("confidence_floor: 0.4", "confidence_floor: 0.6"))
    assert (route_of(ws).rollout, route_of(ws).assign_by) == ("rol_1", "user"), "settings end nothing, and the unit stays"
    commit(ws, HOSTED + "  route: {big: 10000}\n")
    with ws.control.read() as tx:
        (ended,) = find_rollouts(tx, model="desk")
    assert (ended.state, route_of(ws).rollout, route_of(ws).assign_by) == ("stopped", None, "session")


def test_a_model_that_says_nothing_about_serving_gets_no_row(ws: Workspace) -> None:
    commit(ws, "rollout: {assign_by: session}\n")
    with pytest.raises(NotFound), ws.control.read() as tx:
        load_route(tx, "desk")


def test_a_drill_that_was_killed_ends_before_its_route_is_written_over(ws: Workspace) -> None:
    commit(ws, ROUTED)
    home = weights(route_of(ws))
    with ws.control.write(by="test") as tx:
        here = load_route(tx, "desk")
        save_route(tx, replace(here, shares=(replace(here.shares[0], ranges=((0, 10_000),)),), reason="rollback drill"))
    commit(ws, ROUTED.replace("confidence_floor: 0.4", "confidence_floor: 0.6"))
    assert (weights(route_of(ws)), route_of(ws).confidence_floor) == (home, 0.6)
    with ws.control.read() as tx:
        assert len(find_routes(tx, "desk")) == 4
