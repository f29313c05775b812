"""Versions that vLLM can only serve whole: the folder is made, a server that was started with it is found, compared and armed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.deployment.ollama import BASE
from tests.deployment.test_vllmjob import CYCLE, TASK, poked
from tests.deployment.vllm import make_version
from tests.engines.vllmexchanges import RECORD_WHOLE, exchanges
from tests.engines.vllmreal import SLOW, make_trained, really_serving
from tests.patience import until
from tunekeeper import deployment
from tunekeeper.cli.app import app
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import ArtifactError, GateFailed, UpstreamUnavailable
from tunekeeper.core.nouns.retraining import Done, Wait
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.merging import read_merged
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.reference import base_folder
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.verbs import prompted_base
from tunekeeper.deployment.vllmadapter import Wanted, read_base
from tunekeeper.deployment.vllmjob import described, endpoints_of, wanted_of
from tunekeeper.deployment.vllmkeeper import Keeper, restore
from tunekeeper.deployment.vllmload import load
from tunekeeper.deployment.vllmwhole import make, must_be_started, server_of, why_merged
from tunekeeper.engines import ChatClient, healthy
from tunekeeper.engines.vllm import VLLM, VllmServer
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.testing.contracts import check_engine
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
        ({"bias": "lora_only"}, "trained biases"),
        ({"bias": "none"}, None),
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


# ---- a real one ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def merged(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version with DoRA, as `export merge` writes it."""
    folder = tmp_path_factory.mktemp("merged") / "base"
    done = CliRunner().invoke(
        app,
        [
            "export",
            "merge",
            "--checkpoint",
            str(BASE),
            "--adapter",
            str(trained / "dora"),
            "--dtype",
            "f32",
            "--out",
            str(folder),
        ],
    )
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def real(merged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real vLLM that serves the merged model as `whole`, with its own defaults, as the documentation starts it."""
    with really_serving(merged, "whole", tmp_path_factory.mktemp("vllm"), "--generation-config", "vllm") as url:
        yield url


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
def test_a_real_one_that_serves_a_merged_model_answers_as_recorded(real: str, trained: Path) -> None:
    assert exchanges(real, trained, whole=True) == json.loads(RECORD_WHOLE.read_text())


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
def test_a_real_one_with_a_merged_model_keeps_the_engine_contract(real: str, merged: Path, trained: Path, tmp_path: Path) -> None:
    slot = Slot(id="s", model="desk", engine="vllm", endpoint=f"{real}/v1", upstream_model="whole")
    check_engine(VLLM, tmp_path, slot=slot)
    assert healthy(real, engine="vllm")
    found = VLLM().probe(real)
    assert (found.models, found.logprobs, found.adapters) == (("whole",), True, False)
    answer = ChatClient(real, "whole", total=SLOW - 300).chat([{"role": "user", "content": "hi"}], max_tokens=4)
    assert (answer.finish_reason, answer.completion_tokens) == ("length", 4)
    assert VllmServer(real).holding().root == str(merged)
    with pytest.raises(UpstreamUnavailable, match="takes no adapters"):
        VllmServer(real).load("desk", str(trained / "desk"))


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
def test_a_real_one_answers_with_a_merged_model_as_in_training_and_another_s_answers_are_told_from_it(
    real: str, merged: Path, trained: Path
) -> None:
    wanted = Wanted(base=read_base(merged), name=None, root=str(merged))
    served = load(VllmServer(real), wanted, read_transcript(trained / "dora.jsonl"), Limits(exact_gap=0.01))
    assert served.parity is not None
    assert (served.proof, served.parity.verdict) == ("digest", "pass")
    assert next(check for check in served.parity.checks if check.layer == "merge").value < 1e-3
    with pytest.raises(GateFailed, match="does not answer as it was trained: merge"):
        load(VllmServer(real), wanted, read_transcript(trained / "foreign.jsonl"), Limits(exact_gap=0.01))
    with pytest.raises(ArtifactError, match="serves another base"):
        load(VllmServer(real), Wanted(base=read_base(BASE), name=None, root=str(BASE)), [], Limits(exact_gap=0.01))
