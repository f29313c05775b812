"""Parity at a loaded slot's endpoint, with the real llama.cpp: found, kept on the artifact, and what the gate asks for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import DESK
from tests.deployment.test_vllmslots import armed, artifact_of
from tests.deployment.vllm import make_version
from tests.patience import until
from tunekeeper.cli.app import main
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.deployment import Artifact, Parity, ParityCheck
from tunekeeper.core.nouns.retraining import Model, Stop, Wait
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.liveparity import keep, live_of, measure, poke_live
from tunekeeper.deployment.slots import arm, observe_slot
from tunekeeper.engines import serve_temporarily
from tunekeeper.store.ledgers.artifacts import load_artifact, save_artifact
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.testing.vllm import serving
from tunekeeper.workspace import Workspace, create_workspace

TASK, SECTION = Model(name="desk"), Config(quantization="Q8_0", parity_prompts=2)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


def artifact(ws: Workspace) -> Artifact:
    with ws.state.read() as tx:
        return load_artifact(tx, "art_1")


@pytest.fixture
def loaded(ws: Workspace, made: Path, tmp_path: Path) -> Iterator[tuple[Version, Slot]]:
    """A trained version whose file, with its adapter, is served from a slot."""
    done = export_folder(DESK, made / "desk" / "adapter", "Q8_0", tmp_path / "m.gguf")
    version = Version(
        id="desk@v1.0", model="desk", name="v1.0", major=1, minor=0, base=str(DESK), base_digest=weights_digest(DESK),
        adapter=ws.blobs.put_folder(made / "desk" / "adapter"),
        transcript=ws.blobs.put_file(made / "desk" / "transcript.jsonl"),
    )  # fmt: skip
    parity = Parity(verdict="pass", checks=(ParityCheck(layer="quantization", ok=True, detail="weights alike", n=9),))
    with ws.state.write(by="test") as tx:
        save_version(tx, version)
        save_artifact(
            tx,
            Artifact(
                id="art_1", model="desk", version=version.id, engine="llamacpp", quantization="Q8_0", parity=parity,
                digest=ws.blobs.put_file(Path(done.path)), stop=("<|im_end|>",),
            ),
        )  # fmt: skip
    slot = arm(ws, SECTION, version, artifact(ws), gated=True)
    with serve_temporarily(slot, ws.root) as endpoint:
        yield version, observe_slot(ws, slot.id, "ready", endpoint=endpoint, pid=1)


def poked(ws: Workspace, version: Version, slot: Slot) -> Any:
    """What the stage says once it no longer waits; "passed" for nothing."""

    def poke() -> Any:
        answer = poke_live(ws, TASK, SECTION, version, artifact(ws), slot)
        return None if isinstance(answer, Wait) else answer or "passed"

    return until(poke)


@pytest.mark.real
def test_what_is_found_at_the_endpoint_is_kept_on_the_artifact(ws: Workspace, loaded: tuple[Version, Slot], made: Path) -> None:
    version, slot = loaded

    assert poked(ws, version, slot) == "passed"

    live = live_of(artifact(ws))
    assert live is not None
    assert (live.parity.verdict, live.endpoint, live.name, live.at) == ("pass", slot.endpoint, "v1.0", ws.clock.utc())
    assert [check.layer for check in live.parity.checks] == ["template", "stop", "tokenizer", "quantization", "sampling"]
    assert all(check.n for check in live.parity.checks)
    rev = artifact(ws).rev
    assert measure(ws, SECTION, version, artifact(ws), slot).parity == live.parity
    assert artifact(ws).rev == rev, "nothing is written twice"

    # Answers that training was surer of: the server is not what was trained.
    lines = [json.loads(line) for line in (made / "desk" / "transcript.jsonl").read_text().splitlines()]
    for line in lines:
        line["logprobs"] = [value - 3 for value in line["logprobs"]]
    other = dataclasses.replace(version, transcript=ws.blobs.put_bytes("".join(json.dumps(x) + "\n" for x in lines).encode()))
    stopped = poked(ws, other, slot)
    assert isinstance(stopped, Stop)
    assert (stopped.outcome, "block at quantization" in stopped.why) == ("blocked", True)
    # Borrowed prompts: what was seen of this very file stands for the answers. Without any, there is no evidence.
    borrowing = dataclasses.replace(version, transcript=None)
    assert poked(ws, borrowing, slot) == "passed"
    stopped = poked(ws, dataclasses.replace(borrowing, tokenizer_digest="sha256:0"), slot)
    assert isinstance(stopped, Stop)
    assert stopped.outcome == "inconclusive"

    # Another server took the address: of another file, or with less room.
    aside = dataclasses.replace(slot, files={"model": "models/desk/v0.9.gguf"})
    stopped = poked(ws, version, aside)
    assert isinstance(stopped, Stop)
    assert stopped.why == (
        "parity of desk-blue block at quantization: the server has loaded "
        f"{ws.path('models/desk/v1.0.gguf')}, the slot holds models/desk/v0.9.gguf"
    )
    stopped = poked(ws, version, dataclasses.replace(slot, files={**slot.files, "lora": "models/desk/adapters/v1.0.gguf"}))
    assert isinstance(stopped, Stop)
    assert "the server has loaded no adapter, the slot holds models/desk/adapters/v1.0.gguf" in stopped.why
    stopped = poked(ws, version, dataclasses.replace(slot, options={**slot.options, "context": 4096}))
    assert isinstance(stopped, Stop)
    assert stopped.why.endswith("block at sampling: a request may use 512 tokens there, 1024 are the slot's"), (
        "the model has no more"
    )


def test_a_slot_that_is_not_loaded_or_not_ours_is_not_measured(ws: Workspace) -> None:
    version = Version(id="desk@v1", model="desk", name="v1", major=1, minor=0, base=str(DESK), base_digest="d")
    made = Artifact(id="art_1", model="desk", version=version.id, engine="fake")
    for slot in (Slot(id="a", model="desk", engine="llamacpp"), Slot(id="a", model="desk", engine="fake", observed="ready")):
        with pytest.raises(NotFound, match=r"no loaded llama\.cpp server"):
            measure(ws, SECTION, version, made, slot)
    assert poke_live(ws, TASK, SECTION, version, made, Slot(id="a", model="desk", engine="fake")) is None
    assert live_of(made) is None


def test_a_version_armed_in_vllm_keeps_what_was_found_there(ws: Workspace, tmp_path: Path) -> None:
    version = make_version(ws, tmp_path)
    with serving(DESK) as double:
        slot = armed(ws, version, double)
    live = live_of(artifact_of(ws, version))
    assert live is not None
    assert (live.parity.verdict, live.endpoint, live.name) == ("pass", slot.endpoint, slot.upstream_model)


def test_an_endpoint_s_verdict_is_shown_with_the_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tunekeeper.yaml").write_text("")
    ws = create_workspace(tmp_path / ".tunekeeper", project=tmp_path)
    version = make_version(ws, tmp_path)
    keep(ws, artifact_of(ws, version).id, Parity(verdict="inconclusive", layer="stop"), endpoint="http://a/v1", name="n")
    assert main(["model", "show", "v1.0", "--model", "support-desk", "--dir", str(tmp_path)]) == 0
    assert "parity not compared, at its endpoint inconclusive" in capsys.readouterr().out
