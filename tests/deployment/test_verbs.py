from __future__ import annotations

import dataclasses
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import edit_json
from tunekeeper import deployment, jobs
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_bytes, digest_file
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.reference import transcribing
from tunekeeper.store.ledgers.artifacts import find_artifacts, load_artifact
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import Workspace, create_workspace

TASK = Model(name="desk", base="base", format={"kind": "text"})
# Random weights answer chaotically once they are quantized: what is tested here is the way, not the model.
SECTION = Config(quantization="Q8_0", quantized_gap=50.0, quantized_agreement=0.0)


def project(made: Path, folder: Path, plan: str = "llama") -> Workspace:
    shutil.copytree(made / plan / "base", folder / "base")
    return create_workspace(folder / ".tunekeeper", project=folder, clock=ManualClock())


def declare(ws: Workspace, name: str, adapter: Path | None, transcript: Path | None, **fields: Any) -> Version:
    assert ws.project is not None
    base = ws.project / "base"
    version = Version(
        id=f"desk@{name}",
        model="desk",
        name=name,
        major=1,
        minor=0,
        base="base",
        base_digest=weights_digest(base),
        tokenizer_digest=digest_file(base / "tokenizer.json"),
        template_digest=digest_bytes((base / "chat_template.jinja").read_bytes()),
        adapter=ws.blobs.put_folder(adapter) if adapter else None,
        transcript=ws.blobs.put_file(transcript) if transcript else None,
    )
    with ws.state.write(by="test") as tx:
        return save_version(tx, dataclasses.replace(version, **fields))


def finish(ws: Workspace, section: Config, cycle: Cycle) -> Answer:
    """Poke until the stage no longer waits."""
    for _ in range(200):
        answer = deployment.poke(ws, TASK, section, cycle)
        if not isinstance(answer, Wait):
            return answer
        with ws.state.read() as tx:
            from tunekeeper.store.ledgers.jobs import find_jobs

            for row in find_jobs(tx):
                jobs.wait(ws, row.id)
    raise AssertionError("the stage waits for ever")


def cycle_of(version: Version) -> Cycle:
    return Cycle(id="cyc_1", model="desk", number=1, why="test", records={"train": version.id})


@pytest.mark.real
def test_a_version_becomes_an_artifact_with_its_parity_and_the_base_one_beside_it(made: Path, tmp_path: Path) -> None:
    ws = project(made, tmp_path)
    base = declare(ws, "v0.0-2026-01-05-0examples", None, None, major=0)
    version = declare(ws, "v1.0-2026-01-05-3examples", made / "llama" / "adapter", made / "llama" / "transcript.jsonl")

    answer = finish(ws, SECTION, cycle_of(version))

    assert isinstance(answer, Done), answer
    assert "Q8_0" in answer.note
    with ws.state.read() as tx:
        artifact = load_artifact(tx, answer.record)
        everything = find_artifacts(tx, model="desk")
    assert ws.blobs.verify(artifact.digest or "")
    assert artifact.parity is not None
    assert [check.layer for check in artifact.parity.checks if check.ok] == [check.layer for check in artifact.parity.checks]
    assert artifact.stop == ("<|im_end|>",)
    assert {a.version for a in everything} == {base.id, version.id}
    assert finish(ws, SECTION, cycle_of(version)) == answer
    assert deployment.export_version(ws, TASK, SECTION, version) == artifact


@pytest.mark.real
def test_a_version_whose_answers_spell_their_end_is_sent_no_stop_text_and_passes(made: Path, tmp_path: Path) -> None:
    ws = project(made, tmp_path)
    spelt = tmp_path / "transcript.jsonl"
    lines = [json.loads(line) for line in (made / "llama" / "transcript.jsonl").read_text().splitlines()]
    spelt.write_text("".join(json.dumps({**line, "answer": line["answer"] + " <|im_end|>"}) + "\n" for line in lines))
    version = declare(ws, "v1.0-2026-01-05-3examples", made / "llama" / "adapter", spelt)

    answer = finish(ws, SECTION, cycle_of(version))

    assert isinstance(answer, Done), answer
    with ws.state.read() as tx:
        artifact = load_artifact(tx, answer.record)
    assert artifact.stop == ()
    assert artifact.parity is not None
    assert artifact.parity.verdict == "pass", artifact.parity


