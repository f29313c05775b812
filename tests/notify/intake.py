"""A receiver on loopback that answers POSTs as its subclass says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Self


class Intake(HTTPServer):
    """Give `answer` a body; headers have lower-case names."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.extra: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body; what a subclass does not know, nobody does."""
        return 404, b""

    @contextmanager
    def running(self) -> Iterator[Self]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Intake

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, said = self.server.answer({name.lower(): value for name, value in self.headers.items()}, body)
        self.send_response(status)
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""
