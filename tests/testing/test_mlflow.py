from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tests.testing.mlflowexchanges import API, RECORD, exchanges
from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.engines.client import call
from tunekeeper.testing.mlflow import serving

REAL = os.environ.get("TEST_MLFLOW", "")
"""The python of an environment with mlflow."""


def differing(answered: list[list[Any]]) -> list[list[Any]]:
    """What was not answered as it is on record."""
    recorded = json.loads(RECORD.read_text())
    assert [row[0] for row in answered] == [row[0] for row in recorded]
    return [row for row, wanted in zip(answered, recorded, strict=True) if row != wanted]


def test_it_answers_as_the_real_one_was_recorded() -> None:
    with serving() as double:
        assert differing(exchanges(double.url)) == []


@pytest.mark.skipif(not REAL, reason="TEST_MLFLOW names no python with mlflow (make test-mlflow)")
def test_the_real_one_answers_as_it_was_recorded(tmp_path: Path) -> None:
    with serving() as double:  # a port that was free a moment ago
        port = double.server_port
    command = [REAL, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{tmp_path}/m.db", "--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "out").open("wb") as out:
        environ = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        server = subprocess.Popen([*command, *places], cwd=tmp_path, env=environ, stdout=out, stderr=out)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), seconds=240)
        assert differing(exchanges(f"http://127.0.0.1:{port}")) == []
    finally:
        server.terminate()
        server.wait()


def answers(url: str) -> bool:
    try:
        return call("GET", url)[0] == 200
    except UpstreamUnavailable:
        return False


def test_it_can_be_run_by_itself() -> None:
    command = [sys.executable, "-m", "tunekeeper.testing.mlflow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            url = json.loads(child.stdout.readline())["listening"]
            status, body = call("GET", f"{url}{API}registered-models/get?name=x")
            assert (status, json.loads(body)["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        finally:
            child.terminate()
    assert child.returncode == 0
