"""What the doubles of model servers have in common: a life that ends with its block or with SIGTERM, and answers in pieces."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeVar

S = TypeVar("S", bound=ThreadingHTTPServer)


class Double(Protocol):
    """A double that serves."""

    @property
    def url(self) -> str:
        """Its address, `http://127.0.0.1:PORT`."""


@contextmanager
def serving(double: S) -> Iterator[S]:
    """`double` serves while the block lasts."""
    thread = threading.Thread(target=double.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        double.shutdown()
        thread.join()
        double.server_close()


def serve(started: AbstractContextManager[Double]) -> None:
    """Serve until SIGTERM or Ctrl-C; the first line on stdout says where: `{"listening": URL}`."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with started as double:
        print(json.dumps({"listening": double.url}), flush=True)
        ended.wait()


class Pieces(BaseHTTPRequestHandler):
    """Answers whose length is not known when they begin."""

    def _start(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, value: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
