"""`tunekeeper export ollama` against the double: a project's version, a folder, a Modelfile, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import make_artifact, make_file, make_transcript, trained
from tunekeeper.cli.app import main
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.testing.ollama import serving
from tunekeeper.workspace import create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"
NAME = "v1.0-2026-01-05-9examples"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON document of a command."""
    code = main(["export", "ollama", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example with a version, its file and its transcript."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    ws = create_workspace(folder / ".tunekeeper", project=folder)
    transcript = ws.blobs.put_file(make_transcript(tmp_path / "t.jsonl"))
    digest = ws.blobs.put_file(make_file(tmp_path / "made.gguf", "Q5_K_M"))
    version = Version(
        id=f"support-desk@{NAME}", model="support-desk", name=NAME, major=1, minor=0, base="base", base_digest="sha256:b",
        transcript=transcript,
    )  # fmt: skip
    artifact = Artifact(
        id="art_1", model="support-desk", version=version.id, engine="llamacpp", quantization="Q5_K_M", digest=digest
    )
    with ws.state.write(by="test") as tx:
        save_version(tx, version)
        save_artifact(tx, artifact)
    return folder


def test_a_version_is_pushed_under_its_own_name_and_again_without_effect(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(trained) as double:
        where = ("v1.0", "--quant", "q5_k_m", "--dir", str(project), "--endpoint", double.url)
        code, told = run(capsys, *where, "--dry-run")
        assert (code, told["created"], told["dry_run"], double.models) == (0, True, True, {})
        code, made = run(capsys, *where)
        assert (code, made["name"], made["created"]) == (0, f"support-desk:{NAME}", True)
        assert made["verified"] == {"template": "rendered", "prompts": 3, "equal": 3, "agreement": 1.0, "loaded": True}
        assert made["endpoint"] == double.url + "/v1"
        code, again = run(capsys, *where, "--unload")
        assert (code, again["created"], again["sent"], again["verified"]["loaded"]) == (0, False, [], False)
        assert main(["export", "ollama", *where]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"support-desk:{NAME} was there already, the same, verified")
        assert "3 of 3 answers" in said


def test_a_dry_run_of_what_is_not_exported_yet_exports_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "v1.0", "--dir", str(project), "--dry-run")
    assert (code, told) == (0, {"version": "v1.0", "exported": False})


def test_the_server_is_the_one_that_ollama_host_names(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(trained) as double:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{double.server_port}")
        code, made = run(capsys, "v1.0", "--quant", "Q5_K_M", "--dir", str(project), "--name", "desk")
    assert (code, made["name"]) == (0, f"desk:{NAME}")


def test_answers_of_another_model_exit_1_and_leave_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as double:
        code, said = run(capsys, "v1.0", "--quant", "Q5_K_M", "--dir", str(project), "--endpoint", double.url)
        assert (code, said["error"]["kind"], double.models) == (1, "GateFailed", {})
        assert "deleted again" in said["error"]["message"]


def test_a_folder_is_pushed_and_compared_with_a_transcript(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(make_artifact(tmp_path / "a"))
    transcript = str(make_transcript(tmp_path / "t.jsonl"))
    with serving(trained) as double:
        common = ("--artifact", folder, "--name", "desk:v1", "--endpoint", double.url)
        code, made = run(capsys, *common, "--transcript", transcript)
        assert (code, made["verified"]["equal"], list(double.models)) == (0, 3, ["desk:v1"])
        code, said = run(capsys, *common, "--system", "Another prompt.")
        assert (code, said["error"]["exit_code"]) == (2, 2)
        assert "is taken" in said["error"]["message"]


def test_a_modelfile_is_written_without_any_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = str(make_artifact(tmp_path / "a")), tmp_path / "out" / "Modelfile"
    code, told = run(capsys, "--artifact", folder, "--name", "desk:v1", "--modelfile", str(out), "--dry-run")
    assert (code, told["dry_run"], out.exists()) == (0, True, False)
    code, made = run(capsys, "--artifact", folder, "--name", "desk:v1", "--modelfile", str(out))
    assert (code, made["files"]) == (0, [str(out), str(out.parent / "v1.gguf")])
    assert out.read_text().startswith('FROM ./v1.gguf\nTEMPLATE """')
    with serving() as double:
        code, made = run(capsys, "--artifact", folder, "--name", "desk:v1", "--modelfile", str(out), "--endpoint", double.url)
        assert (code, len(made["files"]), list(double.models)) == (0, 2, ["desk:v1"])


def test_a_template_of_ones_own_is_held_to_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, go = str(make_artifact(tmp_path / "a")), tmp_path / "go.txt"
    go.write_text("{{ range .Messages }}{{ .Content }}{{ end }}")
    code, said = run(capsys, "--artifact", folder, "--name", "desk:v1", "--template", str(go))
    assert (code, "where training wrote" in said["error"]["message"]) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "VERSION of the project or --artifact"),
        (["v1.0", "--artifact", "a"], "not both"),
        (["--artifact", "a"], "--name"),
        (["--artifact", "a", "--name", "d:v1"], "serve.json"),
        (["--artifact", "a", "--name", "d:v1", "--quant", "f16"], "go with a VERSION"),
        (["--artifact", "a", "--name", "d:v1", "--template", "none.txt"], "none.txt: cannot be read"),
        (["v1.0", "--transcript", "t"], "its own transcript"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(capsys, *arguments)
    assert code == said["error"]["exit_code"] == 2
    assert why in said["error"]["message"] + (said["error"]["fix"] or "")


def test_a_server_that_is_away_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(make_artifact(tmp_path / "a"))
    with serving() as double:
        url = double.url
    code, said = run(capsys, "--artifact", folder, "--name", "desk:v1", "--endpoint", url)
    assert (code, said["error"]["kind"]) == (4, "UpstreamUnavailable")
    assert "ollama serve" in said["error"]["fix"]


def test_an_armed_version_waits_in_the_standby_slot(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(trained) as double:
        where = ("v1.0", "--quant", "Q5_K_M", "--dir", str(project), "--endpoint", double.url)
        code, made = run(capsys, *where, "--arm")
        assert (code, made["slot"]) == (0, "support-desk-blue")
        assert run(capsys, *where)[1]["slot"] is None
        code, said = run(capsys, *where, "--arm", "--unload")
        assert (code, "stays loaded" in said["error"]["message"]) == (2, True)
