"""A model server of one page a path, for trying `probe` against what servers say and against what they should not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGES: dict[str, Any] = {
    "/health": {"status": "ok"},
    "/v1/models": {"object": "list", "data": [{"id": "model-a", "object": "model", "owned_by": "somebody"}]},
    "/api/tags": {"models": [{"name": "model-a"}]},
    "/lora-adapters": [],
}
"""Path → JSON, as llama.cpp, Ollama, vLLM and OpenAI-compatible servers answer."""


class Double(ThreadingHTTPServer):
    """Answers GET on loopback by `pages`; what it should not do is scripted in `fault`."""

    daemon_threads = True

    def __init__(self, pages: Mapping[str, Any]) -> None:
        """`pages`: path → JSON."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages = dict(pages)
        self.fault: tuple[int, bytes] | str | None = None
        self.asked: list[tuple[str, str]] = []
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """Its root address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Double

    def do_GET(self) -> None:
        """One page, or the fault."""
        self.server.asked.append((self.path, str(self.headers)))
        fault = self.server.fault
        if fault == "silence":
            self.server.ended.wait(3600)
        if isinstance(fault, str):
            return
        page = self.server.pages.get(self.path.partition("?")[0])
        missing = (404, b'{"error": {"message": "no such path"}}')
        status, body = fault or (missing if page is None else (200, json.dumps(page).encode()))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@contextmanager
def serving(pages: Mapping[str, Any]) -> Iterator[Double]:
    """A double that serves while the block lasts."""
    double = Double(pages)
    thread = threading.Thread(target=double.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        double.ended.set()
        double.shutdown()
        thread.join()
        double.server_close()
