from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.deployment.ollama import SYSTEM, make_artifact, make_file, make_transcript
from tunekeeper.core.errors import ArtifactError, GateFailed, NotFound, UserError
from tunekeeper.core.nouns.deployment import Artifact, Parity
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.modelfile import read
from tunekeeper.deployment.ollamaverbs import named, package_folder, package_version, write_modelfile
from tunekeeper.workspace import Workspace, create_workspace

TASK = Model(name="desk", system="The task's own.", format={})
VERSION = Version(id="desk@v1.0-x", model="desk", name="v1.0-x", major=1, minor=0, base="b", base_digest="d")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data")


def artifact(ws: Workspace, tmp_path: Path) -> Artifact:
    digest = ws.blobs.put_file(make_file(tmp_path / "m.gguf", "Q5_K_M"))
    return Artifact(id="art_1", model="desk", version=VERSION.id, engine="llamacpp", quantization="Q5_K_M", digest=digest)


def test_a_version_is_packed_with_what_it_was_trained_on(ws: Workspace, tmp_path: Path) -> None:
    made = dataclasses.replace(artifact(ws, tmp_path), stop=("<|im_end|>",))
    version = dataclasses.replace(VERSION, transcript=ws.blobs.put_file(make_transcript(tmp_path / "t.jsonl")))
    package = package_version(ws, TASK, Config(context=512), version, made)
    assert (package.name, package.digest, package.quantized) == ("desk:v1.0-x", made.digest, True)
    assert package.parameters == {"stop": ["<|im_end|>"], "repeat_penalty": 1.0, "num_ctx": 512}
    assert (package.system, len(package.references)) == (SYSTEM["content"], 3)
    assert package_version(ws, TASK, Config(), VERSION, made).system == "The task's own."
    few = dataclasses.replace(VERSION, system="Prompted.", messages=({"role": "user", "content": "x"},))
    prompted = package_version(ws, TASK, Config(), few, made, name="other")
    assert (prompted.name, prompted.system) == ("other:v1.0-x", "Prompted.")
    assert prompted.body()["messages"] == [{"role": "user", "content": "x"}]


def test_what_may_not_be_served_is_not_packed(ws: Workspace, tmp_path: Path) -> None:
    made = artifact(ws, tmp_path)
    with pytest.raises(GateFailed, match="parity blocks at template"):
        package_version(ws, TASK, Config(), VERSION, dataclasses.replace(made, parity=Parity(verdict="block", layer="template")))
    with pytest.raises(NotFound, match="no GGUF file"):
        package_version(ws, TASK, Config(), VERSION, dataclasses.replace(made, digest=None))


def test_a_file_that_was_damaged_in_the_store_is_not_packed(ws: Workspace, tmp_path: Path) -> None:
    made = artifact(ws, tmp_path)
    path = ws.blobs.path(made.digest or "")
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        package_version(ws, TASK, Config(), VERSION, made)


def test_a_folder_is_packed_by_its_serve_json(tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "a", stop=["END"], sampling={"temperature": 0.2})
    package = package_folder(folder, name="desk:v1", transcript=make_transcript(tmp_path / "t.jsonl"))
    assert package.parameters == {"stop": ["END"], "repeat_penalty": 1.0, "temperature": 0.2}
    assert package.references


def test_a_version_gets_one_name() -> None:
    assert named(None, VERSION) == "desk:v1.0-x"
    assert named("team/desk", VERSION) == "team/desk:v1.0-x"
    assert named("desk:mine", VERSION) == "desk:mine"
    with pytest.raises(UserError, match="cannot name a version"):
        named("my desk", VERSION)


def test_a_modelfile_lies_beside_the_files_it_names(tmp_path: Path) -> None:
    package = package_folder(make_artifact(tmp_path / "a"), name="desk:v1", system='Say: "yes"\nor no.')
    out = tmp_path / "hand" / "Modelfile"
    assert write_modelfile(package, out) == (out, out.parent / "v1.gguf")
    said = dict(read(out.read_text("utf-8")))
    assert (said["from"], said["system"], said["stop"]) == ("./v1.gguf", 'Say: "yes"\nor no.', "<|im_end|>")
    assert (out.parent / "v1.gguf").read_bytes() == (tmp_path / "a" / "m.gguf").read_bytes()
    broken = dataclasses.replace(package, system='ends """\nhere')
    with pytest.raises(ArtifactError, match="cannot hold"):
        write_modelfile(broken, tmp_path / "none" / "Modelfile")
    assert not (tmp_path / "none").exists()
