"""What the doubles have in common."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from http.server import ThreadingHTTPServer

import httpx
import pytest

from tunekeeper.testing import loopback

PROGRAM = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tunekeeper.testing import loopback
class Double(ThreadingHTTPServer):
    url = "http://there"
loopback.serve(loopback.serving(Double(("127.0.0.1", 0), BaseHTTPRequestHandler)))
"""


class Handler(loopback.Pieces):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._start("text/event-stream")
        self._event({"text": "é"})
        self._chunk(b"")

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def test_a_double_serves_as_long_as_its_block_and_answers_in_pieces() -> None:
    with loopback.serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as double:
        url = f"http://127.0.0.1:{double.server_address[1]}"
        answer = httpx.get(url)
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.text == 'data: {"text": "é"}\n\n'
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_one_that_runs_alone_says_where_and_ends_when_it_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"listening": "http://there"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
