from __future__ import annotations

import dataclasses
import signal
import threading
from pathlib import Path

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.test_vllmslots import armed
from tests.deployment.vllm import make_other_base, make_version
from tests.patience import until
from tests.processes.test_plans import cli, event
from tunekeeper.core.errors import ArtifactError, UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.slots import unload
from tunekeeper.deployment.vllmkeeper import Keeper, restore
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.testing.vllm import serving
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data")


def slot_of(ws: Workspace, id: str) -> Slot:
    with ws.control.read() as tx:
        return load_slot(tx, id)


def test_a_server_that_began_anew_gets_its_adapters_again(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(BASE) as double:
        armed(ws, version, double)
        held, keeper = dict(double.adapters), Keeper(ws, {})
        double.restart()

        def back() -> bool:
            keeper()
            return double.adapters == held

        assert held
        assert not double.adapters
        until(back)


def test_the_key_of_the_server_goes_along(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(BASE, api_key="sesame") as double:
        slot = armed(ws, version, double, Config(api_key_env="DESK_VLLM_KEY"))
        double.restart()
        assert restore(slot, "sesame") is True
        assert restore(slot, "sesame") is False
        with pytest.raises(UpstreamUnavailable, match="refuses the key"):
            restore(slot, None)


def test_a_server_that_came_back_with_another_base_gets_nothing_and_the_slot_says_so(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(BASE) as double:
        slot, port = armed(ws, version, double), double.server_port
    keeper = Keeper(ws, {})

    def seen(observed: str) -> bool:
        keeper()
        return slot_of(ws, slot.id).observed == observed

    with serving(make_other_base(tmp_path / "other"), port=port) as double:
        until(lambda: seen("failed"))
        assert "and not the" in (slot_of(ws, slot.id).reason or "")
        assert double.adapters == {}
    with serving(BASE, port=port):
        until(lambda: seen("ready"))
        assert slot_of(ws, slot.id).reason is None


def test_the_same_folder_with_other_weights_is_another_base(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(BASE) as double:
        slot = armed(ws, version, double)
    other = make_other_base(tmp_path / "other")
    with serving(other, root=str(other)) as double:
        endpoint = dataclasses.replace(slot, endpoint=double.url, options={**slot.options, "base": str(other)})
        with pytest.raises(ArtifactError, match="and not the"):
            restore(endpoint, None)


def test_a_server_that_is_away_is_not_waited_for(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(BASE) as double:
        slot = armed(ws, version, double)
    keeper = Keeper(ws, {})
    keeper()
    keeper()
    assert slot_of(ws, slot.id) == slot


def test_what_was_unloaded_while_the_server_was_away_is_taken_away_later(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(BASE) as double:
        slot = armed(ws, version, double)
        double.faults.append(("/v1/unload_lora_adapter", 0, None))
        unload(ws, slot.id)
        assert list(double.adapters) == [slot.upstream_model]
        keeper = Keeper(ws, {})

        def gone() -> bool:
            keeper()
            return not double.adapters

        until(gone)
        assert slot_of(ws, slot.id).observed == "stopped"


def test_without_slots_of_a_vllm_nobody_is_asked(ws: Workspace) -> None:
    before = set(threading.enumerate())
    Keeper(ws, {})()
    assert set(threading.enumerate()) <= before, "asking would take a thread"


def test_up_looks_after_it(tmp_path: Path) -> None:
    (tmp_path / "tunekeeper.yaml").write_text("gateway: {port: 0}\nworker: {enabled: false}\n")
    ws = create_workspace(tmp_path / ".tunekeeper", project=tmp_path)
    version = make_version(ws, tmp_path)
    with serving(BASE) as double:
        armed(ws, version, double)
        held = dict(double.adapters)
        double.restart()
        with cli("up", "--dir", str(tmp_path), "--json") as process:
            event(process, "ready")
            until(lambda: double.adapters == held)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
