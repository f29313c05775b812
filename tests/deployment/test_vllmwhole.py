"""Versions that vLLM can only serve whole: the folder is made, a server that was started with it is found, compared and armed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.test_vllmjob import CYCLE, TASK, poked
from tests.deployment.vllm import make_version
from tests.patience import until
from tunekeeper import deployment
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.retraining import Done, Wait
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.merging import read_merged
from tunekeeper.deployment.verbs import base_folder, prompted_base
from tunekeeper.deployment.vllmjob import described, endpoints_of, wanted_of
from tunekeeper.deployment.vllmkeeper import Keeper, restore
from tunekeeper.deployment.vllmwhole import make, must_be_started, server_of, why_merged
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.testing.vllm import serving
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


def slot_of(ws: Workspace, id: str) -> Slot:
    with ws.control.read() as tx:
        return load_slot(tx, id)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"r": 16, "use_rslora": True, "target_modules": ["q_proj"]}, None),
        ({"r": 16, "target_modules": "all-linear"}, None),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "a rank or alpha pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "a rank or alpha pattern"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "a part on the embeddings"),
        ({"r": 1024}, "rank 1024"),
    ],
)
def test_what_vllm_cannot_put_on_is_known_from_the_adapter_s_settings(config: dict[str, Any], why: str | None) -> None:
    assert why_merged(config) == why


def test_the_cycle_merges_waits_for_a_server_and_arms_it(ws: Workspace, tmp_path: Path) -> None:
    make_version(ws, tmp_path, dora=True)
    with serving(BASE) as users:
        section = Config(engine="vllm", endpoint=users.url, smoke_prompts=2)
        told: list[str] = []

        def waits() -> bool:
            answer = deployment.poke_load(ws, TASK, section, CYCLE)
            assert isinstance(answer, Wait), answer
            told.append(answer.why)
            return "vllm serve" in answer.why

        until(waits)
        assert "DoRA: a whole model needs a server of its own" in told[-1]
        folder = next(ws.path("models", "adapters").glob("*-merged-own"))
        assert users.adapters == {}
        with serving(folder, name="whole") as second:
            section = dataclasses.replace(section, standby_endpoint=second.url)
            answer = poked(ws, section)
            assert isinstance(answer, Done), answer
            slot = slot_of(ws, answer.record)
            assert (slot.version, slot.endpoint, slot.upstream_model) == ("v1.0-x", second.url + "/v1", "whole")
            assert "lora_path" not in slot.options


def test_a_whole_checkpoint_needs_no_merging_and_is_no_prompted_base(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path, full=True)
    assert prompted_base(ws, "support-desk") is None
    asked = described(ws, Config(engine="vllm"), version)
    assert (asked["name"], asked["merge"], asked["weights"]) == (None, None, None)
    assert weights_digest(base_folder(ws, version)) == weights_digest(Path(asked["whole"]))
    with serving(Path(asked["whole"])) as double:
        section = Config(engine="vllm", endpoint=double.url, smoke_prompts=1)
        assert isinstance(poked(ws, section), Done)


def test_a_server_that_comes_back_with_another_model_serves_nobody_of_the_old_one(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path, full=True)
    folder = Path(described(ws, Config(engine="vllm"), version)["whole"])
    with serving(folder, name="desk") as double:
        answer = poked(ws, Config(engine="vllm", endpoint=double.url, smoke_prompts=1))
        slot, port = slot_of(ws, answer.record), double.server_port
        assert restore(slot, None) is False
    with ws.control.write(by="test") as tx:
        save_route(tx, Route(model="support-desk", champion=slot.id))
    other = make_version(ws, tmp_path, name="v1.1-y", seed=2, full=True)
    second = Path(described(ws, Config(engine="vllm"), other)["whole"])
    with serving(second, name="desk", port=port):
        keeper = Keeper(ws, {})

        def failed() -> bool:
            keeper()
            return slot_of(ws, slot.id).observed == "failed"

        until(failed)
        assert "v1.0-x" in str(slot_of(ws, slot.id).reason)
        cycle = dataclasses.replace(CYCLE, records={"train": other.id, "export": "art_v1.1-y"})
        answer = poked(ws, Config(engine="vllm", endpoint=double.url, smoke_prompts=1), cycle)
        assert isinstance(answer, Done), answer
        assert slot_of(ws, slot.id).version == "v1.0-x", "the champion's slot is not given to what was never let through"


def test_the_server_sees_the_folder_under_its_own_name(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path, dora=True)
    shared = Config(engine="vllm", adapters=str(tmp_path / "shared"), adapters_there="/mnt", merged_dtype="bf16")
    asked = described(ws, shared, version)
    assert asked["there"] == f"/mnt/{Path(asked['whole']).name}"
    made = make(asked)
    assert (made.dtype, make(asked)) == ("bf16", made), "found again"
    assert wanted_of(asked)[0].root == asked["there"]
    with serving(Path(asked["whole"]), root=asked["there"]) as double, serving(BASE) as other:
        assert server_of(["http://127.0.0.1:9", other.url, double.url], asked, None) == double.url
        assert server_of([other.url], asked, None) is None
    assert f"vllm serve {asked['there']}" in str(must_be_started(asked, ["http://a"]))
    assert endpoints_of(Config(endpoint="http://a", standby_endpoint="http://b")) == ["http://a", "http://b"]
    assert endpoints_of(Config(standby_endpoint="http://b"), "http://c") == ["http://c"]


def test_a_merged_folder_of_something_else_or_damaged_is_not_served(ws: Workspace, tmp_path: Path) -> None:
    asked = described(ws, Config(engine="vllm"), make_version(ws, tmp_path, dora=True))
    make(asked)
    with pytest.raises(ArtifactError, match="merged from another base or adapter"):
        make({**asked, "digest": "sha256:0"})
    assert json.loads((Path(asked["whole"]) / "tunekeeper.json").read_text())["merged"]["base_digest"] == weights_digest(BASE)
    (Path(asked["whole"]) / "model.safetensors").write_bytes(b"x")
    for check in (make, wanted_of, lambda given: read_merged(Path(given["whole"]))):
        with pytest.raises(ArtifactError, match="changed or damaged"):
            check(asked)


def test_an_adapter_is_merged_where_that_is_asked_for(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    assert described(ws, Config(engine="vllm"), version)["whole"] is None
    for asked in (described(ws, Config(merged=True), version), described(ws, Config(), version, merged=True)):
        assert (asked["merge"]["why"], asked["name"]) == ("asked for", None)
