from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import make_file
from tests.deployment.test_ollamapackage import make_adapter
from tests.patience import until
from tunekeeper.core.errors import TunekeeperError, UpstreamUnavailable
from tunekeeper.core.ids import digest_file
from tunekeeper.engines import ChatClient
from tunekeeper.engines.client import call, call_json
from tunekeeper.engines.ollama import OllamaServer
from tunekeeper.testing.ollama import OllamaDouble, serving

GO = "{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ end }}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    return make_file(folder / "m.gguf"), make_adapter(folder / "a.gguf", base="sha256:b")


def with_model(double: OllamaDouble, file: Path, name: str = "desk:v1", **more: Any) -> OllamaServer:
    server = OllamaServer(double.url)
    server.send_blob(file, digest_file(file))
    server.create({"model": name, "files": {"m.gguf": digest_file(file)}, "template": GO, **more})
    return server


def refused(double: OllamaDouble, body: dict[str, Any]) -> tuple[int, str]:
    status, said = call("POST", double.url + "/api/create", {"stream": False, **body})
    return status, json.loads(said)["error"]


@pytest.mark.parametrize(("version", "kept"), [("0.12.11", True), ("0.30.0", False)])
def test_blobs_that_no_model_needs_are_gone_after_a_restart(files: tuple[Path, Path], version: str, kept: bool) -> None:
    """From 0.30 on a model needs the copy that was made of its file, not the file."""
    with serving(version=version) as double:
        server = with_model(double, files[0])
        server.send_blob(files[1], digest_file(files[1]))
        server.load("desk:v1")
        double.restart()
        assert [server.has_blob(digest_file(file)) for file in files] == [kept, False]
        assert server.loaded() == ()
        assert server.names() == ("desk:v1",)


def test_what_create_refuses_has_a_real_status_without_a_stream(files: tuple[Path, Path]) -> None:
    with serving() as double:
        server = with_model(double, files[0])
        server.send_blob(files[1], digest_file(files[1]))
        model, adapter = ({f"{n}.gguf": digest_file(file)} for n, file in enumerate(files))
        assert refused(double, {"model": "no name"})[0] == 400
        assert refused(double, {"model": "d:1"}) == (400, "neither 'from' or 'files' was specified")
        assert refused(double, {"model": "d:1", "files": {"/etc/m": "sha256:1"}}) == (400, "file path must be relative")
        assert refused(double, {"model": "d:1", "files": {"m.gguf": "sha256:" + "0" * 64}})[0] == 500
        assert refused(double, {"model": "d:1", "files": {"m": "sha256:" + "0" * 64}}) == (400, "unknown type")
        assert refused(double, {"model": "d:1", "files": {"m.gguf": ""}}) == (400, "invalid digest format")
        assert refused(double, {"model": "d:1", "files": adapter}) == (400, "the file is an adapter")
        assert refused(double, {"model": "d:1", "files": model, "adapters": {**adapter, "b": "sha256:2"}})[0] == 400
        assert refused(double, {"model": "d:1", "files": model, "template": "{{ if }}"})[1].startswith("template error")
        assert "supported types" in refused(double, {"model": "d:1", "files": model, "quantize": "Q5_K_M"})[1]
        assert "reaches no registry" in refused(double, {"model": "d:1", "from": "llama3:8b"})[1]
        assert list(double.models) == ["desk:v1"]


def test_an_error_after_the_first_line_comes_inside_200(files: tuple[Path, Path]) -> None:
    with serving() as double:
        with_model(double, files[0])
        status, body = call("POST", double.url + "/api/create", {"model": "d:1", "files": {"m.gguf": "sha256:" + "0" * 64}})
        lines = [json.loads(line) for line in body.splitlines()]
        assert (status, lines[0]) == (200, {"status": "parsing GGUF"})
        assert "no such file" in lines[-1]["error"]
        assert call("POST", double.url + "/api/create", {"model": "d:1"})[0] == 400


def test_adapters_are_inherited_and_add_up_from_a_model_that_has_one(files: tuple[Path, Path]) -> None:
    with serving() as double:
        server = OllamaServer(double.url)
        server.send_blob(files[1], digest_file(files[1]))
        with_model(double, files[0], adapters={"a.gguf": digest_file(files[1])}, system="S")
        server.create({"model": "desk:v2", "from": "desk:v1", "adapters": {"a.gguf": digest_file(files[1])}})
        assert double.models["desk:v2"].adapters == (digest_file(files[1]),) * 2
        assert (double.models["desk:v2"].template, double.models["desk:v2"].system) == (GO, "S")


