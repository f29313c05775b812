"""Any OpenAI-compatible endpoint: what it can do is asked, not believed."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tunekeeper.engines.remote import OpenAI
from tunekeeper.testing.upstream import FakeUpstream


@pytest.mark.parametrize(("mode", "says"), [("ok", True), ("no_logprobs", False), ("500", False), ("garbage", False)])
def test_whether_a_server_says_probabilities_is_asked_with_one_token(mode: str, says: bool) -> None:
    async def asked() -> tuple[bool, list[int]]:
        upstream = FakeUpstream()
        upstream.default = mode
        url = await upstream.start()
        try:
            found = await asyncio.to_thread(OpenAI().probe, url, "key")
        finally:
            await upstream.close()
        return found.logprobs, [body["max_tokens"] for body in upstream.bodies if "messages" in body]

    assert asyncio.run(asked()) == (says, [1])


def test_models_that_do_not_chat_may_stand_before_one_that_does() -> None:
    asked: list[str] = []

    class Mixed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, {"data": [{"id": name} for name in ("embedding", "speech", "chat", "more")]})

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["model"])
            known = asked[-1] == "chat"
            self._say(200 if known else 400, {"choices": [{"logprobs": {"content": [{"token": "Hi"}]}}]} if known else {})

        def _say(self, status: int, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Mixed) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found = OpenAI().probe(f"http://127.0.0.1:{server.server_port}/v1")
        server.shutdown()
        thread.join()
    assert (found.logprobs, asked) == (True, ["embedding", "speech", "chat"])
