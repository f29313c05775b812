"""`tunekeeper export mlflow` and `model import --adapter models:/…` against the double: there and back, no secret anywhere."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Tell
from tests.deployment.mlflow import make_trained
from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_other_base
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.testing.mlflow import Fault, MlflowDouble, serving
from tunekeeper.workspace import create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"
SECRET = "s3cr3t-t0ken-of-mine"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example with a trained version."""
    return make_project(tmp_path / "project", trained=True)


def make_project(folder: Path, *, trained: bool = False) -> Path:
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    ws = create_workspace(folder / ".tunekeeper", project=folder)
    if trained:
        make_trained(ws, folder.parent)
    return folder


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that takes the token only, and the environment that names it."""
    with serving(token=SECRET) as started:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", started.url)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
        yield started


def versions(project: Path) -> list[Version]:
    with create_workspace(project / ".tunekeeper").state.read() as tx:
        return find_versions(tx, model="support-desk")


def bring(tell: Tell, project: Path, uri: str, *more: str, base: Path = BASE) -> Any:
    where = ("--adapter", uri, "--base", base, "--model", "support-desk", "--dir", project)
    return tell("model", "import", *where, *more)


def test_a_version_goes_there_once_and_comes_home_into_another_project(
    project: Path, double: MlflowDouble, tmp_path: Path, tell: Tell
) -> None:
    would = tell("export", "mlflow", "v1.0", "--dir", project, "--dry-run")
    assert would.out.startswith("would register support-desk@v1.0-x as support-desk at http://127.0.0.1")
    made = tell("export", "mlflow", "v1.0", "--dir", project, "--alias", "champion", "--json")
    assert (made.code, made.json["uri"], made.json["created"]) == (0, "models:/support-desk/1", True)
    again = tell("export", "mlflow", "v1.0", "--dir", project)
    assert (again.code, len(double.versions["support-desk"])) == (0, 1)
    assert again.out.startswith("support-desk@v1.0-x was registered already as models:/support-desk/1")
    other = make_project(tmp_path / "other")
    tried = bring(tell, other, "models:/support-desk@champion", "--dry-run")
    assert tried.out == f"models:/support-desk/1 fits {BASE}; nothing was changed\n"
    home = bring(tell, other, "models:/support-desk@champion", "--json")
    assert (home.code, home.json["inspected"]["proven"]) == (0, True)
    (here,), (there,) = versions(project), versions(other)
    first = create_workspace(project / ".tunekeeper").blobs.files(here.adapter or "")
    second = create_workspace(other / ".tunekeeper").blobs.files(there.adapter or "")
    assert first["adapter_model.safetensors"] == second["adapter_model.safetensors"]
    assert there.metadata["imported_from"] == "models:/support-desk/1"
    assert bring(tell, other, "models:/support-desk/1", "--json").json["id"] == there.id


def test_an_adapter_of_another_base_is_refused_by_its_digest(
    project: Path, double: MlflowDouble, tmp_path: Path, tell: Tell
) -> None:
    assert tell("export", "mlflow", "v1.0", "--dir", project).code == 0
    said = bring(tell, project, "models:/support-desk/1", base=make_other_base(tmp_path / "wrong"))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: models:/support-desk/1: the adapter was trained on base sha256:")
    assert said.err.count("\n") == 1
    assert len(versions(project)) == 1


def test_a_damaged_adapter_of_somebody_else_is_refused_by_its_header(
    project: Path, double: MlflowDouble, tmp_path: Path, tell: Tell
) -> None:
    adapter = make_adapter(tmp_path / "theirs")
    double.create_experiment({"name": "theirs"})
    run = double.create_run({"experiment_id": "1"})["run"]["info"]
    double.create_model({"name": "theirs"})
    double.create_version({"name": "theirs", "source": run["artifact_uri"], "run_id": run["run_id"]})
    place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    double.files |= {f"{place}/{path.name}": path.read_bytes() for path in adapter.iterdir()}
    weights = f"{place}/adapter_model.safetensors"
    whole = double.files[weights]
    for data in (whole[:-10], b"\xff" * 8 + whole[8:], b"", b"PK\x03\x04" + whole):
        double.files[weights] = data
        said = bring(tell, project, "models:/theirs/1")
        assert (said.code, said.err.count("\n"), "Traceback" in said.err) == (2, 1, False)
    assert len(versions(project)) == 1
    double.files[weights] = whole
    assert bring(tell, project, "models:/theirs/1").code == 0


@pytest.mark.parametrize(
    ("environ", "code", "sentence"),
    [
        ({"MLFLOW_TRACKING_URI": ""}, 2, "MLFLOW_TRACKING_URI is not set"),
        ({"MLFLOW_TRACKING_URI": "sqlite:///m.db"}, 2, "mlflow server --backend-store-uri"),
        ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, 4, "no MLflow answers at http://127.0.0.1:9"),
        ({"MLFLOW_TRACKING_TOKEN": "wrong"}, 2, "does not let us in: status 401"),
    ],
)
def test_what_is_wrong_is_one_line(
    project: Path,
    double: MlflowDouble,
    monkeypatch: pytest.MonkeyPatch,
    tell: Tell,
    environ: dict[str, str],
    code: int,
    sentence: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for said in (tell("export", "mlflow", "v1.0", "--dir", project), bring(tell, project, "models:/support-desk/1")):
        assert (said.code, said.out, said.err.count("\n")) == (code, "", 1)
        assert sentence in said.err
    told = tell("export", "mlflow", "v1.0", "--dir", project, "--json")
    assert told.json["error"]["exit_code"] == code
    assert tell("export", "mlflow", "v9.9", "--dir", project).code == 2


def test_the_projects_env_file_names_the_server_and_the_environment_wins(
    project: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving(token=SECRET) as double:
        lines = f"MLFLOW_TRACKING_URI={double.url}\nMLFLOW_TRACKING_TOKEN='{SECRET}'\nMLFLOW_EXPERIMENT_NAME=ours\n"
        (project / ".env").write_text(lines)
        made = tell("export", "mlflow", "v1.0", "--dir", project, "--json")
        assert (made.code, made.json["experiment"]) == (0, "ours")
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "another")
        assert tell("export", "mlflow", "v1.0", "--dir", project).code == 2


def test_no_token_or_password_lands_anywhere(
    project: Path, double: MlflowDouble, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    echo = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "no: {authorization}"})
    said: list[str] = []

    def keep(*words: object) -> None:
        told = tell(*words)
        said.extend((told.out, told.err))

    password = "pa55-word/of:mine"
    inside = double.url.replace("//", "//ann:pa55-word%2Fof%3Amine@")
    pair = base64.b64encode(f"ann:{password}".encode()).decode()
    for way in ("token", "password"):
        if way == "password":
            monkeypatch.setenv("MLFLOW_TRACKING_URI", inside)
            double.authorization = f"Basic {pair}"
        for words in (
            ("export", "mlflow", "v1.0"),
            ("model", "import", "--adapter", "models:/support-desk/1", "--base", BASE, "--model", "support-desk"),
        ):
            keep(*words, "--dir", project, "--json")
            keep(*words, "--dir", project)
            for status, body in ((400, echo), (401, echo), (404, "{authorization}"), (500, echo), (302, ""), (0, "")):
                double.faults.append(Fault(part="/", status=status, body=body, location=inside))
                keep(*words, "--dir", project)
            double.faults.clear()
    everything = "".join(said)
    assert "no MLflow answers" in everything
    assert everything.count("was registered already") == 2
    assert everything.count('"version": "v1.') == 2
    stored = b"".join(path.read_bytes() for path in project.rglob("*") if path.is_file())
    received = json.dumps([double.models, double.versions, [run.told() for run in double.runs.values()]], default=str)
    received += b"".join(double.files.values()).decode("latin-1")
    for secret in (SECRET, password, "pa55-word%2Fof", pair):
        assert secret not in everything
        assert secret.encode() not in stored
        assert secret not in received
