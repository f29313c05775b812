"""The webhook notifier: a signed POST with bounded time-outs. It follows no redirect and reads little of the answer.

Signature: header `x-tunekeeper-signature: t=<Unix seconds>,v1=<hex HMAC-SHA-256 of "<t>.<body>" under the shared secret>`. The
time in it lets a receiver refuse what is older than a few minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import canonical_json
from tunekeeper.notify.notifier import NotSent
from tunekeeper.notify.payload import payload
from tunekeeper.store.ledgers.outbox import Message

RETRIED = (408, 425, 429)
"""Answers of the 4xx kind that may pass; the others are for good."""
READS = 3
"""Time-outs that a whole delivery may take."""


class Webhook:
    """Posts messages to one address."""

    def __init__(
        self,
        *,
        url: str,
        secret_env: str | None = None,
        timeout: float = 5.0,
        root: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`url`: http or https. `secret_env`: variable with the shared secret; None sends unsigned. `timeout`: real seconds for
        connecting and for each read; a delivery may take three of them. Raises ConfigError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"not an address for a webhook: {url!r}", fix="write https://HOST/PATH")
        if not 0 < timeout <= 60:
            raise ConfigError(f"webhook timeout is {timeout:g} seconds", fix="choose more than 0, at most 60")
        if secret_env is not None and not os.environ.get(secret_env):
            raise ConfigError(f"the variable {secret_env} with the webhook's secret is not set", fix=f"export {secret_env}=…")
        self._secret = os.environ[secret_env].encode() if secret_env is not None else None
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout, self._now = timeout, now

    def send(self, message: Message) -> None:
        """Post one message. Raises NotSent with what the receiver said; permanent for an answer that will not change."""
        body = canonical_json(payload(message))
        headers = {"content-type": "application/json", "user-agent": "tunekeeper", "x-tunekeeper-id": message.id}
        if self._secret is not None:
            headers["x-tunekeeper-signature"] = sign(self._secret, body, int(self._now()))
        try:
            status, reason = self._post(body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise NotSent(f"{self._host}: {error or type(error).__name__}") from None
        if not 200 <= status < 300:
            permanent = 300 <= status < 500 and status not in RETRIED
            raise NotSent(f"{self._host}: {status} {reason}", permanent=permanent)

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        # The time-out begins anew with each byte: a receiver that drips would hold the outbox for ever.
        late = threading.Event()
        end = threading.Timer(READS * self._timeout, _hang_up, (connection, late))
        end.daemon = True
        end.start()
        try:
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            response.read(4096)
            if late.is_set():  # what was cut off looks like a short answer
                raise TimeoutError("no whole answer in time")
            return response.status, response.reason
        finally:
            end.cancel()
            connection.close()


def _hang_up(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    """End whatever a thread waits for on this connection, and say so."""
    late.set()
    with contextlib.suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def sign(secret: bytes, body: bytes, at: int) -> str:
    """The value of `x-tunekeeper-signature` for a body sent at Unix second `at`."""
    return f"t={at},v1={hmac.new(secret, f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"
