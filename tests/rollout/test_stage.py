from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.rollout.conftest import CONFIG
from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.deployment import Artifact, Parity
from tunekeeper.core.nouns.evaluation import Estimate, Exam, Verdict
from tunekeeper.core.nouns.retraining import Cycle, Done, Model, Stop, Wait
from tunekeeper.rollout import rollback
from tunekeeper.rollout.approvals import approve
from tunekeeper.rollout.canary import tick
from tunekeeper.rollout.config import Config
from tunekeeper.rollout.drill import drill
from tunekeeper.rollout.moves import promote
from tunekeeper.rollout.stage import checklist_of, latest, poke, poke_approval, poke_check
from tunekeeper.store.ledgers.artifacts import load_artifact, save_artifact
from tunekeeper.store.ledgers.exams import load_exam, save_exam
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.store.ledgers.rollouts import find_rollouts
from tunekeeper.testing.desk import FORMAT, MODEL, Desk

TASK = Model(name=MODEL, format=FORMAT, level=3)
DIGEST = "sha256:v1.1"
CYCLE = Cycle(
    id="cyc_1",
    model=MODEL,
    number=2,
    why="edits rose",
    stage="check",
    records={"export": "art_1", "evaluate": "exam_1", "load": "green"},
)
PASSED = Verdict(outcome="pass", measured={"regression": Estimate(value=1.0, n=3), "latency_ratio": Estimate(value=1.2, n=60)})


@pytest.fixture
def judged(desk: Desk) -> Desk:
    """A desk where `green` holds an examined artifact and a worker is at work."""
    artifact = Artifact(
        id="art_1", model=MODEL, version=f"{MODEL}@v1.1", engine="fake", digest=DIGEST, parity=Parity(verdict="pass")
    )
    exam = Exam(
        id="exam_1",
        model=MODEL,
        version=artifact.version,
        artifact="art_1",
        artifact_digest=DIGEST,
        suite="core",
        suite_digest="sha256:s",
        state="done",
        verdict=PASSED,
    )
    with desk.ws.state.write(by="test") as tx:
        save_artifact(tx, artifact)
        save_exam(tx, exam)
    desk.ws.control.acquire_lease("worker", "worker-1", 3600.0)
    return desk


def change(desk: Desk, **verdict: Any) -> None:
    with desk.ws.state.write(by="test") as tx:
        save_exam(tx, replace(load_exam(tx, "exam_1"), verdict=replace(PASSED, **verdict)))


def ok(desk: Desk, cycle: Cycle = CYCLE, config: Config = CONFIG) -> dict[str, bool | None]:
    return {item.id: item.ok for item in checklist_of(desk.ws, config, cycle)}


def test_the_checklist_is_read_from_the_ledgers(judged: Desk) -> None:
    assert ok(judged) == {f"PRE-{n:02}": True for n in range(1, 11)}
    answer = poke_check(judged.ws, TASK, CONFIG, CYCLE)
    assert answer == Done(record="green", note="10 of 10 lines hold, 0 do not apply")


def test_the_window_is_announced_once_however_often_it_is_looked_at(judged: Desk) -> None:
    for _ in range(3):
        poke_check(judged.ws, TASK, CONFIG, CYCLE)
    with judged.ws.control.read() as tx:
        [told] = [message for message in find_messages(tx) if message.kind == "window"]
    assert told.text == "Cycle 2: edits rose"


def test_without_a_champion_it_is_the_first_version(judged: Desk) -> None:
    other = replace(CYCLE, model="other", records={**CYCLE.records, "load": "first"})
    judged.slot("first", "v1.1", model="other")
    change(judged, measured={"latency_ratio": Estimate(value=9.0, n=60)})
    items = {item.id: item for item in checklist_of(judged.ws, CONFIG, other)}
    assert (items["PRE-05"].ok, items["PRE-06"].ok) == (None, None)
    assert (items["PRE-03"].ok, items["PRE-03"].detail) == (True, "first version"), "slower than the base is no reason"


@pytest.mark.parametrize(
    ("verdict", "rule", "detail"),
    [
        ({"outcome": "fail"}, "PRE-01", "gate says fail"),
        ({"measured": {"regression": Estimate(value=0.75, n=4)}}, "PRE-02", "3 of 4 regression cases pass"),
        ({"measured": {"latency_ratio": Estimate(value=2.5, n=60)}}, "PRE-03", "p95 2.50 x the champion's"),
    ],
)
def test_what_the_exam_said_stops_the_cycle_as_blocked(judged: Desk, verdict: dict[str, Any], rule: str, detail: str) -> None:
    change(judged, **verdict)
    answer = poke_check(judged.ws, TASK, CONFIG, CYCLE)
    assert isinstance(answer, Stop)
    assert (answer.why, answer.outcome) == (f"checklist: {rule}: {detail}", "blocked")


