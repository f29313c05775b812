"""`deployment.engine: vllm`: the load stage loads and compares by a job, arms the standby slot and asks its smoke test there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_other_base, make_version
from tests.patience import until
from tunekeeper import deployment
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import ArtifactError, ConfigError, UpstreamUnavailable
from tunekeeper.core.nouns.retraining import Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.slots import unload
from tunekeeper.deployment.verbs import export_version
from tunekeeper.deployment.vllmjob import described, wanted_of
from tunekeeper.engines.engine import key_of
from tunekeeper.store.ledgers.artifacts import load_artifact
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.testing.vllm import serving
from tunekeeper.workspace import Workspace, create_workspace

TASK = Model(name="support-desk", system="Triage the ticket. Answer with JSON.")
CYCLE = Cycle(
    id="cyc_1", model="support-desk", number=1, why="test", stage="load",
    records={"train": "support-desk@v1.0-x", "export": "art_v1.0-x"},
)  # fmt: skip


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


@pytest.fixture
def version(ws: Workspace, tmp_path: Path) -> Version:
    return make_version(ws, tmp_path)


def poked(ws: Workspace, section: Config, cycle: Cycle = CYCLE) -> Any:
    """What the stage answers once it no longer waits."""

    def poke() -> Any:
        answer = deployment.poke_load(ws, TASK, section, cycle)
        return None if isinstance(answer, Wait) else answer

    return until(poke)


def test_the_cycle_loads_arms_and_smokes_a_version(ws: Workspace, version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_VLLM_KEY", "sesame")
    with serving(BASE, name="base", api_key="sesame") as double:
        section = Config(engine="vllm", endpoint=double.url, api_key_env="DESK_VLLM_KEY", smoke_prompts=3)
        answer = poked(ws, section)
        assert isinstance(answer, Done), answer
        with ws.control.read() as tx:
            slot = load_slot(tx, answer.record)
        assert (slot.id, slot.engine, slot.observed) == ("support-desk-blue", "vllm", "ready")
        assert list(double.adapters) == [slot.upstream_model]
        with ws.state.read() as tx:
            smoke = load_artifact(tx, "art_v1.0-x").metadata["smoke"]
        assert (smoke["failed"], smoke["empty"]) == (0, 0)
        unload(ws, slot.id)  # retired, and wanted again by a later cycle
        assert double.adapters == {}
        assert isinstance(poked(ws, section), Done)
        assert list(double.adapters) == [slot.upstream_model]


def test_a_server_with_another_base_stops_the_cycle_in_one_line(ws: Workspace, version: Version, tmp_path: Path) -> None:
    with serving(make_other_base(tmp_path / "other")) as double:
        answer = poked(ws, Config(engine="vllm", endpoint=double.url))
        assert isinstance(answer, Stop)
        assert "serves another base" in answer.why
        assert "\n" not in answer.why
        assert double.adapters == {}
        port = double.server_port
    with serving(BASE, port=port) as double:  # a person has mended it, and tries again
        section = Config(engine="vllm", endpoint=double.url, smoke_prompts=1)
        assert isinstance(poked(ws, section, dataclasses.replace(CYCLE, id="cyc_2")), Done)


def test_a_server_that_is_away_is_waited_for(ws: Workspace, version: Version) -> None:
    with serving(BASE) as double:
        url, port = double.url, double.server_port
    section = Config(engine="vllm", endpoint=url, smoke_prompts=1)
    with pytest.raises(UpstreamUnavailable, match="no vLLM answers"):
        poked(ws, section)
    with serving(BASE, port=port):
        assert isinstance(poked(ws, section), Done)


def test_adapters_are_put_into_the_shared_folder_under_the_server_s_name_for_it(
    ws: Workspace, version: Version, tmp_path: Path
) -> None:
    section = Config(engine="vllm", adapters=str(tmp_path / "shared"), adapters_there="/mnt/adapters")
    asked = described(ws, section, version)
    assert Path(asked["folder"]).parent == tmp_path / "shared"
    assert asked["there"] == f"/mnt/adapters/{Path(asked['folder']).name}"
    assert asked["endpoint"] == "http://127.0.0.1:8000"
    assert json.dumps(described(ws, section, version)) == json.dumps(asked)


def test_an_adapter_that_changed_in_the_shared_folder_is_not_loaded(ws: Workspace, version: Version) -> None:
    asked = described(ws, Config(engine="vllm"), version)
    wanted_of(asked)
    (Path(asked["folder"]) / "adapter_config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="changed since it was put there for vLLM"):
        wanted_of(asked)


def test_a_key_that_is_named_and_not_there_is_said() -> None:
    assert key_of(None) is None
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is empty"):
        key_of("NO_SUCH_KEY")


def test_the_file_that_is_examined_is_not_quantized(ws: Workspace, version: Version) -> None:
    made = export_version(ws, TASK, Config(engine="vllm"), version)
    assert (made.id, made.quantization) == ("art_v1.0-x", "f16")  # found again, not made anew in Q4_K_M
