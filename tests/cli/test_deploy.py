from __future__ import annotations

from dataclasses import replace

import pytest

from tests.rollout.conftest import CONFIG, canary, desk, new_desk, now_of
from tests.rollout.test_stage import CYCLE, judged
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.engines import serve_temporarily
from tunekeeper.retraining.cycle import open_cycle
from tunekeeper.rollout.canary import tick
from tunekeeper.rollout.moves import promote
from tunekeeper.store.ledgers.cycles import find_cycles, save_cycle
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.testing.desk import FORMAT, MODEL

__all__ = ["desk", "judged", "new_desk"]


@pytest.fixture
def running(judged):
    """A canary at 5 % that was looked at once."""
    canary(judged)
    tick(judged.ws, "rol_1", CONFIG, FORMAT)
    judged.clock.advance(900)
    tick(judged.ws, "rol_1", CONFIG, FORMAT)
    return judged


def test_a_version_that_is_there_already_goes_to_users_from_its_export_on(tell, desk):
    learned = Version(
        id=f"{MODEL}@v1.1", model=MODEL, name="v1.1", major=1, minor=1, base="b", base_digest="sha256:b", dataset=f"{MODEL}/d1"
    )
    imported = replace(learned, id=f"{MODEL}@v1.2", name="v1.2", minor=2, dataset=None)
    live = replace(learned, id=f"{MODEL}@v1.0", name="v1.0", minor=0)
    with desk.ws.state.write(by="test") as tx:
        for each in (learned, imported, live):
            save_version(tx, each)
    asked = ("deploy", "start", MODEL)
    where = ("--dir", desk.folder, "--json")
    for wrong in (("v1.0",), ("v9",), ("v1.1", "--strategy", "big-bang"), ("v1.1", "--override", " ")):
        told = tell(*asked, *wrong, *where)
        assert (told.code, told.err.count("\n")) == (2, 1), wrong
    assert "answers users already" in tell(*asked, "v1.0", *where).err
    assert tell(*asked, "v1.1", *where, "--dry-run").code == 0
    opened = tell(*asked, "v1.1", "--strategy", "blue-green", *where).json
    assert (opened["stage"], opened["options"]) == ("export", {"strategy": "blue-green"})
    assert opened["records"] == {"data": f"{MODEL}/d1", "train": f"{MODEL}@v1.1"}
    with desk.ws.state.write(by="test") as tx:
        save_cycle(tx, replace(find_cycles(tx, model=MODEL)[0], state="failed"))
    desk.clock.advance(1)
    assert tell(*asked, "v1.2", *where).json["records"] == {"train": f"{MODEL}@v1.2"}
    with desk.ws.state.read() as tx:
        assert find_cycles(tx, model=MODEL)[-1].stage == "export"


def test_status_says_where_a_rollout_stands_and_why(tell, running):
    lines = tell("deploy", "status", MODEL, "--dir", running.folder).out.splitlines()
    assert lines[0] == "RUNNING: desk@v1.1, canary, phase 1 of 2"
    assert lines[1].endswith("hold     0.2 h of 2.0 h at 5 %")
    assert tell("deploy", "status", MODEL, "--dir", running.folder, "--json").json["id"] == "rol_1"


def test_without_a_rollout_there_is_nothing_to_show_or_halt(tell, judged):
    for verb in (("status",), ("halt",), ("halt", "--dry-run")):
        told = tell("deploy", *verb, MODEL, "--dir", judged.folder)
        assert told.code == 2, verb
        assert told.err.count("\n") == 1
    assert judged.shares() == {"blue": 10_000}


def test_the_checklist_is_printed_line_by_line_and_its_exit_code_is_its_verdict(tell, judged):
    asked = ("deploy", "check", MODEL, "--dir", judged.folder)
    assert tell(*asked).code == 2, "nothing is loaded yet"
    open_cycle(judged.ws, MODEL, why="test", by="ana", records=CYCLE.records)
    told = tell(*asked)
    assert (told.code, told.out.splitlines()[0]) == (0, "PASS")
    assert "  PRE-03 ok     p95 1.20 x the champion's" in told.out.splitlines()
    assert "time:" not in told.out, "no stage of this cycle has ended"
    judged.slot("green", "v1.1", digest="sha256:other")
    told = tell(*asked, "--json")
    assert (told.code, told.json["verdict"]["rules"]) == (1, ["PRE-04"])
    assert told.json["times"] == {"export": None, "verify": None, "planned": 5400.0}
    with judged.ws.state.write(by="test") as tx:
        cycle = find_cycles(tx, model=MODEL, state="open")[0]
        save_cycle(tx, replace(cycle, timings={"export": 60.0, "load": 30.0}))
    assert "time: export 1 min of 30 min, load and verify 30 s of 30 min: 1 h 28 min left of 1 h 30 min" in tell(*asked).out


def test_halt_ends_the_rollout_and_nothing_else(tell, running):
    asked = ("deploy", "halt", MODEL, "--dir", running.folder)
    assert tell(*asked, "--dry-run").out == "would end the rollout of desk@v1.1: everything to blue\n"
    assert running.shares() == {"blue": 9_500, "green": 500}
    told = tell(*asked, "--reason", "complaints", "--json")
    assert (told.code, told.json["from"], told.json["to"]) == (0, "v1.1", "v1.0")
    assert running.shares() == {"blue": 10_000}
    assert now_of(running).state == "rolled_back"


def test_a_drill_prints_measured_milliseconds(tell, judged):
    promote(judged.ws, MODEL, "green", by="test", reason="second")
    told = tell("deploy", "drill", MODEL, "--hold", "0", "--dir", judged.folder, "--json")
    assert (told.code, told.json["version"], told.json["went_to"]) == (0, "v1.1", "v1.0")
    assert 0 < told.json["back_ms"] < 5000
    assert judged.shares() == {"green": 10_000}
    refused = tell("deploy", "drill", "dsk", "--dir", judged.folder)
    assert refused.code == 2


def test_a_model_server_is_asked_what_it_can_do(tell, monkeypatch, tmp_path):
    slot = Slot(id="s", model=MODEL, version="v1.0", engine="fake")
    with serve_temporarily(slot, tmp_path) as endpoint:
        told = tell("deploy", "probe", endpoint, "--engine", "fake", "--json")
    assert (told.code, told.json) == (0, {"models": ["v1.0"], "logprobs": False, "adapters": False})

    gone = tell("deploy", "probe", endpoint)
    assert (gone.code, len(gone.err.splitlines()), "fix: start the openai server there" in gone.err) == (4, 1, True)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert "environment variable NO_SUCH_KEY is empty" in tell("deploy", "probe", endpoint, "--api-key-env", "NO_SUCH_KEY").err
