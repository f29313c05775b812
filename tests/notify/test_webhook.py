from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.notify import NotSent
from tunekeeper.notify.webhook import Webhook
from tunekeeper.store.ledgers.outbox import Message

MESSAGE = Message(id="alr_1", kind="alert", subject="edit rate rises", model="support-desk", data={"n": 80})


class Receiver(HTTPServer):
    """A receiver on loopback that answers with `status` and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 204
        self.seen: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?from=tests"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_message_arrives_signed_so_that_the_receiver_can_tell_who_sent_it(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_SECRET", "s3cret")
    Webhook(url=receiver.url, secret_env="OPS_SECRET", timeout=60, now=lambda: 1700000000.7).send(MESSAGE)
    [(path, headers, body)] = receiver.seen
    expected = hmac.new(b"s3cret", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["x-tunekeeper-signature"] == f"t=1700000000,v1={expected}"
    assert (path, headers["x-tunekeeper-id"]) == ("/hook?from=tests", "alr_1")
    assert json.loads(body) | {"created": None} == {
        "id": "alr_1",
        "kind": "alert",
        "model": "support-desk",
        "subject": "edit rate rises",
        "text": "",
        "data": {"n": 80},
        "created": None,
    }


@pytest.mark.parametrize(("status", "permanent"), [(500, False), (429, False), (400, True), (302, True)])
def test_an_answer_that_is_no_success_says_whether_to_try_again(receiver: Receiver, status: int, permanent: bool) -> None:
    receiver.status = status
    with pytest.raises(NotSent, match=str(status)) as caught:
        Webhook(url=receiver.url, timeout=60).send(MESSAGE)
    assert caught.value.permanent is permanent
    assert len(receiver.seen) == 1


def test_a_receiver_that_is_not_there_may_come_back(receiver: Receiver) -> None:
    url = receiver.url
    receiver.server_close()
    with pytest.raises(NotSent, match=r"127\.0\.0\.1") as caught:
        Webhook(url=url, timeout=0.5).send(MESSAGE)
    assert not caught.value.permanent


def test_a_wrong_address_or_a_missing_secret_is_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="not an address"):
        Webhook(url="file:///etc/passwd")
    with pytest.raises(ConfigError, match="NO_SUCH_SECRET"):
        Webhook(url="http://127.0.0.1:1/", secret_env="NO_SUCH_SECRET")
    with pytest.raises(ConfigError, match="timeout"):
        Webhook(url="http://127.0.0.1:1/", timeout=0)
