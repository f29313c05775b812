from __future__ import annotations

import os

import pytest

from tests.rollout.conftest import new_desk
from tunekeeper.core.nouns.serving import FallbackEntry, Slot
from tunekeeper.deployment.slots import declare_slots, observe_slot
from tunekeeper.processes import ending
from tunekeeper.rollout.moves import promote, seed_routes
from tunekeeper.rollout.routes import RouteSeed
from tunekeeper.testing.desk import MODEL

__all__ = ["new_desk"]


@pytest.fixture
def desk(tmp_path, new_desk):
    made = new_desk(tmp_path / "desk")
    for name, version in (("blue", "v1.0"), ("green", "v1.1")):
        made.slot(name, version)
        promote(made.ws, MODEL, name, by="ana", reason=f"to {name}")
        made.clock.advance(60)
    return made


def test_a_route_is_shown_with_slots_roles_and_who_set_it(tell, desk):
    told = tell("route", "show", MODEL, "--dir", desk.folder, "--json")
    assert (told.code, told.json["shares"], told.json["previous"], told.json["by"]) == (0, {"green": 10_000}, "blue", "ana")
    lines = tell("route", "show", MODEL, "--dir", desk.folder).out.splitlines()
    assert lines[0] == f"desk: route version {told.json['route_version']}, set by ana: to green"
    assert [line.split()[:3] for line in lines[-2:]] == [["blue", "v1.0", "previous"], ["green", "v1.1", "champion"]]


def test_why_a_server_failed_is_said_where_its_state_stands(tell, desk, monkeypatch):
    declare_slots(desk.ws, [Slot(id="green", model=MODEL, version="v1.1", engine="llamacpp", files={"model": "models/m.gguf"})])
    observe_slot(desk.ws, "green", "failed", reason="killed by SIGBUS")
    assert tell("route", "show", MODEL, "--dir", desk.folder).out.splitlines()[-1] == "green: killed by SIGBUS"
    assert "green: killed by SIGBUS" not in tell("status", "--dir", desk.folder).out, "nothing runs: that is long ago"
    monkeypatch.setattr(ending, "running", lambda root: {"supervisor": 1})
    assert "  green: killed by SIGBUS" in tell("status", "--dir", desk.folder).out.splitlines()


def test_a_route_says_who_is_asked_next_and_who_gets_copies(tell, desk):
    fallback = (FallbackEntry(slot="blue", system="Be brief."),)
    seed = RouteSeed(
        model=MODEL, weights={}, block=None, fallback=fallback, shadow="blue", shadow_share=250, confidence_floor=0.4
    )
    seed_routes(desk.ws, [seed], by="ana")
    told = tell("route", "show", MODEL, "--dir", desk.folder, "--json").json
    assert [(each["slot"], each["system"]) for each in told["fallback"]] == [("blue", "Be brief.")]
    assert (told["shadow"], told["confidence_floor"], told["assign_by"]) == ({"slot": "blue", "share": 250}, 0.4, "user")
    assert (told["timeouts"]["connect"], told["durability"], told["shares"]) == (2, None, {"green": 10_000})
    lines = tell("route", "show", MODEL, "--dir", desk.folder).out.splitlines()
    assert lines[-2:] == ["then: blue, also under a confidence of 0.4", "copies: blue 2.5 %"]


def test_weights_are_set_and_printed_in_the_contract_s_shape(tell, desk):
    asked = ("route", "set", MODEL, "blue=1000", "green=9000", "--dir", desk.folder)
    assert tell(*asked, "--dry-run").out == "would set desk: {'blue': 1000, 'green': 9000}\n"
    assert desk.shares() == {"green": 10_000}
    told = tell(*asked, "--json")
    assert told.code == 0
    assert set(told.json) == {"model", "from", "to", "route_version", "acknowledged_by", "pending", "ms"}
    assert desk.shares() == {"green": 9_000, "blue": 1_000}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("blue=1000",), 2, "not 10000 (fix: tunekeeper route set desk green=9000 blue=1000)"),
        (("green=1000",), 2, "not 10000 (fix: tunekeeper route set desk S=9000 T=1000)"),
        (("blue",), 2, "is not SLOT=WEIGHT"),
        (("blue=x", "green=9000"), 2, "is not SLOT=WEIGHT"),
        (("blue=" + "9" * 5000,), 2, "is not SLOT=WEIGHT"),
        (("blue=١٠٠٠٠",), 2, "is not SLOT=WEIGHT"),
        (("blue=10000", "blue=10000"), 2, "blue is named twice"),
        (("red=10000",), 2, "desk has no slot 'red'; it has: blue, green"),
    ],
)
def test_wrong_weights_are_one_line(tell, desk, words, code, said):
    for dry in ((), ("--dry-run",)):
        told = tell("route", "set", MODEL, *words, *dry, "--dir", desk.folder)
        assert (told.code, said in told.err, told.err.count("\n")) == (code, True, 1)
    assert desk.shares() == {"green": 10_000}


