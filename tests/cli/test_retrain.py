from __future__ import annotations

import pytest

from tests.retraining.conftest import desk, new_desk
from tests.retraining.test_worker import edited, worker_of, write_level
from tests.rollout.test_stage import CYCLE, judged
from tunekeeper.retraining.cycle import open_cycle, step
from tunekeeper.store.ledgers.approvals import find_approvals
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.testing.desk import MODEL

__all__ = ["desk", "judged", "new_desk"]


def cycles(desk):
    with desk.ws.state.read() as tx:
        return find_cycles(tx, model=MODEL)


def test_why_says_no_without_a_reason_and_names_what_holds_one_back(tell, desk):
    asked = ("retrain", "why", "--model", MODEL, "--dir", desk.folder)
    assert tell(*asked).out == "no: no reason to retrain was noticed\n"
    write_level(desk, 2)
    worker, _ = worker_of(desk)
    trigger = edited(desk, worker)
    assert tell(*asked).out == "no: maturity level 2: a person opens cycles (tunekeeper retrain run)\n"
    (desk.folder / "models" / f"{MODEL}.yaml").write_text(
        (desk.folder / "models" / f"{MODEL}.yaml").read_text().replace("level: 2", "level: 3")
    )
    told = tell(*asked, "--json").json
    assert (told["open"], told["trigger"]["id"]) == (True, trigger.id)


def test_run_opens_one_cycle_with_what_was_asked(tell, desk):
    asked = ("retrain", "run", "--model", MODEL, "--why", "new line", "--strategy", "blue-green", "--dir", desk.folder)
    assert tell(*asked, "--dry-run").out.splitlines()[0] == "would open a cycle of desk: {'strategy': 'blue-green'}"
    assert cycles(desk) == []
    told = tell(*asked, "--json").json
    assert (told["number"], told["why"], told["options"], told["stage"]) == (1, "new line", {"strategy": "blue-green"}, "data")
    for dry in ((), ("--dry-run",)):
        again = tell(*asked, *dry)
        assert (again.code, again.err.count("\n")) == (4, 1)
        assert "is open already" in again.err


def test_run_says_that_nobody_is_there_to_do_it(tell, desk):
    said = tell("retrain", "run", "--model", MODEL, "--why", "new line", "--dir", desk.folder).out.splitlines()
    assert said[-1] == "no worker is running to do it: tunekeeper up"
    assert tell("retrain", "show", "--model", MODEL, "--dir", desk.folder).out.startswith("now: data: the worker takes it up\n")


def test_run_says_at_once_what_would_stop_the_cycle_at_its_exam(tell, desk):
    asked, folder = ("retrain", "run", "--model", MODEL, "--dir", desk.folder, "--dry-run"), desk.folder / "suites"
    assert f"its exam would stop it: {folder / 'core.jsonl'}: holds no case" in tell(*asked).out
    (folder / "core.jsonl").write_text('{"id": "c", "input": "It broke.", "expected": "bug"}\n')
    assert "its exam" not in tell(*asked).out
    (folder / "core.yaml").unlink()
    gone = f"its exam would stop it: no suite file {folder / 'core.yaml'} (fix: tunekeeper eval init --model {MODEL})"
    assert gone in tell(*asked).out


@pytest.mark.parametrize("words", [("--model", "dsk"), ("--model", MODEL, "--strategy", "big-bang")])
def test_what_is_unknown_is_one_line_and_opens_nothing(tell, desk, words):
    told = tell("retrain", "run", *words, "--dir", desk.folder)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert cycles(desk) == []


def test_approve_consents_to_exactly_what_the_open_cycle_made(tell, judged):
    asked = ("retrain", "approve", "--model", MODEL, "--by", "Ana", "--reason", "its numbers", "--dir", judged.folder)
    assert tell(*asked).code == 2, "no cycle waits"
    records = {**CYCLE.records, "data": "desk/d1", "train": "desk@v1.1", "check": "green"}
    assert open_cycle(judged.ws, MODEL, why="test", by="ana", records=records).stage == "approve"
    assert tell(*asked, "--dry-run").out == "would approve desk@v1.1\n"
    told = tell(*asked, "--json").json
    assert (told["by"], told["version"], told["artifact_digest"], told["reason"]) == (
        "Ana",
        "desk@v1.1",
        "sha256:v1.1",
        "its numbers",
    )
    with judged.ws.control.read() as tx:
        assert len(find_approvals(tx, model=MODEL)) == 1


def test_show_tells_a_cycle_from_its_verdict_down(tell, desk):
    asked = ("retrain", "show", "--model", MODEL, "--dir", desk.folder)
    assert tell(*asked).code == 2
    from tunekeeper.config import load_project

    cycle = open_cycle(desk.ws, MODEL, why="test", by="ana")
    assert tell(*asked).out.startswith("now: data:")
    step(desk.ws, cycle, load_project(desk.folder).model(MODEL))
    lines = tell(*asked).out.splitlines()
    assert lines[0].startswith("FAILED: data: desk has no data yet")
    assert tell(*asked, "--cycle", "1", "--json").json["id"] == cycle.id
    assert tell(*asked, "--cycle", "7").code == 2
