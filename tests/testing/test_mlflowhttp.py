from __future__ import annotations

import base64

import httpx
import pytest

from tunekeeper.testing.mlflow import Fault, serving
from tunekeeper.testing.mlflowhttp import API, FILES


def test_it_lets_nobody_in_without_what_it_asks_for() -> None:
    pair = "Basic " + base64.b64encode(b"ann:secret").decode()
    for settings, right in (({"token": "t0k"}, "Bearer t0k"), ({"user": "ann", "password": "secret"}, pair)):
        with serving(**settings) as double:
            for said, status in (("Bearer no", 401), (right, 404)):
                answer = httpx.get(f"{double.url}{API}registered-models/get?name=x", headers={"Authorization": said})
                assert answer.status_code == status


def test_a_fault_comes_once_and_a_late_one_after_the_deed() -> None:
    with serving() as double:
        make = f"{double.url}{API}registered-models/create"
        double.faults = [Fault(part="registered-models/create", status=503, body="busy {authorization}", location="/x")]
        answer = httpx.post(make, json={"name": "desk"}, headers={"Authorization": "Bearer t"})
        assert (answer.status_code, answer.text, answer.headers["location"]) == (503, "busy Bearer t", "/x")
        double.faults = [Fault(part="POST /api/2.0/mlflow/registered", status=0, late=True)]
        with pytest.raises(httpx.TransportError):
            httpx.post(make, json={"name": "desk"})
        assert list(double.models) == ["desk"]


def test_a_file_that_is_cut_comes_half() -> None:
    with serving() as double:
        double.files["1/a"] = b"x" * 1000
        double.faults = [Fault(part=f"GET {FILES}/1/a", status=0)]
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{double.url}{FILES}/1/a")
        assert len(httpx.get(f"{double.url}{FILES}/1/a").content) == 1000
