from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError, ConfigError, NotFound, UpstreamUnavailable
from tunekeeper.deployment import mlflowserver
from tunekeeper.deployment.mlflowserver import MlflowServer, Refused
from tunekeeper.testing.mlflow import Fault, serving

SECRET = "s3cr3t-t0ken"


def of(url: str, **environ: str) -> MlflowServer:
    return MlflowServer.of({"MLFLOW_TRACKING_URI": url, **environ})


def test_user_and_password_win_over_a_token_and_may_stand_in_the_address() -> None:
    both = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": SECRET, "MLFLOW_TRACKING_TOKEN": "other"}
    with serving(user="ann", password=SECRET) as double:
        inside = double.url.replace("//", f"//ann:{SECRET}@")
        for server in (of(double.url, **both), of(inside + "/"), of(inside, MLFLOW_TRACKING_TOKEN="other")):
            assert server.find("registered-models/get", {"name": "x"}) is None
            assert server.url == double.url
            assert SECRET not in repr(server)
    with serving(token=SECRET) as double:
        assert of(double.url, MLFLOW_TRACKING_TOKEN=SECRET).find("registered-models/get", {"name": "x"}) is None


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "MLFLOW_TRACKING_URI is not set"),
        ({"MLFLOW_TRACKING_URI": "file:///mlruns"}, r"file: is a store and no server.*folders no more.*migrate-filestore"),
        ({"MLFLOW_TRACKING_URI": "./mlruns"}, r"a folder is a store and no server.*folders no more.*migrate-filestore"),
        ({"MLFLOW_TRACKING_URI": f"postgresql://ann:{SECRET}@db/mlflow"}, "postgresql: is a store and no server"),
        ({"MLFLOW_TRACKING_URI": "http://:80"}, "names no host"),
        ({"MLFLOW_TRACKING_URI": "http://host:port"}, "is not an address"),
        ({"MLFLOW_TRACKING_URI": "http://h", "MLFLOW_REGISTRY_URI": "http://other"}, "MLFLOW_REGISTRY_URI names another"),
        ({"MLFLOW_TRACKING_URI": "http://h", "MLFLOW_HTTP_REQUEST_TIMEOUT": "soon"}, "no number of seconds"),
        (
            {"MLFLOW_TRACKING_URI": "http://h", "MLFLOW_TRACKING_INSECURE_TLS": "true", "MLFLOW_TRACKING_SERVER_CERT_PATH": "x"},
            "contradict each other",
        ),
    ],
)
def test_a_wrong_variable_is_named_in_one_line_without_its_secret(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as found:
        MlflowServer.of(environ)
    assert SECRET not in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        (Fault(part="/", status=401, body="{authorization}"), ConfigError, "does not let us in: status 401"),
        (Fault(part="/", status=403), ConfigError, "export MLFLOW_TRACKING_TOKEN"),
        (Fault(part="/", status=302, location="http://ann:pw@elsewhere/x"), ConfigError, "sends on to http://elsewhere, where"),
        (Fault(part="/", status=404, body="<html>"), ConfigError, "is no MLflow server: status 404"),
        (Fault(part="/", status=200, body="<html>"), ConfigError, "is not answered with JSON"),
        (Fault(part="/", status=200, body="[" * 100_000), ConfigError, "is not answered with JSON"),
        (Fault(part="/", status=503, body="busy"), UpstreamUnavailable, "status 503"),
        (
            Fault(part="/", status=500, body='{"message": "{authorization}"}'),
            UpstreamUnavailable,
            "status 500 at GET .*: Bearer …",
        ),
        (Fault(part="/", status=0), UpstreamUnavailable, "no MLflow answers at"),
        (Fault(part="/", status=400, body='{"error_code": "X", "message": "a\\nb {authorization}"}'), Refused, "a b Bearer …"),
    ],
)
def test_what_goes_wrong_is_one_line_without_the_token(fault: Fault, kind: type[Exception], sentence: str) -> None:
    with serving(token=SECRET) as double:
        server = of(double.url, MLFLOW_TRACKING_TOKEN=SECRET)
        double.faults.append(fault)
        with pytest.raises(kind, match=sentence) as found:
            server.ask("GET", "registered-models/get", query={"name": "x"})
        assert SECRET not in str(found.value)
        assert "\n" not in str(found.value)
        assert "ann:pw" not in str(found.value)


def test_nobody_there_is_said_with_the_address() -> None:
    with serving() as double:
        gone = double.url
    with pytest.raises(UpstreamUnavailable, match=f"no MLflow answers at {gone}: ConnectError"):
        of(gone).ask("GET", "experiments/get-by-name")


def test_a_token_goes_nowhere_but_to_its_address() -> None:
    with serving() as other, serving(token=SECRET) as double:
        double.faults.append(Fault(part="/", status=307, location=f"{other.url}/api"))
        with pytest.raises(ConfigError, match=f"sends on to {other.url}"):
            of(double.url, MLFLOW_TRACKING_TOKEN=SECRET).ask("POST", "runs/search", {})
        assert other.asked == []


def test_an_answer_without_end_and_a_file_beyond_its_bound_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflowserver, "MOST_ANSWER", 1000)
    with serving() as double:
        double.faults.append(Fault(part="/", status=200, body="x" * 200_000))
        with pytest.raises(UpstreamUnavailable, match="was given up"):
            of(double.url).ask("GET", "experiments/get-by-name")
        double.files["big"] = b"x" * 500_000
        with pytest.raises(ArtifactError, match="more than 10 bytes"):
            of(double.url).get(f"{double.url}/api/2.0/mlflow-artifacts/artifacts/big", tmp_path / "big", 10)


def test_pages_are_followed_to_the_end_and_no_further() -> None:
    with serving() as double:
        double.create_experiment({"name": "desk"})
        run = double.create_run({"experiment_id": "1"})["run"]["info"]
        double.create_model({"name": "desk"})
        for _ in range(5):
            double.create_version({"name": "desk", "source": run["artifact_uri"], "run_id": run["run_id"]})
        asked: dict[str, Any] = {"filter": "name='desk'", "max_results": "2"}
        found = [row["version"] for row in of(double.url).pages("GET", "model-versions/search", "model_versions", asked)]
        assert found == ["5", "4", "3", "2", "1"]
        assert len(list(of(double.url).pages("GET", "model-versions/search", "model_versions", asked, most=3))) == 3


def test_what_it_does_not_have_is_not_found() -> None:
    with serving() as double:
        assert of(double.url).find("registered-models/get", {"name": "x"}) is None
        with pytest.raises(NotFound, match="name=x not found"):
            of(double.url).ask("GET", "registered-models/get", query={"name": "x"})
