"""`tunekeeper export vllm` against the double: a project's version, an adapter folder, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_other_base, make_transcript, make_version
from tunekeeper.cli.app import main
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.testing.vllm import serving
from tunekeeper.workspace import create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON document of a command."""
    code = main(["export", "vllm", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example with a version."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    make_version(create_workspace(folder / ".tunekeeper", project=folder), tmp_path)
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    made = make_adapter(tmp_path / "adapter")
    make_transcript(tmp_path / "adapter.jsonl", made)
    return made


def test_a_version_is_loaded_compared_and_armed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(BASE, name="base") as double:
        where = ("v1.0", "--dir", str(project), "--endpoint", double.url)
        code, told = run(capsys, *where, "--dry-run")
        assert (code, told["loaded"], told["parity"], double.adapters) == (0, True, None, {})
        code, made = run(capsys, *where, "--arm")
        assert (code, made["slot"], made["parity"]["verdict"], made["proof"]) == (0, "support-desk-blue", "pass", "digest")
        assert list(double.adapters) == [made["name"]]
        with create_workspace(project / ".tunekeeper").control.read() as tx:
            slot = load_slot(tx, "support-desk-blue")
        assert (slot.upstream_model, slot.endpoint, slot.gated) == (made["name"], double.url + "/v1", False)
        assert main(["export", "vllm", *where]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{made['name']} was there already, verified")
        assert "ok   merge: largest gap 0.0000 nats" in said


def test_an_adapter_folder_needs_no_project(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--adapter", str(adapter), "--checkpoint", str(BASE), "--name", "desk:v1")
    with serving(BASE) as double:
        code, made = run(capsys, *where, "--transcript", f"{adapter}.jsonl", "--endpoint", double.url, "--unload")
        assert (code, made["parity"]["verdict"], double.adapters) == (0, "pass", {})
        assert made["name"].startswith("desk:v1-")
        assert main(["export", "vllm", *where, "--endpoint", double.url]) == 0
        assert "answers were not compared" in capsys.readouterr().out


def test_a_server_of_another_base_is_refused_in_one_line(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(make_other_base(tmp_path / "other")) as double:
        where = ("--adapter", str(adapter), "--checkpoint", str(BASE), "--name", "desk:v1", "--endpoint", double.url)
        code, said = run(capsys, *where)
        assert (code, said["error"]["kind"], double.adapters) == (2, "ArtifactError", {})
        assert "serves another base" in said["error"]["message"]


def test_answers_of_another_adapter_exit_1_and_leave_nothing(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_adapter(tmp_path / "two", 2)
    with serving(BASE) as double:
        where = ("--adapter", str(other), "--checkpoint", str(BASE), "--name", "desk:v1", "--endpoint", double.url)
        code, said = run(capsys, *where, "--transcript", f"{adapter}.jsonl")
        assert (code, said["error"]["kind"], double.adapters) == (1, "GateFailed", {})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "needs a VERSION"),
        (("v1.0", "--adapter", "x"), "not both"),
        (("--adapter", "x", "--arm"), "--arm goes with a VERSION"),
        (("--adapter", "x"), "needs the base"),
        (("--adapter", "x", "--checkpoint", str(BASE)), "has no name of its own"),
        (("v1.0", "--name", "x"), "a version has its own base, name and transcript"),
        (("v1.0", "--api-key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY is empty"),
        (("v1.0", "--endpoint", "http://127.0.0.1:9"), "no vLLM answers at"),
        (("v1.0", "--endpoint", "here"), "is not an http address"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line(
    project: Path, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, *arguments, "--dir", str(project))
    assert code in (2, 4)
    assert sentence in said["error"]["message"]
