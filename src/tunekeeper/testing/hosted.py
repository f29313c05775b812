"""Four providers of training in one loopback server: OpenAI's dialect, Together, Mistral and Fireworks, with their states, lists
and errors. Nothing is learned; what was asked is kept to be looked at.

    with Providers() as there:
        there.endpoint("openai")            # for training.backend_options.endpoint; the key is there.key
        there.faults.append(Fault("POST", "/fine_tuning/jobs", "drop"))

A job gets one state further each time it is looked at, unless `hold` keeps it where it is. Standard library only.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tunekeeper.testing import hosteddialects as dialects
from tunekeeper.testing.hostedfireworks import fireworks

DIALECTS = {
    "openai": dialects.openai,
    "together": dialects.together,
    "mistral": dialects.mistral,
    "fireworks": fireworks,
}
PATHS = {"openai": "/openai/v1", "together": "/together/v1", "mistral": "/mistral/v1", "fireworks": "/fireworks/v1"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the next request that fits."""

    method: str
    """Its method."""
    part: str
    """A part of its path."""
    kind: str
    """A status (`500`, `429`, `401` …), `drop` (no answer, nothing done), `late` (done, but the answer is lost) or `page` (done,
    but a proxy's page is the answer)."""
    retry_after: int | None = None
    """Seconds, as the header Retry-After."""


@dataclass(slots=True)
class Asked:
    """One request."""

    method: str
    """GET, POST, PUT."""
    path: str
    """Below the provider's address."""
    query: dict[str, str]
    """Its query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    """As sent."""
    base: str = ""
    """Address of the provider."""

    @property
    def value(self) -> dict[str, Any]:
        """Its JSON object; empty without one."""
        found = json.loads(self.body) if self.body else {}
        return found if isinstance(found, dict) else {}

    def form(self) -> tuple[dict[str, str], str, bytes]:
        """The fields of multipart form data, and the name and content of its file."""
        kind = self.headers.get("content-type", "")
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        fields, name, content = {}, "", b""
        for part in BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts():  # type: ignore[attr-defined]
            raw = bytes(part.get_payload(decode=True) or b"")
            if part.get_filename():
                name, content = str(part.get_filename()), raw
            else:
                fields[str(part.get_param("name", header="content-disposition"))] = raw.decode()
        return fields, name, content


@dataclass(slots=True)
class Providers:
    """The server; use it as a context manager."""

    key: str = "tk-test-key"
    """The only key that is accepted."""
    hold: bool = False
    """Whether jobs stay in the state they are in."""
    slow_files: int = 0
    """Looks at a file before it is processed."""
    fail: str | None = None
    """Why every job fails; None: they succeed."""
    archive: bytes = b""
    """What Together hands out as the adapter."""
    price: float | None = 1.25
    """USD that a job is estimated to cost, where the provider tells."""
    faults: deque[Fault] = field(default_factory=deque)
    """What goes wrong next, each once."""
    asked: list[Asked] = field(default_factory=list)
    """Every request that came."""
    counts: Counter[str] = field(default_factory=Counter)
    """`METHOD /path` → how often something was done for it."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id → what was uploaded: name, content, looks."""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id → provider, body, position in its states."""
    url: str = ""
    """Address of the server."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held by one request at a time."""
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Providers:
        here = self

        class Handler(_Handler):
            there = here

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def endpoint(self, provider: str) -> str:
        """Address of one provider's API."""
        return self.url + PATHS[provider]

    def answer(self, asked: Asked) -> tuple[int, dict[str, str], Any]:
        """(status, headers, JSON value or bytes) for a request."""
        provider = next((name for name, path in PATHS.items() if asked.path.startswith(path)), None)
        if provider is None:
            return 404, {}, {"error": {"message": f"no such address {asked.path}"}}
        asked.base, asked.path = self.endpoint(provider), asked.path.removeprefix(PATHS[provider])
        self.asked.append(asked)
        fault = self._fault(asked)
        if fault is not None and fault.kind == "drop":
            raise ConnectionAbortedError
        if fault is not None and fault.kind not in ("late", "page"):
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return int(fault.kind), headers, dialects.error(provider, int(fault.kind), f"planted {fault.kind}")
        if not asked.path.startswith("/store/") and asked.headers.get("authorization") != f"Bearer {self.key}":
            return 401, {}, dialects.error(provider, 401, "Incorrect API key provided")
        found = DIALECTS[provider](self, asked)
        if found[0] < 400:
            self.counts[f"{asked.method} {asked.path}"] += 1
        if fault is not None and fault.kind == "page":
            return 200, {}, b"<html>Please sign in to the network.</html>"
        if fault is not None:
            raise ConnectionAbortedError
        return found

    def _fault(self, asked: Asked) -> Fault | None:
        for fault in self.faults:
            if fault.method == asked.method and fault.part in asked.path:
                self.faults.remove(fault)
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    there: Providers
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)
        try:
            with self.there.lock:
                status, more, value = self.there.answer(asked)
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(data)), **more}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _do

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
