from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deployment.mlflow import NOW, make_trained
from tunekeeper.core.errors import ArtifactError, ConfigError, NotFound, TunekeeperError, UserError
from tunekeeper.deployment import mlflowfetch
from tunekeeper.deployment.mlflowfetch import Reference, fetched, is_reference, read_reference
from tunekeeper.deployment.mlflowpush import Package, packed, push
from tunekeeper.deployment.mlflowserver import MlflowServer
from tunekeeper.testing.mlflow import Fault, MlflowDouble, serving
from tunekeeper.workspace import create_workspace

GET = "GET /api/2.0/mlflow-artifacts/artifacts/"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    ws = create_workspace(tmp_path / "data")
    return packed(ws, make_trained(ws, tmp_path))


@pytest.fixture
def there(package: Package, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A double with the version registered as models:/desk/1."""
    with serving() as double:
        push(MlflowServer(url=double.url), package, "desk", "exp", tmp_path, now=NOW, alias="champion")
        yield double


def take(double: MlflowDouble, work: Path, text: str = "models:/desk/1") -> dict[str, str]:
    """The files of a registered version, name → digest."""
    with fetched(MlflowServer(url=double.url), read_reference(text), work) as found:
        assert {path.name for path in found.folder.iterdir()} == set(found.files)
        assert found.uri == "models:/desk/1"
        return found.files


def register(double: MlflowDouble, files: dict[str, bytes]) -> None:
    """A version of models:/foreign that somebody else registered."""
    double.create_experiment({"name": "theirs"})
    run = double.create_run({"experiment_id": str(len(double.experiments))})["run"]["info"]
    double.create_model({"name": "foreign"})
    double.create_version({"name": "foreign", "source": run["artifact_uri"], "run_id": run["run_id"]})
    place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    double.files |= {f"{place}/{name}": data for name, data in files.items()}


@pytest.mark.parametrize("text", ["models:/desk/1", "models:/desk/latest", "models:/desk@champion", "models://desk/1"])
def test_what_was_exported_comes_home_by_number_alias_and_latest(
    there: MlflowDouble, package: Package, tmp_path: Path, text: str
) -> None:
    assert is_reference(text)
    assert take(there, tmp_path, text) == package.files
    assert not list(tmp_path.glob(".mlflow-adapter*"))


@pytest.mark.parametrize("text", ["models:/desk", "models:/desk/x", "models:/desk@", "models:/a/b/1", "models:/@x", "models:/"])
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no registered version"):
        read_reference(text)


def test_a_reference_is_told_as_it_is_written() -> None:
    assert [str(read_reference(text)) for text in ("models:/desk/7", "models:/d@x")] == ["models:/desk/7", "models:/d@x"]
    assert read_reference("models:/my%20desk/7") == Reference(name="my desk", number="7")


@pytest.mark.parametrize("text", ["models:/desk/7", "models:/desk@nobody", "models:/none/latest", "models:/none/1"])
def test_what_is_not_there_is_not_found(there: MlflowDouble, tmp_path: Path, text: str) -> None:
    with pytest.raises(NotFound) as found:
        take(there, tmp_path, text)
    assert "\n" not in str(found.value)


def test_half_a_file_another_file_and_a_file_too_large_are_refused_and_leave_nothing(
    there: MlflowDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.rglob("*"))
    name = next(path for path in there.files if path.endswith("model.safetensors"))
    whole = there.files[name]
    for fault in (
        Fault(part=f"{GET}{name}", status=0),
        Fault(part=f"{GET}{name}", status=500),
        Fault(part=f"{GET}{name}", status=404),
    ):
        there.faults.append(fault)
        with pytest.raises(TunekeeperError):
            take(there, tmp_path)
    there.faults.append(Fault(part=f"{GET}{name}", status=200, body="less"))
    with pytest.raises(ArtifactError, match=f"has {len(whole)} bytes there and 4 came"):
        take(there, tmp_path)
    there.files[name] = bytes([whole[0]]) + whole[1:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(ArtifactError, match=r"models:/desk/1: adapter_model\.safetensors is not what was exported"):
        take(there, tmp_path)
    monkeypatch.setitem(mlflowfetch.WANTED, "adapter_model.safetensors", 100)
    with pytest.raises(ArtifactError, match="more than 100 bytes"):
        take(there, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "holds no adapter"),
        ({"MLmodel": b"", "model/config.json": b"{}"}, "holds no adapter"),
        ({"a/adapter_config.json": b"{}", "b/adapter_config.json": b"{}"}, "holds 2 adapters"),
        ({"adapter_config.json": b"{}"}, "holds no adapter_model.safetensors"),
        ({"adapter_config.json": b"{}", "adapter_model.bin": b""}, "only adapter_model.bin, a format that may run code"),
    ],
)
def test_a_version_without_an_adapter_is_refused(tmp_path: Path, files: dict[str, bytes], sentence: str) -> None:
    with serving() as double:
        register(double, files)
        with pytest.raises(ArtifactError, match=sentence):
            take(double, tmp_path, "models:/foreign/1")


def test_an_adapter_in_a_folder_of_somebody_elses_model_is_found_and_nothing_but_it_is_taken(tmp_path: Path) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x", "evil.py": b"", "optimizer.pt": b""}
    with serving() as double:
        register(double, {"MLmodel": b"", **{f"artifacts/peft/{name}": data for name, data in files.items()}})
        with fetched(MlflowServer(url=double.url), read_reference("models:/foreign/1"), tmp_path) as found:
            assert sorted(path.name for path in found.folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        ({"name": "desk", "version": "1", "status": "PENDING_REGISTRATION"}, UserError, "is not ready: PENDING_REGISTRATION"),
        ({"version": "1"}, ConfigError, "does not say what models:/desk/1 is"),
        ([], ConfigError, "does not say what models:/desk/1 is"),
    ],
)
def test_a_version_that_is_not_ready_or_not_told_is_refused(
    there: MlflowDouble, tmp_path: Path, answer: object, kind: type[Exception], sentence: str
) -> None:
    there.faults.append(Fault(part="model-versions/get", status=200, body=json.dumps({"model_version": answer})))
    with pytest.raises(kind, match=sentence):
        take(there, tmp_path)


def test_tags_that_are_no_digests_prove_nothing(there: MlflowDouble, package: Package, tmp_path: Path) -> None:
    for value in ("no json", "[1]", "[" * 100_000, "{}"):
        there.versions["desk"][0]["tags"] = [{"key": "tunekeeper.files", "value": value}, "odd"]
        assert take(there, tmp_path) == package.files
