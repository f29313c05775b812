"""The lookup socket: one line each way, bounded, and clear when nobody is there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunekeeper.core.errors import OutsideError
from tunekeeper.store.log import lookups
from tunekeeper.store.log.lookups import AT_ONCE, LookupServer, ask


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LookupServer]:
    def find(body_id: str) -> set[str]:
        if body_id == "broken":
            raise OSError(5, "Input/output error")
        return {"one": {"req_1"}, "two": {"req_2", "req_1"}}.get(body_id, set())

    server = LookupServer(tmp_path, find, {"req_1": "desk"}.get)
    server.start()
    yield server
    server.stop()


def say(server: LookupServer, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(60)
        caller.connect(str(server.path))
        caller.sendall(data)
        return caller.makefile("rb").readline()


@pytest.mark.parametrize(("body_id", "found"), [("one", ["req_1"]), ("two", ["req_1", "req_2"]), ("none", [])])
def test_a_lookup_says_one_several_or_none(server: LookupServer, tmp_path: Path, body_id: str, found: list[str]) -> None:
    assert ask(tmp_path, body_id, 60) == found


@pytest.mark.parametrize(("request_id", "model"), [("req_1", "desk"), ("req_2", None)])
def test_a_lookup_says_whose_a_request_is(server: LookupServer, request_id: str, model: str | None) -> None:
    assert json.loads(say(server, json.dumps({"request_id": request_id}).encode() + b"\n"))["model_id"] == model


@pytest.mark.parametrize("line", [b"{}\n", b"x" * 10_000 + b"\n", b'{"body_id": 3}\n', b"\xff\n"])
def test_what_is_no_question_gets_an_error_line(server: LookupServer, line: bytes) -> None:
    assert "a question is a line" in json.loads(say(server, line))["error"]


def test_a_failure_of_the_index_is_said(server: LookupServer, tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="Input/output error"):
        ask(tmp_path, "broken", 60)


def test_an_absent_keeper_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="does not answer"):
        ask(tmp_path, "x")


def test_callers_beyond_the_limit_are_told_so_and_the_others_still_answered(
    server: LookupServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups._Handler, "timeout", 60.0)  # those who came first keep their places
    callers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(AT_ONCE)]
    try:
        for caller in callers:
            caller.connect(str(server.path))
            caller.sendall(b'{"body_id":"one"}\n')
            assert json.loads(caller.makefile("rb").readline())["request_ids"] == ["req_1"]
        with pytest.raises(OutsideError, match="busy"):
            ask(tmp_path, "one", 60)
    finally:
        for caller in callers:
            caller.close()


def test_who_is_told_busy_before_it_asked_still_hears_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    hung_up = threading.Event()

    def question(body_id: str) -> dict[str, str]:
        assert hung_up.wait(60)
        return {"body_id": body_id}

    monkeypatch.setattr(lookups, "Question", question)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "run" / lookups.SOCKET))
        listener.listen()

        def busy() -> None:
            caller, _ = listener.accept()
            caller.sendall(b'{"error":"busy"}\n')
            caller.close()
            hung_up.set()

        thread = threading.Thread(target=busy)
        thread.start()
        with pytest.raises(OutsideError, match="busy"):
            ask(tmp_path, "one", 60)
        thread.join()