def test_the_openai_routes_answer_whole_and_in_pieces_and_stop_where_told(files: tuple[Path, Path]) -> None:
    with serving(lambda prompt, model, options: f"{prompt} one two<end> three") as double:
        with_model(double, files[0], parameters={"stop": ["<end>"]})
        client = ChatClient(double.url, "desk:v1")
        said = client.chat([{"role": "user", "content": "x"}], max_tokens=50, lora=[{"id": 0}])
        assert (said.text, said.finish_reason) == ("[user]x one two", "stop")
        assert client.chat([{"role": "user", "content": "x"}], max_tokens=1).finish_reason == "length"
        assert client.complete("x", max_tokens=50).text == "[user]x one two"
        body = {"model": "desk:v1", "messages": [{"role": "user", "content": "x"}], "stream": True}
        status, stream = call("POST", double.url + "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
        events = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: ")]
        pieces = [json.loads(event) for event in events[:-1]]
        assert (status, events[-1], pieces[-1]["usage"]["completion_tokens"]) == (200, "[DONE]", 3)
        assert "".join(p["choices"][0]["delta"]["content"] for p in pieces[:-1]) == "[user]x one two"
        assert pieces[-2]["choices"][0]["finish_reason"] == "stop"
        status, native = call("POST", double.url + "/api/chat", body)
        lines = [json.loads(line) for line in native.splitlines()]
        assert "".join(line["message"]["content"] for line in lines) == "[user]x one two"
        assert lines[-1]["done_reason"] == "stop"
        with pytest.raises(UpstreamUnavailable, match="not found"):
            ChatClient(double.url, "desk:v9").chat([], max_tokens=1)


def test_one_request_is_answered_at_a_time_and_a_full_queue_is_503(files: tuple[Path, Path]) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(prompt: str, model: Any, options: dict[str, Any]) -> str:
        begun.set()
        go.wait(60)
        return "ok"

    with serving(slow, queue=0) as double:
        with_model(double, files[0])
        client = ChatClient(double.url, "desk:v1")
        first = threading.Thread(target=lambda: client.chat([{"role": "user", "content": "x"}], max_tokens=9))
        first.start()
        try:
            until(begun.is_set)
            with pytest.raises(UpstreamUnavailable, match=r"503.*server busy"):
                client.chat([{"role": "user", "content": "y"}], max_tokens=9)
        finally:
            go.set()
            first.join()


def test_a_model_leaves_memory_when_its_time_is_over(files: tuple[Path, Path]) -> None:
    now = [0.0]
    with serving(now=lambda: now[0]) as double:
        server = with_model(double, files[0])
        for keep_alive, until_gone in (("5m", 300.0), (10, 10.0), ("1h", 3600.0)):
            server.load("desk:v1", keep_alive)
            now[0] += until_gone - 1
            assert server.loaded() == ("desk:v1",)
            now[0] += 2
            assert server.loaded() == ()
        server.load("desk:v1", "1h30m")
        (row,) = call_json("GET", double.url + "/api/ps")["models"]
        assert {"expires_at", "size_vram", "context_length"} <= set(row)
        now[0] += 5399
        assert server.loaded() == ("desk:v1",)
        now[0] += 2
        assert server.loaded() == ()
        with pytest.raises(TunekeeperError, match='invalid duration "soon"'):
            server.load("desk:v1", "soon")
        server.load("desk:v1", "-1")
        ChatClient(double.url, "desk:v1").chat([{"role": "user", "content": "x"}], max_tokens=1)
        now[0] += 1e9
        assert server.loaded() == ("desk:v1",)
        server.load("desk:v1", 0)
        assert server.loaded() == ()


def test_a_name_that_is_deleted_stays_in_memory(files: tuple[Path, Path]) -> None:
    with serving() as double:
        server = with_model(double, files[0])
        server.load("desk:v1")
        assert server.delete("desk:v1")
        assert double.in_memory() == ["desk:v1"]


def test_thoughts_stand_beside_the_answer_where_the_template_has_a_place_for_them(files: tuple[Path, Path]) -> None:
    asked = {"model": "desk:v1", "messages": [{"role": "user", "content": "x"}], "stream": False}
    with serving(lambda prompt, model, options: "<think>\nwell\n</think>\n\nYes.") as double:
        with_model(double, files[0])
        whole = call_json("POST", double.url + "/api/chat", asked)["message"]
        with_model(double, files[0], template=GO + "{{ .Thinking }}")
        told = call_json("POST", double.url + "/api/chat", asked)["message"]
        openai = call_json("POST", double.url + "/v1/chat/completions", asked)["choices"][0]["message"]
    assert whole == {"role": "assistant", "content": "<think>\nwell\n</think>\n\nYes."}
    assert told == {"role": "assistant", "content": "Yes.", "thinking": "well"}
    assert openai == {"role": "assistant", "content": "Yes.", "reasoning": "well"}


def test_the_program_says_where_it_listens_and_ends_when_told() -> None:
    command = [sys.executable, "-m", "tunekeeper.testing.ollama", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        address = json.loads(child.stdout.readline())["listening"]
        assert call_json("GET", address + "/api/version") == {"version": "0.32.15"}
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
