from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.deployment.checkpoints import edit_json
from tests.deployment.test_verbs import SECTION, TASK, cycle_of, declare, finish, project
from tunekeeper import deployment
from tunekeeper.core.errors import ArtifactError, ConfigError
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.retraining import Done
from tunekeeper.deployment.adapter import open_adapter
from tunekeeper.deployment.apart import write_pair
from tunekeeper.deployment.checkpoint import open_checkpoint, weights_digest
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.slots import arm
from tunekeeper.store.ledgers.artifacts import find_artifacts, load_artifact

APART = dataclasses.replace(SECTION, apart=True)


@pytest.mark.real
def test_versions_of_one_base_share_its_file_and_are_small_and_compared_as_they_are_loaded(made: Path, tmp_path: Path) -> None:
    ws = project(made, tmp_path)
    base = declare(ws, "v0.0-2026-01-05-0examples", None, None, major=0)
    adapter = shutil.copytree(made / "llama" / "adapter", tmp_path / "adapter")
    first = declare(ws, "v1.0-2026-01-05-3examples", adapter, made / "llama" / "transcript.jsonl")
    edit_json(adapter / "adapter_config.json", task_type="CAUSAL_LM", revision="again")  # other bytes, the same weights
    second = declare(ws, "v1.1-2026-01-06-3examples", adapter, made / "llama" / "transcript.jsonl", minor=1)

    answers = [finish(ws, APART, cycle_of(version)) for version in (first, second)]

    assert all(isinstance(answer, Done) for answer in answers), answers
    with ws.state.read() as tx:
        mine, other = (load_artifact(tx, answer.record) for answer in answers if isinstance(answer, Done))
        known: dict[str, Artifact] = {each.version: each for each in find_artifacts(tx, model="desk")}
    assert mine.parity is not None
    assert mine.parity.verdict == "pass"
    assert mine.base == other.base == known[base.id].digest, "and the base on its own is that very file"
    assert mine.digest != mine.base
    assert (mine.bytes or 0) < (known[base.id].bytes or 0)
    assert [path.name for path in ws.path("models/desk/base").glob("*.gguf")] == [Path(mine.metadata["base_file"]).name]
    assert read_gguf(ws.blobs.path(mine.digest or "")).pairs["tunekeeper.base_file"] == mine.base
    assert deployment.export_version(ws, TASK, APART, first, apart=True) == mine
    slot = arm(ws, APART, first, mine, gated=True)
    assert slot.files == {"model": mine.metadata["base_file"], "lora": f"models/desk/adapters/{first.name}.gguf"}
    assert (slot.digest, slot.options["model_digest"], slot.options["mapped"]) == (mine.digest, mine.base, True)
    assert ws.path(slot.files["lora"]).samefile(ws.blobs.path(mine.digest or ""))
    assert arm(ws, APART, base, known[base.id], gated=True).files == {"model": mine.metadata["base_file"]}


@pytest.mark.real
def test_a_version_asked_for_as_one_file_is_merged_although_it_is_served_apart(made: Path, tmp_path: Path) -> None:
    ws = project(made, tmp_path)
    version = declare(ws, "v1.0-2026-01-05-3examples", made / "llama" / "adapter", made / "llama" / "transcript.jsonl")
    answer = finish(ws, APART, cycle_of(version))
    assert isinstance(answer, Done), answer

    again = finish(ws, SECTION, cycle_of(version))

    assert isinstance(again, Done), again
    assert again.record != answer.record
    with ws.state.read() as tx:
        whole = load_artifact(tx, again.record)
    assert whole.base is None
    assert not read_gguf(ws.blobs.path(whole.digest or "")).adapter


def test_a_base_that_is_there_is_taken_and_one_that_is_damaged_is_made_again(made: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(made / "llama" / "base")
    digest = weights_digest(made / "llama" / "base")
    adapter = open_adapter(made / "llama" / "adapter", checkpoint, base_digest=digest)
    kept = tmp_path / "kept" / "base-f16.gguf"
    kept.parent.mkdir()
    asked = {"metadata": {"base_digest": digest, "version": "v1"}}

    first = write_pair(kept, checkpoint, adapter, "f16", tmp_path / "v1.gguf", **asked)  # type: ignore[arg-type]
    assert first.served.model == tmp_path / "base-f16.gguf"
    shutil.move(first.served.model, kept)
    second = write_pair(kept, checkpoint, adapter, "f16", tmp_path / "v2.gguf", **asked)  # type: ignore[arg-type]
    kept.write_bytes(kept.read_bytes()[:-9])
    third = write_pair(kept, checkpoint, None, "f16", tmp_path / "v3.gguf", **asked)  # type: ignore[arg-type]

    assert second.served.model == kept
    assert first.base == second.base == third.base == third.exported.digest
    assert third.served.lora is None
    assert read_gguf(tmp_path / "v2.gguf").adapter


def test_what_can_only_be_merged_is_refused_with_the_way_out(made: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(made / "llama" / "base")
    digest = weights_digest(made / "llama" / "base")
    adapter = open_adapter(made / "llama" / "adapter", checkpoint, base_digest=digest)
    name = next(iter(adapter.parts))
    biased = dataclasses.replace(adapter, replaced={f"{name}.bias": adapter.parts[name].b[:, 0]})

    with pytest.raises(ArtifactError, match=r"v1: a trained bias \(.*\) can only be merged") as refused:
        write_pair(tmp_path / "base.gguf", checkpoint, biased, "f16", tmp_path / "v1.gguf", metadata={"base_digest": digest})

    assert "leave out deployment.apart" in str(refused.value.fix)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["ollama", "vllm"])
def test_servers_that_are_handed_versions_otherwise_refuse_it(engine: str) -> None:
    with pytest.raises(ConfigError, match=f"deployment.apart: {engine} is handed versions in its own way"):
        Config(engine=engine, apart=True)  # type: ignore[arg-type]
