"""The webhook notifier: a signed POST with bounded time-outs. It follows no redirect and reads little of the answer.

Signature: header `x-tunekeeper-signature: t=<Unix seconds>,v1=<hex HMAC-SHA-256 of "<t>.<body>" under the shared secret>`. The
time in it lets a receiver refuse what is older than a few minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import time
from collections.abc import Callable
from pathlib import Path

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import canonical_json
from tunekeeper.notify.notifier import NotSent
from tunekeeper.notify.payload import payload
from tunekeeper.notify.posting import address, post
from tunekeeper.store.ledgers.outbox import Message

RETRIED = (408, 425, 429)
"""Answers of the 4xx kind that may pass; the others are for good."""


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
        self._to = address(url, "a webhook")
        if not 0 < timeout <= 60:
            raise ConfigError(f"webhook timeout is {timeout:g} seconds", fix="choose more than 0, at most 60")
        if secret_env is not None and not os.environ.get(secret_env):
            raise ConfigError(f"the variable {secret_env} with the webhook's secret is not set", fix=f"export {secret_env}=…")
        self._secret = os.environ[secret_env].encode() if secret_env is not None else None
        self._timeout, self._now = timeout, now

    def send(self, message: Message) -> None:
        """Post one message. Raises NotSent with what the receiver said; permanent for an answer that will not change."""
        body = canonical_json(payload(message))
        headers = {"content-type": "application/json", "user-agent": "tunekeeper", "x-tunekeeper-id": message.id}
        if self._secret is not None:
            headers["x-tunekeeper-signature"] = sign(self._secret, body, int(self._now()))
        try:
            answer = post(self._to, body, headers, self._timeout)
        except (OSError, http.client.HTTPException) as error:
            raise NotSent(f"{self._to.host}: {error or type(error).__name__}") from None
        if not 200 <= answer.status < 300:
            permanent = 300 <= answer.status < 500 and answer.status not in RETRIED
            raise NotSent(f"{self._to.host}: {answer.status} {answer.reason}", permanent=permanent)


def sign(secret: bytes, body: bytes, at: int) -> str:
    """The value of `x-tunekeeper-signature` for a body sent at Unix second `at`."""
    return f"t={at},v1={hmac.new(secret, f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"
