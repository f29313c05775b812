from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import deployment
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.evaluation import Exam, Verdict
from tunekeeper.core.nouns.retraining import Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.loading import SmokeAnswer, judge, prompted
from tunekeeper.engines import serve_temporarily
from tunekeeper.store.ledgers.artifacts import load_artifact, save_artifact
from tunekeeper.store.ledgers.datasets import save_dataset
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import Workspace, create_workspace

TASK = Model(name="desk", system="Answer with JSON.", format={"kind": "json", "fields": {"category": ["billing", "bug"]}})
GOOD, BAD = '{"category": "bug"}', "I do not know."


def world(tmp_path: Path, rule: dict[str, Any]) -> tuple[Workspace, Cycle]:
    """A workspace with a version, its artifact for the fake engine, and a cycle that has come to loading."""
    ws = create_workspace(tmp_path / "data", clock=ManualClock())
    digest = ws.blobs.put_bytes(json.dumps(rule).encode())
    version = Version(id="desk@v1.0", model="desk", name="v1.0", major=1, minor=0, base="b", base_digest="d")
    with ws.state.write(by="test") as tx:
        save_version(tx, version)
        save_artifact(tx, Artifact(id="art_1", model="desk", version=version.id, engine="fake", digest=digest))
    records = {"train": version.id, "export": "art_1"}
    return ws, Cycle(id="cyc_1", model="desk", number=1, why="test", stage="load", records=records)


def load(ws: Workspace) -> Slot:
    with ws.control.read() as tx:
        return load_slot(tx, "desk-blue")


def poked(ws: Workspace, cycle: Cycle) -> Any:
    """Arm, serve the slot as the supervisor would, and poke until the stage is over."""
    waiting = deployment.poke_load(ws, TASK, Config(), cycle)
    assert isinstance(waiting, Wait)
    assert "tunekeeper up" in waiting.why
    with serve_temporarily(load(ws), ws.root) as endpoint:
        deployment.observe_slot(ws, "desk-blue", "ready", endpoint=endpoint, pid=1)
        for _ in range(20):
            answer = deployment.poke_load(ws, TASK, Config(), cycle)
            if not isinstance(answer, Wait):
                return answer
    raise AssertionError("the smoke test never ends")


def test_a_loaded_slot_that_answers_well_is_done(tmp_path: Path) -> None:
    ws, cycle = world(tmp_path, {"default": GOOD})

    answer = poked(ws, cycle)

    assert isinstance(answer, Done)
    assert answer.record == "desk-blue"
    with ws.state.read() as tx:
        smoke = load_artifact(tx, "art_1").metadata["smoke"]
    assert (smoke["failed"], smoke["empty"], smoke["well_formed"]) == (0, 0, smoke["prompts"])


@pytest.mark.parametrize(("rule", "why"), [({"default": BAD}, "have the model's format"), ({"default": ""}, "are empty")])
def test_a_slot_that_answers_badly_stops_the_cycle(tmp_path: Path, rule: dict[str, Any], why: str) -> None:
    ws, cycle = world(tmp_path, rule)

    answer = poked(ws, cycle)

    assert isinstance(answer, Stop)
    assert why in answer.why


def test_a_slot_that_failed_to_load_stops_the_cycle_with_the_reason(tmp_path: Path) -> None:
    ws, cycle = world(tmp_path, {})
    deployment.poke_load(ws, TASK, Config(), cycle)
    deployment.observe_slot(ws, "desk-blue", "failed", reason="truncated file")

    answer = deployment.poke_load(ws, TASK, Config(), cycle)

    assert isinstance(answer, Stop)
    assert "truncated file" in answer.why


def test_a_server_that_went_away_fails_the_smoke_test(tmp_path: Path) -> None:
    ws, cycle = world(tmp_path, {"default": GOOD})
    deployment.poke_load(ws, TASK, Config(), cycle)
    deployment.observe_slot(ws, "desk-blue", "ready", endpoint="http://127.0.0.1:9/v1", pid=1)

    answer = deployment.poke_load(ws, TASK, Config(), cycle)

    assert isinstance(answer, Stop)
    assert "prompts failed" in answer.why


@pytest.mark.parametrize(
    ("outcome", "override", "gated"), [("pass", None, True), ("fail", None, False), ("fail", "Ana: demo", True)]
)
def test_a_slot_is_gated_by_a_passed_exam_or_a_named_override(
    tmp_path: Path, outcome: Any, override: str | None, gated: bool
) -> None:
    ws, cycle = world(tmp_path, {})
    with ws.state.write(by="test") as tx:
        digest = load_artifact(tx, "art_1").digest
        save_exam(
            tx,
            Exam(
                id="exam_1", model="desk", version="desk@v1.0", artifact="art_1", artifact_digest=digest, suite="s",
                suite_digest="d", verdict=Verdict(outcome=outcome),
            ),
        )  # fmt: skip

    deployment.poke_load(ws, TASK, Config(), replace(cycle, options={"override": override} if override else {}))

    assert load(ws).gated is gated


def test_prompts_are_held_out_rows_without_their_answers(tmp_path: Path) -> None:
    from tunekeeper.deployment.loading import smoke_prompts

    ws, cycle = world(tmp_path, {})
    assert smoke_prompts(ws, TASK, cycle, 3)[0][0] == {"role": "system", "content": "Answer with JSON."}
    rows = [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]} for i in range(9)]
    manifest = ws.rows.put({"eval": [json.dumps(row).encode() + b"\n" for row in rows]})
    with ws.state.write(by="test") as tx:
        save_dataset(
            tx,
            DatasetVersion(id="desk/d1", model="desk", number=1, digest="d", examples=9, train=0, eval=9, manifest=manifest),
        )

    assert smoke_prompts(ws, TASK, cycle, 3) == [[{"role": "user", "content": f"q{i}"}] for i in range(3)]


def test_a_few_shot_slot_puts_its_own_messages_first() -> None:
    slot = Slot(id="s", model="m", system="S", messages=({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}))
    asked = [{"role": "system", "content": "other"}, {"role": "user", "content": "q"}]

    assert [m["content"] for m in prompted(slot, asked)] == ["S", "a", "b", "q"]
    assert prompted(Slot(id="s", model="m"), asked) == asked


def test_judging_needs_every_prompt_answered_and_most_well_formed() -> None:
    good = [SmokeAnswer(text=GOOD, ms=ms) for ms in (3.0, 1.0, 2.0, 5.0)]

    assert judge(good, TASK.format) == ("", {"prompts": 4, "failed": 0, "empty": 0, "well_formed": 4, "p50_ms": 3.0})
    assert judge([*good, SmokeAnswer(text=BAD)], TASK.format)[0] == ""
    assert "only 4 of 6" in judge([*good, *[SmokeAnswer(text=BAD)] * 2], TASK.format)[0]
    assert "refused" in judge([*good, SmokeAnswer(text="", error="refused")], TASK.format)[0]
    assert judge([], TASK.format)[0] == "no prompts to send"
