from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from tests.deployment.ollama import make_file
from tunekeeper.core.ids import digest_file
from tunekeeper.engines.client import call, call_json
from tunekeeper.engines.ollama import OllamaServer
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


def test_lines_and_events_have_the_fields_of_the_real_ones(tmp_path: Path) -> None:
    template = "{{ range .Messages }}{{ .Content }}{{ .Thinking }}{{ end }}"
    with serving(lambda prompt, model, options: "<think>so</think>yes") as double:
        server = OllamaServer(double.url)
        file = make_file(tmp_path / "m.gguf")
        server.send_blob(file, digest_file(file))
        server.create({"model": "m:v1", "files": {"m.gguf": digest_file(file)}, "template": template})
        asked = {"model": "m:v1", "messages": [{"role": "user", "content": "Hi"}]}
        lines = [json.loads(line) for line in call("POST", double.url + "/api/chat", asked)[1].splitlines()]
        told = call_json("POST", double.url + "/api/generate", {"model": "m:v1", "prompt": "Hi", "stream": False})
        (row,) = call_json("GET", double.url + "/api/tags")["models"]
        _, chat = call("POST", double.url + "/v1/chat/completions", {**asked, "stream": True})
        _, text = call("POST", double.url + "/v1/completions", {"model": "m:v1", "prompt": "Hi", "stream": True})
    assert [line["message"].get("thinking") or line["message"]["content"] for line in lines] == ["so", "yes", ""]
    assert all("created_at" in line and line["model"] == "m:v1" for line in lines)
    assert [line["done"] for line in lines] == [False, False, True]
    assert {"total_duration", "load_duration", "prompt_eval_count", "eval_count", "eval_duration"} <= lines[-1].keys()
    assert (told["response"], told["thinking"], told["done_reason"]) == ("yes", "so", "stop")
    assert {"modified_at", "details", "digest", "size"} <= row.keys()
    events = [json.loads(event[6:]) for event in (chat + text).decode().split("\n\n") if event.startswith("data: {")]
    assert [event["object"] for event in events] == ["chat.completion.chunk"] * 3 + ["text_completion"] * 2
    assert [event["choices"][0].get("delta", {}).get("reasoning") for event in events] == ["so", None, None, None, None]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, "stop", None, "stop"]
    assert {event["system_fingerprint"] for event in events} == {"fp_ollama"}
    assert [event["id"].partition("-")[0] for event in events] == ["chatcmpl"] * 3 + ["cmpl"] * 2
