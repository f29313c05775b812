from __future__ import annotations

import http.client
import json

import pytest

from tunekeeper.engines.client import call
from tunekeeper.testing.ollama import serving


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/nothing", None, 404),
        ("GET", "/api/create", None, 405),
        ("POST", "/api/show", {"model": "no:v1"}, 404),
        ("POST", "/api/generate", {"model": "no:v1"}, 404),
        ("POST", "/api/copy", {"source": "no:v1", "destination": "b:v1"}, 404),
        ("DELETE", "/api/delete", {"model": "no:v1"}, 404),
        ("GET", "/", None, 200),
        ("HEAD", "/", None, 200),
        ("POST", "/api/show", {}, 400),
        ("GET", "/api/tags", None, 200),
        ("GET", "/api/ps", None, 200),
        ("GET", "/v1/models", None, 200),
        ("HEAD", "/api/blobs/sha256:" + "0" * 64, None, 404),
        ("HEAD", "/api/blobs/sha256:12", None, 400),
    ],
)
def test_paths_answer_with_the_status_of_the_real_one(method: str, path: str, body: dict[str, str] | None, status: int) -> None:
    with serving() as double:
        assert call(method, double.url + path, body)[0] == status


def test_a_body_that_is_no_json_is_refused_and_the_connection_goes_on() -> None:
    with serving() as double:
        connection = http.client.HTTPConnection("127.0.0.1", double.server_port, timeout=60)
        for body, status in ((b"{no", 400), (b"[1]", 400), (b'{"model": "no:v1"}', 404)):
            connection.request("POST", "/api/show", body)
            response = connection.getresponse()
            assert (response.status, "error" in json.loads(response.read())) == (status, True)
        connection.close()


def test_a_scripted_fault_comes_once() -> None:
    with serving() as double:
        double.faults.append(("/api/tags", 500, {"error": "oops"}))
        assert [call("GET", double.url + "/api/tags")[0] for _ in range(2)] == [500, 200]
        assert double.asked == [("GET", "/api/tags", {})] * 2
