"""`tunekeeper export merge`, and `export vllm` of what must be merged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_version
from tunekeeper.cli.app import main
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.testing.vllm import serving
from tunekeeper.workspace import create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON document of a command."""
    code = main(["export", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example with a version whose adapter vLLM cannot put on."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    make_version(create_workspace(folder / ".tunekeeper", project=folder), tmp_path, dora=True)
    return folder


def test_a_version_and_a_folder_are_merged_verified_and_never_overwritten(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    of_version = ("merge", "v1.0", "--dir", str(project), "--dtype", "bf16", "--out", str(out))
    code, planned = run(capsys, *of_version, "--dry-run")
    assert (code, planned["digest"], out.exists()) == (0, "", False)
    code, made = run(capsys, *of_version)
    assert (code, made["digest"], made["dtype"]) == (0, weights_digest(out), "bf16")
    assert run(capsys, "verify", str(out))[0] == 0
    assert run(capsys, "inspect", str(out))[1]["base_digest"] == made["digest"]
    assert run(capsys, *of_version)[0] == 2
    where = ("merge", "--checkpoint", str(BASE), "--adapter", str(tmp_path / "adapter-v1.0-x"), "--out", str(tmp_path / "two"))
    assert main(["export", *where]) == 0
    assert "wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("merge", "v1.0"), "needs a folder to write"),
        (("merge", "--out", "x"), "needs a VERSION"),
        (("merge", "v1.0", "--checkpoint", "b", "--out", "x"), "not both"),
        (("merge", "v1.0", "--adapter", "a", "--out", "x"), "goes with --checkpoint"),
        (("merge", "--checkpoint", "/nowhere", "--out", "x"), "config.json"),
        (("vllm", "--adapter", "a", "--merged"), "a folder is merged by `export merge`"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = run(capsys, *arguments)
    assert code == 2
    assert said in told["error"]["message"]


def test_an_adapter_of_another_base_exits_2_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = make_adapter(tmp_path / "a", base="sha256:another")
    code, told = run(capsys, "merge", "--checkpoint", str(BASE), "--adapter", str(adapter), "--out", str(tmp_path / "m"))
    assert (code, (tmp_path / "m").exists()) == (2, False)
    assert "was trained on base" in told["error"]["message"]


def test_a_version_that_must_be_merged_says_which_server_to_start_and_is_armed_there(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("vllm", "v1.0", "--dir", str(project))
    with serving(BASE) as users:
        code, told = run(capsys, *asked, "--endpoint", users.url, "--dry-run")
        assert (code, told["error"]["kind"]) == (4, "UpstreamUnavailable")
        assert not list((project / ".tunekeeper" / "models" / "adapters").glob("*merged*"))
        code, told = run(capsys, *asked, "--endpoint", users.url)
        assert code == 4
    folder = next((project / ".tunekeeper" / "models" / "adapters").glob("*-merged-own"))
    assert f"vllm serve {folder}" in told["error"]["fix"]
    with serving(folder, name="desk") as double:
        code, made = run(capsys, *asked, "--endpoint", double.url, "--arm")
        assert (code, made["name"], made["path"], made["proof"]) == (0, "desk", None, "digest")
        assert (made["parity"]["verdict"], made["slot"]) == ("pass", "support-desk-blue")
