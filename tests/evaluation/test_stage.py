from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.conftest import MODEL, TASK, rule
from tests.patience import PATIENCE
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Stop, Wait
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.evaluation import Config, poke
from tunekeeper.evaluation.exam import find_exam
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.workspace import Workspace

Export = Callable[..., Artifact]
Suite = Callable[..., Path]


def cycle(ws: Workspace, artifact: Artifact) -> Cycle:
    records = {"train": artifact.version, "export": artifact.id}
    return Cycle(id="cyc_1", model=MODEL, number=1, why="test", records=records, created=ws.clock.utc())


def until_answered(ws: Workspace, trip: Cycle, seconds: float = PATIENCE) -> Answer:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = poke(ws, TASK, Config(), trip)
        if not isinstance(answer, Wait):
            return answer
        time.sleep(0.05)
    raise AssertionError("the exam did not end in time")


def test_a_good_candidate_is_done_with_its_exam_and_poking_again_repeats_nothing(
    ws: Workspace, export: Export, write_suite: Suite, make_champion: Callable[[Artifact], Slot]
) -> None:
    write_suite(80)
    make_champion(export("v1.0", rule(80, wrong=4)))
    trip = cycle(ws, export("v1.1", rule(80, wrong=1)))
    first = poke(ws, TASK, Config(), trip)
    assert isinstance(first, Wait)
    answer = until_answered(ws, trip)
    assert isinstance(answer, Done)
    assert "accuracy 98.8% of 80" in answer.note
    exam = find_exam(ws, answer.record)
    assert exam.verdict is not None
    assert exam.champion_exam is not None
    live = find_exam(ws, exam.champion_exam)
    assert live.version == f"{MODEL}@v1.0"
    assert live.suite_digest == exam.suite_digest
    assert live.verdict is not None
    assert {"latency_ratio", "latency_pace"} <= set(exam.verdict.measured)
    assert poke(ws, TASK, Config(), trip) == answer
    with ws.state.read() as tx:
        assert len(find_exams(tx, model=MODEL)) == 2


def test_a_bad_candidate_is_blocked_and_a_named_override_lets_it_through(
    ws: Workspace, export: Export, write_suite: Suite
) -> None:
    write_suite(60)
    trip = cycle(ws, export("v1.1", rule(60, wrong=40)))
    blocked = until_answered(ws, trip)
    assert isinstance(blocked, Stop)
    assert blocked.outcome == "blocked"
    assert blocked.record is not None
    assert "accuracy 33.3% of 60" in blocked.why
    passed = poke(ws, TASK, Config(), replace(trip, options={"override": "Ada: to show the canary"}))
    assert isinstance(passed, Done)
    assert passed.record == blocked.record
    assert "let through by Ada: to show the canary" in passed.note


def test_few_cases_hold_the_cycle_as_inconclusive(ws: Workspace, export: Export, write_suite: Suite) -> None:
    write_suite(20)
    answer = until_answered(ws, cycle(ws, export("v1.1", rule(20))))
    assert isinstance(answer, Stop)
    assert (answer.outcome, "20 cases of at least 50" in answer.why) == ("inconclusive", True)


def test_a_killed_exam_goes_on_where_it_was(ws: Workspace, export: Export, write_suite: Suite) -> None:
    write_suite(60)
    trip = cycle(ws, export("v1.1", {**rule(60), "delay_ms": 100}))
    assert isinstance(poke(ws, TASK, Config(), trip), Wait)
    answers = None
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answers = next(ws.root.rglob("answers.jsonl"), None)
        if answers is not None and answers.read_bytes().count(b"\n") >= 8:
            break
        time.sleep(0.02)
    assert answers is not None
    for pid in working_in(ws.root):
        os.kill(pid, signal.SIGKILL)
    kept = answers.read_bytes().splitlines()
    assert len(kept) < 60
    answer = until_answered(ws, trip)
    assert isinstance(answer, Done)
    assert answers.read_bytes().splitlines()[: len(kept) - 1] == kept[:-1]
    assert find_exam(ws, answer.record).cases == 60


def working_in(root: Path) -> list[int]:
    """Processes that this test began: their command lines name its own temporary folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if str(root) in words:
            found.append(int(entry.name))
    return found


def test_without_an_artifact_there_is_nothing_to_examine(ws: Workspace) -> None:
    answer = poke(ws, TASK, Config(), Cycle(id="cyc_1", model=MODEL, number=1, why="x", created=ws.clock.utc()))
    assert isinstance(answer, Stop)
    assert "nothing to examine" in answer.why


@pytest.mark.parametrize("name", ["poke", "run_exam", "gate", "exam"])
def test_the_room_s_names_lead_somewhere(name: str) -> None:
    import tunekeeper.evaluation as room

    assert getattr(room, name) is not None
    with pytest.raises(AttributeError):
        _ = room.nothing