def test_a_named_override_lets_a_failed_gate_pass_and_says_so(judged: Desk) -> None:
    change(judged, outcome="fail")
    answer = poke_check(judged.ws, TASK, CONFIG, replace(CYCLE, options={"override": "Ana: to show the canary"}))
    assert isinstance(answer, Done)
    assert answer.note.endswith("PRE-01 waived by Ana: to show the canary")
    change(judged, measured={"regression": Estimate(value=0.5, n=4)})
    answer = poke_check(judged.ws, TASK, CONFIG, replace(CYCLE, options={"override": "Ana: to show the canary"}))
    assert isinstance(answer, Done)
    assert answer.note.endswith("PRE-02 waived by Ana: to show the canary")


def test_another_file_in_the_slot_than_the_examined_one_is_seen(judged: Desk) -> None:
    judged.slot("green", "v1.1", digest="sha256:other")
    assert ok(judged)["PRE-04"] is False


def test_a_worker_that_went_away_is_seen(judged: Desk) -> None:
    lease = judged.ws.control.acquire_lease("worker", "worker-1", 3600.0)
    assert lease is not None
    judged.ws.control.release_lease(lease)
    assert ok(judged)["PRE-07"] is False


def test_a_drill_grows_old(judged: Desk) -> None:
    promote(judged.ws, MODEL, "green", by="test", reason="second")
    promote(judged.ws, MODEL, "blue", by="test", reason="third")
    drill(judged.ws, MODEL, by="ana", hold_seconds=0.0)
    judged.clock.advance(31 * 86_400)
    assert ok(judged)["PRE-06"] is True
    judged.clock.advance(3600)
    assert ok(judged)["PRE-06"] is False


def consent(desk: Desk, **changes: str) -> None:
    asked = {"version": f"{MODEL}@v1.1", "artifact_digest": DIGEST, "suite_digest": "sha256:s", **changes}
    approve(desk.ws, model=MODEL, by="Ana", **asked)


def test_approval_waits_for_a_named_person(judged: Desk) -> None:
    waiting = poke_approval(judged.ws, TASK, CONFIG, CYCLE)
    assert isinstance(waiting, Wait)
    assert "tunekeeper retrain approve --model desk --by NAME" in waiting.why
    consent(judged, artifact_digest="sha256:other")
    assert isinstance(poke_approval(judged.ws, TASK, CONFIG, CYCLE), Wait)
    consent(judged)
    answer = poke_approval(judged.ws, TASK, CONFIG, CYCLE)
    assert isinstance(answer, Done)
    assert answer.note == "approved by Ana"


@pytest.mark.parametrize(("level", "approve_by", "asks"), [(3, "auto", True), (4, "person", True), (4, "auto", False)])
def test_only_level_4_set_to_auto_asks_nobody(judged: Desk, level: int, approve_by: Any, asks: bool) -> None:
    answer = poke_approval(judged.ws, replace(TASK, level=level), replace(CONFIG, approve=approve_by), CYCLE)
    assert isinstance(answer, Wait if asks else Done)


def test_the_rollout_is_opened_once_with_what_was_judged(judged: Desk) -> None:
    first = poke(judged.ws, TASK, CONFIG, CYCLE)
    assert first == Wait(why="waiting for the slot to answer", progress=0.0)
    poke(judged.ws, TASK, CONFIG, CYCLE)
    with judged.ws.control.read() as tx:
        [rollout] = find_rollouts(tx, model=MODEL)
    assert (rollout.artifact_digest, rollout.slot, rollout.cycle, rollout.strategy) == (DIGEST, "green", "cyc_1", "canary")
    assert [(phase.weight, phase.seconds) for phase in rollout.phases] == [(500, 7200.0), (2_500, 14_400.0)]
    assert latest(judged.ws, MODEL) == rollout


def test_the_cycle_follows_its_rollout_to_its_end(judged: Desk) -> None:
    poke(judged.ws, TASK, CONFIG, CYCLE)
    id = latest(judged.ws, MODEL).id
    tick(judged.ws, id, CONFIG, FORMAT)
    judged.clock.advance(1800)
    tick(judged.ws, id, CONFIG, FORMAT)
    waiting = poke(judged.ws, TASK, CONFIG, CYCLE)
    assert waiting == Wait(why="5 %: 0.5 h of 2.0 h at 5 %", progress=pytest.approx(0.5 / 6))
    rollback(judged.ws, MODEL, by="ana", reason="complaints")
    answer = poke(judged.ws, TASK, CONFIG, CYCLE)
    assert isinstance(answer, Stop)
    assert (answer.record, answer.outcome) == (id, "failed")


def test_a_switch_is_done_at_once(judged: Desk) -> None:
    asked = replace(CYCLE, options={"strategy": "blue-green"})
    poke(judged.ws, TASK, CONFIG, asked)
    tick(judged.ws, latest(judged.ws, MODEL).id, CONFIG, FORMAT)
    assert poke(judged.ws, TASK, CONFIG, asked) == Done(record=latest(judged.ws, MODEL).id, note="switched")
    with judged.ws.state.read() as tx:
        assert load_artifact(tx, "art_1").rev == 1


def test_a_model_without_a_rollout_says_so(desk: Desk) -> None:
    with pytest.raises(NotFound, match="has had no rollout"):
        latest(desk.ws, MODEL)
