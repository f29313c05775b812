"""The lookup socket: one line each way, bounded, and clear when nobody is there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunekeeper.core.errors import OutsideError
from tunekeeper.store.log.lookups import AT_ONCE, LookupServer, ask


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LookupServer]:
    def find(body_id: str) -> set[str]:
        if body_id == "broken":
            raise OSError(5, "Input/output error")
        return {"one": {"req_1"}, "two": {"req_2", "req_1"}}.get(body_id, set())

    server = LookupServer(tmp_path, find)
    server.start()
    yield server
    server.stop()


def say(server: LookupServer, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(5)
        caller.connect(str(server.path))
        caller.sendall(data)
        return caller.makefile("rb").readline()


@pytest.mark.parametrize(("body_id", "found"), [("one", ["req_1"]), ("two", ["req_1", "req_2"]), ("none", [])])
def test_a_lookup_says_one_several_or_none(server: LookupServer, tmp_path: Path, body_id: str, found: list[str]) -> None:
    assert ask(tmp_path, body_id) == found


@pytest.mark.parametrize("line", [b"{}\n", b"x" * 10_000 + b"\n", b'{"body_id": 3}\n', b"\xff\n"])
def test_what_is_no_question_gets_an_error_line(server: LookupServer, line: bytes) -> None:
    assert "a question is a line" in json.loads(say(server, line))["error"]


def test_a_failure_of_the_index_is_said(server: LookupServer, tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="Input/output error"):
        ask(tmp_path, "broken")


def test_an_absent_keeper_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="does not answer"):
        ask(tmp_path, "x")


def test_callers_beyond_the_limit_are_told_so_and_the_others_still_answered(server: LookupServer, tmp_path: Path) -> None:
    callers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(AT_ONCE)]
    try:
        for caller in callers:
            caller.connect(str(server.path))
            caller.sendall(b'{"body_id":"one"}\n')
            assert json.loads(caller.makefile("rb").readline())["request_ids"] == ["req_1"]
        with pytest.raises(OutsideError, match="busy"):
            ask(tmp_path, "one")
    finally:
        for caller in callers:
            caller.close()
