"""A deterministic OpenAI-compatible server without weights, for tests and journeys.

`python -m tunekeeper.engines.fake_server --answers RULE.json`. The rule is `{"answers": {user text: answer}, "contains":
{part of the user text: answer}, "default": answer, "delay_ms": 0}`: the last user message is looked up exactly, then by the
first part that it contains, then the default is given. The same request always gets the same answer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.engines import child

MAX_BODY = 8 << 20


def answer_for(rule: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """The rule's answer to the last user message; without a default it repeats that message."""
    said = [m.get("content") for m in messages if m.get("role") == "user"]
    text = said[-1] if said and isinstance(said[-1], str) else ""
    if text in rule.get("answers", {}):
        return str(rule["answers"][text])
    for part, answer in rule.get("contains", {}).items():
        if part in text:
            return str(answer)
    return str(rule.get("default", text))


def load_rule(path: Path | None) -> dict[str, Any]:
    """The rule file. Raises ConfigError naming it."""
    if path is None:
        return {}
    try:
        rule = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a rule file ({error})") from error
    if not isinstance(rule, dict):
        raise ConfigError(f"{path}: not a rule file (it must be an object)")
    return rule


class Handler(BaseHTTPRequestHandler):
    """The few paths that our clients use."""

    protocol_version = "HTTP/1.1"
    rule: dict[str, Any] = {}
    alias = "model"
    key: str | None = None
    timeout = 30

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: stdout carries the report and nothing else."""

    def do_GET(self) -> None:
        """Health is open; the list of models asks for the key."""
        if self.path == "/health":
            return self._json(200, {"status": "ok"})
        if not self._allowed():
            return self._json(401, {"error": {"message": "Invalid API Key", "type": "authentication_error"}})
        if self.path == "/v1/models":
            return self._json(200, {"object": "list", "data": [{"id": self.alias, "object": "model", "owned_by": "fake"}]})
        return self._json(404, {"error": {"message": f"no such path {self.path}", "type": "not_found_error"}})

    def do_POST(self) -> None:
        """Chat completions, plain and streaming."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            self.close_connection = True
            return self._json(413, {"error": {"message": "body too large", "type": "invalid_request_error"}})
        body = self.rfile.read(length)
        if not self._allowed():
            return self._json(401, {"error": {"message": "Invalid API Key", "type": "authentication_error"}})
        if self.path != "/v1/chat/completions":
            return self._json(404, {"error": {"message": f"no such path {self.path}", "type": "not_found_error"}})
        try:
            request = json.loads(body)
            messages = request["messages"]
            text = answer_for(self.rule, messages)
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._json(400, {"error": {"message": "not a chat request", "type": "invalid_request_error"}})
        time.sleep(float(self.rule.get("delay_ms", 0)) / 1000)
        return self._answer(request, text, hashlib.sha256(body).hexdigest()[:24])

    def _answer(self, request: dict[str, Any], text: str, id: str) -> None:
        words = text.split()
        limit = request.get("max_tokens") or request.get("max_completion_tokens") or 1 << 20
        reason = "stop" if len(words) <= limit else "length"
        text = text if reason == "stop" else " ".join(words[:limit])
        prompt = sum(len(str(m.get("content") or "").split()) for m in request["messages"])
        done = min(len(words), limit)
        usage = {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}
        head = {"id": f"chatcmpl-{id}", "created": 0, "model": self.alias}
        if request.get("stream"):
            return self._stream(head, text, reason, usage, bool((request.get("stream_options") or {}).get("include_usage")))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        return self._json(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})

    def _stream(self, head: dict[str, Any], text: str, reason: str, usage: dict[str, int], with_usage: bool) -> None:
        head = {**head, "object": "chat.completion.chunk"}
        deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
        deltas += [({"content": piece}, None) for piece in _pieces(text)]
        deltas += [({}, reason)]
        events = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
        if with_usage:
            events.append({**head, "choices": [], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for data in [json.dumps(event, ensure_ascii=False) for event in events] + ["[DONE]"]:
            line = f"data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization") or ""
        return self.key is None or hmac.compare_digest(given.encode(), f"Bearer {self.key}".encode())

    def _json(self, status: int, value: Any) -> None:
        data = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [word if i == 0 else " " + word for i, word in enumerate(words)] if text else []


def main() -> None:
    """Serve until told to end."""
    parser = child.arguments("a deterministic OpenAI-compatible server")
    parser.add_argument("--answers", type=Path)
    given = parser.parse_args()
    handle = child.hold_lock(given.lock)
    key = os.environ.get(given.api_key_env, "").strip() if given.api_key_env else None
    handler = type("Bound", (Handler,), {"rule": load_rule(given.answers), "alias": given.alias, "key": key})
    port = child.free_port(given.host, given.port, given.other_port)
    server = ThreadingHTTPServer((given.host, port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    child.report(handle, listening=f"http://{given.host}:{server.server_port}", load_s=0.0)
    child.stay(handle, lambda: True)


if __name__ == "__main__":
    child.run(main)
