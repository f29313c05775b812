from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError, UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ChatClient, healthy, serve_temporarily
from tunekeeper.engines.client import base_of, call
from tunekeeper.engines.engine import engine_of


def read_request(connection: socket.socket) -> None:
    """All of it: what is left unread would turn the hang-up into a reset."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    told = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while told and len(body) < int(told[0].split(b":")[1]):
        piece = connection.recv(65536)
        if not piece:
            return
        body += piece


@pytest.fixture
def raw() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each connection with the given bytes and hangs up; `HANG` keeps it open without a word."""
    answers: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                read_request(connection)
                answer = answers.pop(0) if answers else b""
                if answer == b"HANG":
                    stop.wait(60)
                else:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", answers
    stop.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def reply(body: object, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(data), data)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "RemoteDisconnected"),
        (b"garbage\r\n\r\n", "BadStatusLine"),
        (reply(b"<html>"), "not JSON"),
        (reply({"error": {"message": "Loading\nmodel"}}, "503 Service Unavailable"), "status 503: Loading model"),
        (reply({"error": "too long"}, "400 Bad Request"), "status 400: too long"),
        (reply({"choices": []}), "has no choices"),
        (reply([1]), "has no choices"),
        (reply({"choices": [None]}), "no chat completion"),
        (reply({"choices": {"message": {}}}), "no chat completion"),
        (reply({"choices": [{"message": {"content": ["Hi"]}}]}), "its text is a list"),
        (reply({"choices": [{"message": {"content": "Hi"}}], "usage": [1]}), "no chat completion"),
        (reply(b"[" * 100_000), "not JSON"),
        (reply(b"", "302 Found"), "status 302: it says nothing more"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "IncompleteRead|not JSON"),
    ],
)
def test_whatever_a_server_does_wrong_is_one_error(raw: tuple[str, list[bytes]], answer: bytes, why: str) -> None:
    raw[1].append(answer)

    with pytest.raises(UpstreamUnavailable, match=why):
        ChatClient(raw[0], "m").chat([{"role": "user", "content": "hi"}], max_tokens=1)


def test_a_silent_server_is_left_when_the_time_is_up(raw: tuple[str, list[bytes]]) -> None:
    raw[1].append(b"HANG")
    with pytest.raises(UpstreamUnavailable, match="TimeoutError"):
        ChatClient(raw[0], "m", total=0.3).chat([{"role": "user", "content": "hi"}], max_tokens=1)


def test_a_key_is_sent_without_the_line_end_of_its_file_and_one_that_cannot_be_sent_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models"
        heads: list[bytes] = []

        def answer() -> None:
            with listener.accept()[0] as connection:
                heads.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        assert call("GET", url, api_key="sk-1\n") == (200, b"{}")
        thread.join(60)
    assert b"\r\nAuthorization: Bearer sk-1\r\n" in heads[0]
    for key in ("a\nb", "ключ"):
        with pytest.raises(ConfigError, match="put the key alone into its variable"):
            call("GET", url, api_key=key)


def test_absent_counts_are_none(raw: tuple[str, list[bytes]]) -> None:
    raw[1].append(reply({"choices": [{"message": {"content": None}}]}))

    answer = ChatClient(raw[0], "m").chat([{"role": "user", "content": "hi"}], max_tokens=1)

    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens) == ("", None, None, None)


def test_nobody_there_is_unhealthy_and_unavailable() -> None:
    assert not healthy("http://127.0.0.1:9/v1")
    with pytest.raises(UpstreamUnavailable, match="refused"):
        call("GET", "http://127.0.0.1:9/")


def test_an_endpoint_is_understood_with_and_without_v1() -> None:
    assert base_of("http://127.0.0.1:8080/v1/") == base_of("http://127.0.0.1:8080") == "http://127.0.0.1:8080"
    for wrong in ("localhost:8080", "http://127.0.0.1:99999", "http://127.0.0.1:port", "http://127.0.0.1:0", "http://[::1"):
        with pytest.raises(ConfigError, match="not an http address"):
            base_of(wrong)


def test_answers_come_in_order_and_a_failed_one_is_its_error(tmp_path: Path) -> None:
    (tmp_path / "rule.json").write_text('{"answers": {"a": "1", "b": "2"}}')
    slot = Slot(id="f", model="m", engine="fake", files={"answers": "rule.json"})
    with serve_temporarily(slot, tmp_path) as endpoint:
        client = ChatClient(endpoint, "m")
        asked = [{"messages": [{"role": "user", "content": text}], "max_tokens": 5} for text in "abab"]
        assert [a.text for a in client.chat_many(asked) if not isinstance(a, UpstreamUnavailable)] == ["1", "2", "1", "2"]
    assert all(isinstance(a, UpstreamUnavailable) for a in client.chat_many(asked[:2], concurrency=1))


@pytest.mark.parametrize(
    ("engine", "adapters", "logprobs"), [("openai", False, False), ("vllm", False, True), ("ollama", False, False)]
)
def test_outside_servers_are_asked_what_they_serve(
    raw: tuple[str, list[bytes]], engine: str, adapters: bool, logprobs: bool
) -> None:
    slot = Slot(id="s", model="m", version="v1", engine=engine, upstream_model="base-model")
    raw[1].append(reply({"data": [{"id": "base-model"}]}))

    found = engine_of(slot).probe(raw[0])

    assert (found.models, found.adapters, found.logprobs) == (("base-model",), adapters, logprobs)
    assert engine_of(slot).request_fields(slot) == {"model": "base-model"}
    raw[1].append(reply({}))
    assert healthy(raw[0], engine=engine)


def test_a_list_of_adapters_that_is_none_is_no_adapter(raw: tuple[str, list[bytes]]) -> None:
    raw[1].extend((reply({"data": [{"id": "base-model"}]}), reply({"object": "list"})))

    assert not engine_of(Slot(id="s", model="m", engine="llamacpp")).probe(raw[0]).adapters
