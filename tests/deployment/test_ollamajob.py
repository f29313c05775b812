"""`deployment.engine: ollama`: the load stage pushes by a job, arms the standby slot and asks its smoke test there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import make_file, make_transcript, trained
from tests.patience import until
from tunekeeper import deployment
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import GateFailed, UpstreamUnavailable
from tunekeeper.core.nouns.deployment import Artifact, Parity
from tunekeeper.core.nouns.retraining import Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.verbs import export_version
from tunekeeper.store.ledgers.artifacts import load_artifact, save_artifact
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.testing.ollama import serving
from tunekeeper.workspace import Workspace, create_workspace

TASK = Model(name="desk", system="Triage the ticket. Answer with JSON.")
CYCLE = Cycle(id="cyc_1", model="desk", number=1, why="test", stage="load", records={"train": "desk@v1.0-x", "export": "art_1"})


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A workspace with a trained version and its file."""
    ws = create_workspace(tmp_path / "data", clock=ManualClock())
    transcript = ws.blobs.put_file(make_transcript(tmp_path / "t.jsonl"))
    digest = ws.blobs.put_file(make_file(tmp_path / "m.gguf", "Q5_K_M"))
    version = Version(
        id="desk@v1.0-x", model="desk", name="v1.0-x", major=1, minor=0, base="b", base_digest="d", transcript=transcript
    )
    with ws.state.write(by="test") as tx:
        save_version(tx, version)
        save_artifact(
            tx, Artifact(id="art_1", model="desk", version=version.id, engine="llamacpp", quantization="Q5_K_M", digest=digest)
        )
    return ws


def poked(ws: Workspace, section: Config) -> Any:
    """What the stage answers once it no longer waits."""

    def poke() -> Any:
        answer = deployment.poke_load(ws, TASK, section, CYCLE)
        return None if isinstance(answer, Wait) else answer

    return until(poke)


def test_the_cycle_pushes_arms_and_smokes_a_version(ws: Workspace) -> None:
    with serving(trained) as double:
        section = Config(engine="ollama", endpoint=double.url, smoke_prompts=3)
        answer = poked(ws, section)
        assert isinstance(answer, Done), answer
        with ws.control.read() as tx:
            slot = load_slot(tx, answer.record)
        assert (slot.id, slot.upstream_model, slot.observed) == ("desk-blue", "desk:v1.0-x", "ready")
        assert double.loaded == {"desk:v1.0-x": float("inf")}
        assert double.models["desk:v1.0-x"].parameters["num_ctx"] == 512
        with ws.state.read() as tx:
            smoke = load_artifact(tx, "art_1").metadata["smoke"]
        assert (smoke["failed"], smoke["empty"]) == (0, 0)


def test_a_version_that_is_not_what_was_trained_stops_the_cycle(ws: Workspace) -> None:
    with serving() as double:
        answer = poked(ws, Config(engine="ollama", endpoint=double.url))
        assert isinstance(answer, Stop)
        assert "weights: only" in answer.why
        assert double.models == {}


def test_a_server_that_is_away_is_waited_for(ws: Workspace) -> None:
    with serving() as double:
        url, port = double.url, double.server_port
    section = Config(engine="ollama", endpoint=url, smoke_prompts=1)
    with pytest.raises(UpstreamUnavailable, match="no Ollama answers"):
        poked(ws, section)
    with serving(trained, port=port):
        assert isinstance(poked(ws, section), Done)


def test_a_file_for_llama_cpp_is_found_again_and_a_parity_block_is_not_pushed(ws: Workspace) -> None:
    section = Config(engine="ollama", quantization="Q5_K_M", endpoint="http://127.0.0.1:9")
    with ws.state.read() as tx:
        artifact = load_artifact(tx, "art_1")
    version = Version(id="desk@v1.0-x", model="desk", name="v1.0-x", major=1, minor=0, base="b", base_digest="d")
    assert export_version(ws, TASK, section, version) == artifact
    with ws.state.write(by="test") as tx:
        save_artifact(tx, dataclasses.replace(artifact, parity=Parity(verdict="block", layer="stop")))
    with pytest.raises(GateFailed, match="blocks at stop"):
        deployment.poke_load(ws, TASK, section, CYCLE)
