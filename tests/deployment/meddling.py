"""A server between client and llama.cpp that changes requests and answers, as a badly set up endpoint does."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tunekeeper.engines.client import base_of, call

Change = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Path and body of a request → the body that is sent on."""


Answered = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Path of a request and the JSON that answers it → what is answered."""


@contextlib.contextmanager
def meddling(endpoint: str, change: Change, answered: Answered = lambda path, said: said) -> Iterator[str]:
    """The address, with `/v1`, of a server that passes every request to `endpoint`, its body and its answer changed."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, said = call("POST", base_of(endpoint) + self.path, change(self.path, body))
            self._pass(status, json.dumps(answered(self.path, json.loads(said))).encode())

        def do_GET(self) -> None:
            self._pass(*call("GET", base_of(endpoint) + self.path))

        def _pass(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
