"""The loop closes, with fakes of trainer and engine, in seconds and from a seed: learn, serve, notice, learn again, promote; then
a bad version is blocked, let through by name, gone back from, and kept out by the cases it left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.journeys.loop import SECTION, Loop, looped
from tests.rollout.conftest import new_desk
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.data import freezing, versions
from tunekeeper.rollout.incidents import regression_cases
from tunekeeper.rollout.stage import latest
from tunekeeper.store.ledgers.artifacts import find_artifacts
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.exams import load_exam
from tunekeeper.store.ledgers.incidents import find_incidents
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.triggers import find_triggers
from tunekeeper.testing.desk import MODEL, Desk, World
from tunekeeper.text.fingerprints import fingerprint

__all__ = ["new_desk"]
DAY = 86_400.0
CHANGED = World(moved={"loginfee": "billing", "parcelpass": "account", "refundbox": "shipping", "invoiceback": "refund"})
"""Words that nobody used on day one. Each holds a word that the first version knows, and belongs elsewhere."""


def test_the_loop_closes_and_a_bad_version_never_stays(tmp_path: Path, new_desk: Callable[..., Desk]) -> None:
    desk = new_desk(tmp_path / "desk", seed=7, section=SECTION, cases=100, rows=220)
    with looped(desk) as loop:
        first = _first_version(loop)
        second = _the_world_changes(loop)
        bad = _a_bad_version_is_blocked(loop)
        _let_through_by_name_it_goes_back(loop, bad)
        _its_cases_keep_out_what_fails_them(loop, first)
        _every_answer_has_its_chain(loop, second)
        assert [line for line in loop.said if line["event"] in ("error", "fault")] == []


def _first_version(loop: Loop) -> Cycle:
    dataset = loop.dataset()
    waiting = loop.until(loop.open("the first version", options={"dataset": dataset}).id, lambda cycle: cycle.stage == "approve")
    assert waiting.state == "open", waiting.closed_why
    assert waiting.records["data"] == dataset
    assert "tunekeeper retrain approve" in waiting.waiting
    with loop.ws.state.read() as tx:
        exam = load_exam(tx, waiting.records["evaluate"])
        assert exam.champion_exam is not None
        assert load_exam(tx, exam.champion_exam).version == f"{MODEL}@v0.0-2026-01-05-0examples", "against the prompted base"
    assert exam.verdict is not None
    assert exam.verdict.outcome == "pass"
    loop.consent(waiting)
    done = loop.until(waiting.id, lambda cycle: False)
    assert (done.state, done.notes["approve"]) == ("promoted", "approved by Ana")
    assert set(done.records) == {"data", "train", "export", "evaluate", "load", "check", "approve", "rollout"}
    assert loop.desk.shares() == {f"{MODEL}-blue": 10_000}
    return done


def _the_world_changes(loop: Loop) -> Cycle:
    desk = loop.desk
    desk.traffic(80, DAY)
    loop.worker.tick()
    assert _cycles(loop)[1:] == [], "a good day is no reason"
    desk.world = CHANGED
    for _ in range(2):
        desk.traffic(100, DAY)
        loop.worker.tick()
    with loop.ws.state.read() as tx:
        [trigger] = find_triggers(tx, model=MODEL)
    [_, cycle] = _cycles(loop)
    assert (cycle.trigger, cycle.number) == (trigger.id, 2)
    assert "edit_rate is" in cycle.why
    cycle = loop.approved(cycle.id)
    assert cycle.state == "open", cycle.closed_why
    assert cycle.records["data"] == f"{MODEL}/d2"
    assert "corrections" in cycle.notes["data"]
    done = loop.rolled(cycle.id, 150)
    assert done.state == "promoted", done.closed_why
    rollout = latest(loop.ws, MODEL)
    actions = [check.action for check in rollout.checks]
    assert "advance" in actions
    assert actions[-1] == "promote"
    assert loop.desk.shares() == {f"{MODEL}-green": 10_000}
    return done


def _a_bad_version_is_blocked(loop: Loop) -> Cycle:
    rows = list(versions.read_examples(loop.ws, f"{MODEL}/d2"))
    answers = [row.messages[-1] for row in rows]
    loop.desk.rng.shuffle(answers)
    shuffled = []
    for row, answer in zip(rows, answers, strict=True):
        messages = (*row.messages[:-1], answer)
        shuffled.append(replace(row, messages=messages, fingerprint=fingerprint(messages)))
    dataset = freezing.freeze_examples(loop.ws, MODEL, shuffled, by="ana")
    ended = loop.until(loop.open("shuffled labels", options={"dataset": dataset.id}).id, lambda cycle: False)
    assert ended.state == "blocked"
    assert ended.closed_why.startswith("evaluate: fail: accuracy")
    assert loop.desk.shares() == {f"{MODEL}-green": 10_000}
    return ended


def _let_through_by_name_it_goes_back(loop: Loop, bad: Cycle) -> None:
    records = {stage: bad.records[stage] for stage in ("data", "train", "export")}
    opened = loop.open("to show the canary", records=records, options={"override": "Ana: to show the canary"})
    cycle = loop.approved(opened.id)
    assert cycle.state == "open", cycle.closed_why
    assert "let through by Ana" in cycle.notes["evaluate"]
    assert "PRE-01" in cycle.notes["check"]
    done = loop.rolled(cycle.id, 150)
    assert done.state == "rolled_back", done.closed_why
    assert loop.desk.shares() == {f"{MODEL}-green": 10_000}
    with loop.ws.control.read() as tx:
        [incident] = find_incidents(tx, model=MODEL)
    assert incident.rollout == done.records["rollout"]
    assert len(incident.cases) >= 5
    assert latest(loop.ws, MODEL).override == "Ana: to show the canary"


def _its_cases_keep_out_what_fails_them(loop: Loop, first: Cycle) -> None:
    """The first version knows nothing of the changed world: it passes the old suite and fails the incident's cases."""
    records = {stage: first.records[stage] for stage in ("data", "train", "export")}
    ended = loop.until(loop.open("the first one again", records=records).id, lambda cycle: False)
    assert ended.state == "blocked"
    assert f"of {len(regression_cases(loop.ws, MODEL))} regression cases pass" in ended.closed_why
    with loop.ws.state.read() as tx:
        exam = load_exam(tx, ended.records["evaluate"])
    assert exam.verdict is not None
    assert exam.verdict.rules == ("GATE-04",), "by nothing but these cases"


def _every_answer_has_its_chain(loop: Loop, second: Cycle) -> None:
    [newest] = loop.ws.log.find(model=MODEL, variant="champion", newest_first=True, limit=1)
    inference = loop.ws.log.load(newest.request_id)
    assert inference.version == second.records["train"].partition("@")[2]
    with loop.ws.state.read() as tx:
        artifact = next(each for each in find_artifacts(tx, model=MODEL) if each.version == second.records["train"])
    rule = json.loads(loop.ws.blobs.read(artifact.digest or ""))
    assert rule["contains"]["refundbox"] == '{"category": "shipping"}', "what users corrected is what it learned"
    with loop.ws.control.read() as tx:
        kinds = [line.kind for line in find_promotions(tx, model=MODEL)]
    assert kinds == ["promotion", "promotion", "rollback"]
    assert [each.state for each in _cycles(loop)] == ["promoted", "promoted", "blocked", "rolled_back", "blocked"]


def _cycles(loop: Loop) -> list[Cycle]:
    with loop.ws.state.read() as tx:
        return find_cycles(tx, model=MODEL)