@pytest.mark.real
def test_a_parity_block_stops_the_cycle_and_names_the_layer(made: Path, tmp_path: Path) -> None:
    ws = project(made, tmp_path)
    wrong = tmp_path / "transcript.jsonl"
    lines = [json.loads(line) for line in (made / "llama" / "transcript.jsonl").read_text().splitlines()]
    wrong.write_text("".join(json.dumps({**line, "rendered": "### " + line["rendered"]}) + "\n" for line in lines))
    version = declare(ws, "v1.0-2026-01-05-3examples", made / "llama" / "adapter", wrong)

    answer = finish(ws, SECTION, cycle_of(version))

    assert isinstance(answer, Stop)
    assert answer.outcome == "blocked"
    assert "blocks at template" in answer.why
    assert answer.record is not None


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "why"),
    [("config.json", None), ("chat_template.jinja", "chat template changed"), ("model.safetensors", "weights changed")],
)
def test_a_base_that_changed_since_training_is_refused(made: Path, tmp_path: Path, file: str, why: str | None) -> None:
    ws = project(made, tmp_path)
    version = declare(ws, "v1.0-2026-01-05-3examples", made / "llama" / "adapter", made / "llama" / "transcript.jsonl")
    target = tmp_path / "base" / file
    if file == "config.json":
        edit_json(target, note="harmless")
    elif file == "model.safetensors":
        shutil.copy(made / "llama3-rope" / "base" / file, target)
        data = bytearray(target.read_bytes())
        data[-1] ^= 1
        target.write_bytes(data)
    else:
        target.write_text(target.read_text() + " ")
    if why is None:
        assert isinstance(finish(ws, SECTION, cycle_of(version)), Done)
        return

    with pytest.raises(ArtifactError, match=why):
        finish(ws, SECTION, cycle_of(version))


def test_the_fake_engine_serves_the_rule_that_a_fake_trainer_left(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / ".tunekeeper", project=tmp_path, clock=ManualClock(datetime(2026, 1, 5, tzinfo=UTC)))
    (tmp_path / "base").mkdir()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "answers.json").write_text('{"answers": {"hi": "hello"}}')
    line = {
        "id": "p0", "messages": [{"role": "user", "content": "hi"}], "rendered": "hi", "prompt_ids": [1], "answer": "hello",
        "answer_ids": [2], "logprobs": [-0.1], "finish_reason": "stop",
    }  # fmt: skip
    (tmp_path / "t.jsonl").write_text(json.dumps(line) + "\n")
    version = Version(
        id="desk@v1.0", model="desk", name="v1.0", major=1, minor=0, base="base", base_digest="sha256:0",
        adapter=ws.blobs.put_folder(adapter), transcript=ws.blobs.put_file(tmp_path / "t.jsonl"),
    )  # fmt: skip
    with ws.state.write(by="test") as tx:
        version = save_version(tx, version)

    answer = deployment.poke(ws, TASK, Config(engine="fake"), cycle_of(version))

    assert isinstance(answer, Done)
    made = deployment.export_version(ws, TASK, Config(engine="fake"), version)
    assert isinstance(made, Artifact)
    assert (made.id, made.engine, made.parity and made.parity.verdict) == (answer.record, "fake", "pass")


@pytest.mark.real
def test_a_version_trained_elsewhere_is_compared_with_its_own_answers_as_soon_as_they_can_be_had(
    made: Path, tmp_path: Path
) -> None:
    ws = project(made, tmp_path)
    version = declare(ws, "v1.0-2026-01-05-0examples", made / "llama" / "adapter", None)
    reference = transcribing(ws, version)
    assert reference is not None
    jobs.cancel(ws, reference.id)
    jobs.wait(ws, reference.id)

    stopped = finish(ws, SECTION, cycle_of(version))

    assert isinstance(stopped, Stop), stopped
    assert stopped.outcome == "inconclusive"
    assert "tunekeeper export parity desk@v1.0-2026-01-05-0examples" in stopped.why
    transcribing(ws, version, again=True)
    jobs.wait(ws, reference.id)
    answer = finish(ws, SECTION, cycle_of(version))
    assert isinstance(answer, Done), answer
    with ws.state.read() as tx:
        parity = load_artifact(tx, answer.record).parity
    assert parity is not None
    assert all(check.ok and check.n for check in parity.checks), parity
    assert finish(ws, SECTION, cycle_of(version)) == answer
