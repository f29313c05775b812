"""The HTTP side of the MLflow double: paths, files, faults, and errors in MLflow's words."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from tunekeeper.testing.mlflow import Fault, MlflowDouble

API = "/api/2.0/mlflow/"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


class Wrong(Exception):
    """What MLflow refuses."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """`code`: MLflow's error code."""
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def missing(message: str) -> Wrong:
    """What it does not have."""
    return Wrong(404, "RESOURCE_DOES_NOT_EXIST", message)


def invalid(message: str) -> Wrong:
    """What it does not take."""
    return Wrong(400, "INVALID_PARAMETER_VALUE", message)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: MlflowDouble
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        """What is asked for."""
        self._route()

    def do_POST(self) -> None:
        """What is changed."""
        self._route()

    def do_PUT(self) -> None:
        """A file."""
        self._route()

    def _route(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        double = self.server
        with double.lock:
            headers = {key.lower(): value for key, value in self.headers.items()}
            double.asked.append((self.command, self.path, headers))
            fault = self._fault(f"{self.command} {parts.path}")
            if fault is not None and not fault.late:
                return self._fail(fault, parts.path)
            if double.authorization and headers.get("authorization") != double.authorization:
                return self._send(401, b"You are not authenticated. Please see https://www.mlflow.org/docs", kind="text/html")
            try:
                status, data, kind = self._act(parts.path, dict(parse_qsl(parts.query)), body)
            except Wrong as wrong:
                told = {"error_code": wrong.code, "message": wrong.message}
                status, data, kind = wrong.status, json.dumps(told).encode(), "application/json"
            if fault is not None:
                return self._fail(fault, parts.path)
            return self._send(status, data, kind=kind)

    def _fault(self, what: str) -> Fault | None:
        for fault in self.server.faults:
            if fault.part in what:
                if fault.after:
                    fault.after -= 1
                    return None
                self.server.faults.remove(fault)
                return fault
        return None

    def _act(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        """(status, body, content type)."""
        if path == FILES and self.command == "GET":
            return 200, json.dumps(self._listed(query.get("path", "")), indent=2).encode(), "application/json"
        if path.startswith(FILES + "/"):
            return self._file(unquote(path.removeprefix(FILES + "/")), body)
        act = _routes(self.server).get(f"{self.command} {path.removeprefix(API)}") if path.startswith(API) else None
        if act is None:
            return 404, b"<!doctype html>\n<title>404 Not Found</title>\n", "text/html"
        asked = json.loads(body) if self.command == "POST" else query
        return 200, json.dumps(act(asked), indent=2).encode(), "application/json"

    def _file(self, path: str, body: bytes) -> tuple[int, bytes, str]:
        if ".." in path.split("/"):
            raise invalid("Invalid path")
        if self.command == "PUT":
            self.server.files[path] = body
            return 200, b"", "text/html"
        if path not in self.server.files:
            raise missing(f"No such artifact: '{path}'")
        return 200, self.server.files[path], "application/octet-stream"

    def _listed(self, folder: str) -> dict[str, Any]:
        prefix = folder.rstrip("/") + "/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, data in sorted(self.server.files.items()):
            name, deeper, _ = path.removeprefix(prefix).partition("/")
            if path.startswith(prefix):
                size = {} if deeper else {"file_size": len(data)}
                found.setdefault(name, {"path": name, "is_dir": bool(deeper), **size})
        return {"files": list(found.values())} if found else {}

    def _fail(self, fault: Fault, path: str) -> None:
        if fault.status:
            body = fault.body.replace("{authorization}", self.headers.get("authorization", ""))
            return self._send(fault.status, body.encode(), location=fault.location)
        self.close_connection = True
        data = self.server.files.get(unquote(path.removeprefix(FILES + "/")), b"")
        if self.command == "GET" and data:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        return None

    def _send(self, status: int, data: bytes, *, kind: str = "application/json", location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)


def _routes(double: MlflowDouble) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    return {
        "POST experiments/create": double.create_experiment,
        "GET experiments/get-by-name": double.experiment_by_name,
        "POST runs/create": double.create_run,
        "GET runs/get": double.get_run,
        "POST runs/search": double.search_runs,
        "POST runs/log-batch": double.log_batch,
        "POST runs/log-inputs": double.log_inputs,
        "POST runs/update": double.update_run,
        "POST runs/delete": double.delete_run,
        "POST registered-models/create": double.create_model,
        "GET registered-models/get": double.get_model,
        "POST registered-models/alias": double.set_alias,
        "GET registered-models/alias": double.by_alias,
        "POST model-versions/create": double.create_version,
        "GET model-versions/get": double.get_version,
        "GET model-versions/get-download-uri": double.download_uri,
        "GET model-versions/search": double.search_versions,
    }
