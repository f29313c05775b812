"""One POST with bounded time-outs: it follows no redirect and reads little of the answer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tunekeeper.core.errors import ConfigError
from tunekeeper.notify.notifier import NotSent

READS = 3
"""Time-outs that a whole delivery may take."""
READ_BYTES = 64 << 10
"""Most of an answer that is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where to post."""

    host: str
    """Host name or address."""
    port: int | None
    """Port; None: that of the scheme."""
    path: str
    """Path and query."""
    secure: bool
    """Whether it is https."""

    @property
    def netloc(self) -> str:
        """The `Host` header of a request: the port where it is not the scheme's own."""
        usual = self.port in (None, 443 if self.secure else 80)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if usual else f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a receiver said."""

    status: int
    """HTTP status."""
    reason: str
    """Its reason phrase."""
    body: bytes
    """The first bytes of the body."""
    retry_after: float | None
    """Seconds that it asks to wait, at least 0; None where it asks for none."""


class Away(NotSent):
    """A sink did not take its records. `retry_after`: seconds that it asks to be left alone, None where it does not say."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """`message`: one line that names the place and what it said, and holds no secret."""
        super().__init__(message)
        self.retry_after = retry_after


Post = Callable[..., Answer]
"""`post`, or what stands in for it."""


def address(url: str, what: str) -> Address:
    """The parts of an http or https `url`. Raises ConfigError, which calls it an address for `what`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"not an address for {what}: {url!r}", fix="write https://HOST/PATH") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"not an address for {what}: {url!r}", fix="write https://HOST/PATH")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(host=parts.hostname, port=port, path=path, secure=parts.scheme == "https")


def post(to: Address, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
    """Post `body`. `timeout`: real seconds for connecting and for each read; all of it may take three of them. Raises OSError and
    http.client.HTTPException."""
    kind = http.client.HTTPSConnection if to.secure else http.client.HTTPConnection
    connection = kind(to.host, to.port, timeout=timeout)
    # The time-out begins anew with each byte: a receiver that drips would hold the sender for ever.
    late = threading.Event()
    end = threading.Timer(READS * timeout, _hang_up, (connection, late))
    end.daemon = True
    end.start()
    try:
        connection.request("POST", to.path, body, dict(headers))
        response = connection.getresponse()
        said = response.read(READ_BYTES)
        if late.is_set():  # what was cut off looks like a short answer
            raise TimeoutError("no whole answer in time")
        return Answer(
            status=response.status,
            reason=response.reason,
            body=said,
            retry_after=_seconds(response.getheader("retry-after")),
        )
    finally:
        end.cancel()
        connection.close()


def posted(post: Post, who: str, *given: Any) -> Answer:
    """What `post(*given)` answers. Raises Away, calling the place `who`, when it does not."""
    try:
        return post(*given)
    except (OSError, http.client.HTTPException) as error:
        raise Away(f"{who}: {error or type(error).__name__}") from None


def refused(who: str, answer: Answer) -> Away:
    """An answer that is no yes, as an error: its status alone, for what it says may repeat what it was sent."""
    return Away(f"{who}: {answer.status} {answer.reason}".rstrip(), retry_after=answer.retry_after)


def _hang_up(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    """End whatever a thread waits for on this connection, and say so."""
    late.set()
    with contextlib.suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
