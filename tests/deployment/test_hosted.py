"""A model that stays at the provider that trained it: artifact, slot, exam entrant and the stages of a cycle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper import deployment
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.evaluation import Exam, Verdict
from tunekeeper.core.nouns.retraining import Cycle, Done, Model
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.verbs import poke, prompted_base
from tunekeeper.engines import serve_temporarily
from tunekeeper.evaluation.config import Config as Judging
from tunekeeper.evaluation.entrants import entrant_of, rival
from tunekeeper.store.ledgers.artifacts import find_artifacts
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import load_version, save_version
from tunekeeper.workspace import Workspace, create_workspace

TASK = Model(name="desk", system="Answer with JSON.", format={"kind": "json", "fields": {"category": ["billing", "bug"]}})
HOSTED = {"trained_by": "openai", "job": "ftjob-1", "hosted": "ft:tiny:acme:desk:1", "api_key_env": "OPENAI_API_KEY"}
SUITE = {"suite": "core", "suite_digest": "sha256:s"}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


def hosted(ws: Workspace, endpoint: str = "http://127.0.0.1:9/v1") -> Version:
    version = Version(
        id="desk@v1.0", model="desk", name="v1.0", major=1, minor=0, base="openai:tiny", base_digest="d", metadata=HOSTED
    )
    with ws.state.write(by="test") as tx:
        return save_version(tx, replace(version, metadata={**HOSTED, "endpoint": endpoint}))


def slots(ws: Workspace) -> list[Slot]:
    with ws.control.read() as tx:
        return find_slots(tx, model="desk")


def test_export_declares_an_endpoint_in_place_of_a_file_once(ws: Workspace) -> None:
    hosted(ws)
    cycle = Cycle(id="cyc_1", model="desk", number=1, why="test", stage="export", records={"train": "desk@v1.0"})
    done = poke(ws, TASK, Config(), cycle)
    assert isinstance(done, Done)
    assert "no parity" in done.note
    assert poke(ws, TASK, Config(), cycle) == done
    with ws.state.read() as tx:
        (artifact,) = find_artifacts(tx, model="desk")
    (slot,) = slots(ws)
    assert (artifact.hosted, artifact.digest, artifact.parity) == (HOSTED["hosted"], None, None)
    assert (slot.endpoint, slot.upstream_model, slot.api_key_env) == (
        "http://127.0.0.1:9/v1",
        HOSTED["hosted"],
        "OPENAI_API_KEY",
    )
    assert (slot.observed, slot.gated) == ("ready", False)


def test_it_is_examined_at_its_endpoint_and_is_nobodys_prompted_baseline(ws: Workspace) -> None:
    version = hosted(ws)
    made = deployment.export_version(ws, TASK, Config(), version)
    assert isinstance(made, Artifact)
    entrant = entrant_of(ws, "desk", "v1.0", Judging())
    assert (entrant.slot.endpoint, entrant.artifact, entrant.digest) == ("http://127.0.0.1:9/v1", made.id, None)
    assert prompted_base(ws, "desk") is None
    assert rival(ws, "desk", "desk@v1.1", Judging()) is None


def test_its_slot_is_smoke_tested_and_gated_by_an_exam_of_its_own_alone(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    digest = ws.blobs.put_bytes(json.dumps({"default": '{"category": "bug"}'}).encode())
    files = {"model": str(ws.blobs.path(digest).relative_to(ws.root))}
    server = Slot(id="there", model="desk", engine="fake", digest=digest, files=files)
    with serve_temporarily(server, ws.root) as endpoint:
        made = deployment.export_version(ws, TASK, Config(), hosted(ws, endpoint))
        assert isinstance(made, Artifact)
        other = Exam(id="exam_1", model="desk", version="desk@v0", artifact="art_other", artifact_digest=None, **SUITE)
        _judged(ws, other)
        records = {"train": "desk@v1.0", "export": made.id}
        cycle = Cycle(id="cyc_1", model="desk", number=1, why="test", stage="load", records=records)
        assert isinstance(_poked(ws, cycle), Done)
        assert [slot.gated for slot in slots(ws)] == [False]
        _judged(ws, replace(other, id="exam_2", version="desk@v1.0", artifact=made.id))
        assert isinstance(_poked(ws, cycle), Done)
        assert [slot.gated for slot in slots(ws)] == [True]
        deployment.export_version(ws, TASK, Config(), hosted_again(ws))
        assert [slot.gated for slot in slots(ws)] == [True], "declaring it again takes nothing away"


def hosted_again(ws: Workspace) -> Version:
    with ws.state.read() as tx:
        return load_version(tx, "desk@v1.0")


def _judged(ws: Workspace, exam: Exam) -> None:
    verdict = Verdict(outcome="pass", reasons=(), rules=(), subject=exam.version)
    with ws.state.write(by="test") as tx:
        save_exam(tx, replace(exam, state="done", verdict=verdict))


def _poked(ws: Workspace, cycle: Cycle) -> object:
    answer: object = None
    for _ in range(20):
        answer = deployment.poke_load(ws, TASK, Config(), cycle)
        if isinstance(answer, Done):
            break
    return answer