def test_an_experiment_begins_at_a_tenth_grows_under_its_id_and_ends(tell, desk):
    asked = ("route", "set", MODEL, "--dir", desk.folder, "--experiment", "prompt-b")
    assert tell(*asked, "blue", "--json").code == 0
    assert (desk.shares(), desk.route().rollout, desk.route().salt) == ({"green": 9_000, "blue": 1_000}, "prompt-b", "prompt-b")
    assert "under prompt-b, assigned by user" in tell("route", "show", MODEL, "--dir", desk.folder).out
    desk.traffic(60, 60)
    arms = {each.slot_assigned for each in desk.ws.log.find(model=MODEL, rollout="prompt-b")}
    assert arms == {"green", "blue"}
    assert tell(*asked, "blue=2500").code == 0
    assert desk.shares() == {"green": 7_500, "blue": 2_500}
    other = tell("route", "set", MODEL, "blue", "--experiment", "prompt-c", "--dir", desk.folder)
    assert (other.code, "under experiment prompt-b" in other.err, other.err.count("\n")) == (2, True, 1)
    assert tell("route", "set", MODEL, "green=10000", "--dir", desk.folder).code == 0
    assert desk.route().rollout is None
    assert tell(*asked[:-1], "prompt-c", "blue").code == 0


@pytest.mark.parametrize("words", [("green",), ("green=1000",)])
def test_an_experiment_of_the_champion_alone_is_refused_in_one_clear_line(tell, desk, words):
    told = tell("route", "set", MODEL, *words, "--experiment", "prompt-b", "--dir", desk.folder)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "green is the champion: an experiment needs another slot beside it" in told.err
    assert f"tunekeeper route set {MODEL} OTHER --experiment prompt-b" in told.err
    assert desk.shares() == {"green": 10_000}


def test_a_champion_that_is_named_beside_the_others_keeps_the_rest(tell, desk):
    assert tell("route", "set", MODEL, "green", "blue=2500", "--experiment", "prompt-b", "--dir", desk.folder).code == 0
    assert desk.shares() == {"green": 7_500, "blue": 2_500}


def test_an_ungated_slot_is_refused_with_exit_1_and_let_through_by_a_reason(tell, desk):
    from dataclasses import replace

    from tunekeeper.store.ledgers.slots import load_slot, save_slot

    with desk.ws.control.write(by="test") as tx:
        save_slot(tx, replace(load_slot(tx, "blue"), gated=False))
    asked = ("route", "set", MODEL, "blue=1000", "green=9000", "--dir", desk.folder)
    for dry in ((), ("--dry-run",)):
        told = tell(*asked, *dry)
        assert (told.code, "passed no gate" in told.err) == (1, True)
    for dry in ((), ("--dry-run",)):
        told = tell(*asked, "--override", " ", *dry)
        assert (told.code, "without a reason" in told.err) == (2, True)
    assert desk.shares() == {"green": 10_000}
    assert tell(*asked, "--override", "a look").code == 0
    assert desk.route().reason.endswith("override: a look")


def test_rollback_goes_back_at_once_and_leaves_an_incident(tell, desk):
    asked = ("rollback", MODEL, "--dir", desk.folder)
    assert tell(*asked, "--dry-run").out == "would go back to blue\n"
    told = tell(*asked, "--reason", "too slow", "--json")
    assert (told.code, told.json["from"], told.json["to"]) == (0, "v1.1", "v1.0")
    assert desk.shares() == {"blue": 10_000}
    [incident] = tell("incident", "ls", "--model", MODEL, "--dir", desk.folder, "--json").json
    assert incident["reason"] == "too slow"
    for dry in ((), ("--dry-run",)):
        again = tell(*asked, *dry)
        assert (again.code, "--to VERSION" in again.err) == (4, True)
    assert tell(*asked, "--to", "v1.1").code == 0


def test_a_place_to_go_back_to_that_is_empty_moves_nothing(tell, desk):
    for dry in ((), ("--dry-run",), ("--load",)):
        told = tell("rollback", MODEL, "--to", "", *dry, "--dir", desk.folder)
        assert (told.code, told.err.count("\n"), "leave out --to" in told.err) == (2, 1, True)
    assert desk.shares() == {"green": 10_000}


def test_rollback_needs_neither_configuration_nor_state(tell, desk):
    (desk.folder / "tunekeeper.yaml").write_text("nonsense: [")
    (desk.ws.root / "state.db").write_bytes(b"rubbish" * 999)
    told = tell("rollback", MODEL, "--dir", desk.folder, "--json")
    assert (told.code, told.json["to"]) == (0, "v1.0")


def test_an_unknown_model_is_one_line(tell, desk):
    for words in (("route", "show", "dsk"), ("rollback", "dsk")):
        told = tell(*words, "--dir", desk.folder)
        assert (told.code, "dsk" in told.err) == (2, True)


def test_going_back_needs_no_user_with_a_name(tell, desk, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    told = tell("rollback", MODEL, "--dir", desk.folder, "--json")
    assert (told.code, told.json["to"]) == (0, "v1.0")
    assert tell("route", "show", MODEL, "--dir", desk.folder, "--json").json["by"] == f"user {os.getuid()}"
