"""`tunekeeper export`: exact JSON shapes and exit codes, for files from elsewhere and for a project's version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main
from tunekeeper.core.nouns.deployment import Artifact, Parity, ParityCheck
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"
BASE = str(EXAMPLE / "base")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON document of a command."""
    code = main(["export", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_checkpoint_is_exported_inspected_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "m.gguf")

    code, made = run(capsys, "gguf", "--checkpoint", BASE, "--quant", "Q4_K_M", "--out", out)
    assert code == 0
    assert made.keys() >= {"path", "digest", "bytes", "quantization", "fallback_tensors"}
    assert (made["path"], made["quantization"], made["fallback_tensors"]) == (out, "Q4_K_M", [])

    code, seen = run(capsys, "inspect", out)
    assert (code, seen["architecture"], seen["bytes"]) == (0, "qwen2", made["bytes"])
    code, checked = run(capsys, "verify", out)
    assert (code, checked["files"]) == (0, {out: made["digest"]})


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(capsys, "gguf", "--checkpoint", BASE, "--out", str(tmp_path / "m.gguf"), "--dry-run")

    assert (code, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["gguf", "--checkpoint", BASE], "--out FILE"),
        (["gguf", "--checkpoint", BASE, "--quant", "Q3", "--out", "x"], "not known"),
        (["gguf", "v1.0", "--checkpoint", BASE, "--out", "x"], "not both"),
        (["gguf", "v1.0", "--adapter", BASE, "--out", "x"], "go with --checkpoint"),
        (["parity", "--checkpoint", BASE], "--artifact"),
        (["inspect", "nothing.gguf"], "no such file"),
        (["inspect", str(EXAMPLE / "tunekeeper.yaml")], "safetensors"),
        (["verify", BASE + "/model.safetensors"], "sha256"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    monkeypatch.chdir(tmp_path)

    code, said = run(capsys, *arguments)

    assert code == said["error"]["exit_code"] == 2
    assert why in said["error"]["message"] + (said["error"]["fix"] or "")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example with a version and its artifact, whose parity said block."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    ws = create_workspace(folder / ".tunekeeper", project=folder)
    made = export_folder(folder / "base", None, "Q4_K_M", tmp_path / "made.gguf")
    parity = Parity(
        verdict="block", layer="template", checks=(ParityCheck(layer="template", ok=False, detail="character 3", n=4),)
    )
    version = Version(
        id="support-desk@v1.0-2026-01-05-9examples",
        model="support-desk",
        name="v1.0-2026-01-05-9examples",
        major=1,
        minor=0,
        base="base",
        base_digest="sha256:b",
    )
    artifact = Artifact(
        id="art_1",
        model="support-desk",
        version=version.id,
        engine="llamacpp",
        quantization="Q4_K_M",
        digest=ws.blobs.put_file(Path(made.path)),
        bytes=made.bytes,
        parity=parity,
    )
    with ws.state.write(by="test") as tx:
        save_version(tx, version)
        save_artifact(tx, artifact)
    return folder


def test_a_versions_file_is_copied_out(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "v1.0.gguf"

    code, made = run(capsys, "gguf", "v1.0", "--out", str(out), "--dir", str(project))

    assert (code, made["quantization"]) == (0, "Q4_K_M")
    assert out.read_bytes() == (tmp_path / "made.gguf").read_bytes()


def test_a_parity_block_exits_1_and_names_the_layer(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "parity", "support-desk@v1.0-2026-01-05-9examples", "--dir", str(project))

    assert (code, said["verdict"], said["layer"]) == (1, "block", "template")
    assert said["checks"][0]["detail"] == "character 3"
    assert main(["export", "parity", "v1.0", "--dir", str(project)]) == 1
    assert capsys.readouterr().out.startswith("BLOCK at template\n")


def test_an_unknown_version_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "parity", "v9", "--dir", str(project))

    assert (code, said["error"]["kind"]) == (2, "NotFound")
    assert "no version is called 'v9'" in said["error"]["message"]
