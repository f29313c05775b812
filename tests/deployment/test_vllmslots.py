from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_version
from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.evaluation import Exam, Verdict
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.slots import reload, unload
from tunekeeper.deployment.verbs import find_artifact
from tunekeeper.deployment.vllmjob import described, wanted_of
from tunekeeper.deployment.vllmload import load
from tunekeeper.deployment.vllmslots import arm, pointed_at
from tunekeeper.engines.vllm import VllmServer
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.testing.vllm import VllmDouble, serving
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data")


def artifact_of(ws: Workspace, version: Version) -> Artifact:
    found = find_artifact(ws, version, "llamacpp", "f16")
    assert found is not None
    return found


def armed(ws: Workspace, version: Version, double: VllmDouble, section: Config = Config(price_in=0.1)) -> Slot:
    asked = described(ws, section, version, endpoint=double.url)
    wanted, references = wanted_of(asked)
    served = load(VllmServer(double.url, double.api_key), wanted, references, Limits())
    return arm(ws, section, version, artifact_of(ws, version), served)


def use(ws: Workspace, **roles: str) -> None:
    with ws.control.write(by="test") as tx:
        save_route(tx, Route(model="support-desk", **roles))


def test_a_verified_version_waits_in_the_standby_slot_and_is_found_again(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with ws.control.write(by="test") as tx:
        save_slot(tx, Slot(id="support-desk-blue", model="support-desk"))
    use(ws, champion="support-desk-blue")
    with serving(BASE, name="base") as double:
        slot = armed(ws, version, double)
        assert (slot.id, slot.engine, slot.endpoint, slot.version) == ("support-desk-green", "vllm", double.url + "/v1", "v1.0-x")
        assert slot.upstream_model == f"support-desk:v1.0-x-{str(version.adapter)[7:15]}"
        assert double.adapters == {slot.upstream_model: slot.options["lora_path"]}
        assert (slot.observed, slot.gated, slot.price_in, slot.files) == ("ready", False, 0.1, {})
        assert armed(ws, version, double) == slot
        assert pointed_at(ws, slot.upstream_model) is False
        use(ws, champion=slot.id)
        assert pointed_at(ws, slot.upstream_model) is True


def test_it_is_gated_when_an_exam_of_its_file_passed(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)

    def sat(name: str, digest: str | None, outcome: Any) -> None:
        exam = Exam(
            id=name, model=version.model, version=version.id, artifact="a", suite="s", suite_digest="d", artifact_digest=digest,
            verdict=Verdict(outcome=outcome),
        )  # fmt: skip
        with ws.state.write(by="test") as tx:
            save_exam(tx, exam)

    with serving(BASE) as double:
        sat("e1", "sha256:other", "pass")
        sat("e2", artifact_of(ws, version).digest, "fail")
        assert armed(ws, version, double).gated is False
        sat("e3", artifact_of(ws, version).digest, "pass")
        assert armed(ws, version, double).gated is True


def test_what_a_slot_held_before_is_unloaded_when_it_is_taken_for_another(ws: Workspace, tmp_path: Path) -> None:
    first, second, third = (make_version(ws, tmp_path, name=f"v1.{n}-x", seed=n) for n in range(3))
    with serving(BASE) as double:
        old = armed(ws, first, double)
        use(ws, champion=old.id)
        middle = armed(ws, second, double)
        assert list(double.adapters) == [old.upstream_model, middle.upstream_model]  # side by side
        new = armed(ws, third, double)
        assert new.id == middle.id
        assert list(double.adapters) == [old.upstream_model, new.upstream_model]


def test_an_idle_slot_is_unloaded_and_loaded_again_from_the_same_folder(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(BASE) as double:
        slot = armed(ws, version, double)
        held = dict(double.adapters)
        gone = unload(ws, slot.id)
        assert (gone.wanted, gone.observed, double.adapters) == ("unloaded", "stopped", {})
        back = reload(ws, slot.id)
        assert (back.wanted, back.observed, double.adapters) == ("loaded", "ready", held)
    assert unload(ws, slot.id).observed == "stopped"  # nobody answers there any more: it is unloaded all the same
    assert reload(ws, slot.id).observed == "ready"
    use(ws, champion=slot.id)
    with pytest.raises(UserError, match="is in use"):
        unload(ws, slot.id)


def test_a_slot_of_the_base_itself_neither_loads_nor_unloads_anything(ws: Workspace, tmp_path: Path) -> None:
    version = dataclasses.replace(make_version(ws, tmp_path), adapter=None, system="Be brief.")
    with serving(BASE, name="base") as double:
        wanted, _ = wanted_of(described(ws, Config(), version, endpoint=double.url))
        served = load(VllmServer(double.url), wanted, [], Limits())
        slot = arm(ws, Config(), version, artifact_of(ws, version), served)
        assert (slot.upstream_model, slot.system, "lora_path" in slot.options) == ("base", "Be brief.", False)
        double.asked.clear()
        unload(ws, slot.id)
        reload(ws, slot.id)
        assert double.asked == []


def test_the_key_of_the_server_is_named_by_the_slot(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_VLLM_KEY", "sesame")
    version = make_version(ws, tmp_path)
    with serving(BASE, api_key="sesame") as double:
        slot = armed(ws, version, double, Config(api_key_env="DESK_VLLM_KEY"))
        assert slot.api_key_env == "DESK_VLLM_KEY"
        unload(ws, slot.id)
        assert double.adapters == {}
