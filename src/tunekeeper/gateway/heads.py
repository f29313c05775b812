"""HTTP heads: what llhttp accepts but we do not, and the bytes of our own answers. Pure.

llhttp in strict mode already refuses both framings at once, a repeated Content-Length, bare LF, folded headers and bad chunk
ends. It lets pass a missing or repeated Host, Transfer-Encoding in HTTP/1.0 or with more than `chunked`, absolute-form targets
and any version number: those are refused here, so that no two parsers can read one request differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tunekeeper.gateway.refusals import Refusal

REASONS = {
    200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 413: "Content Too Large", 415: "Unsupported Media Type",
    417: "Expectation Failed", 422: "Unprocessable Content", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
KEPT = frozenset(
    (
        b"authorization", b"content-encoding", b"content-length", b"expect", b"host", b"sec-fetch-site", b"transfer-encoding",
        b"x-litellm-session-id", b"x-request-id", b"x-session-id", b"x-tunekeeper-parent", b"x-tunekeeper-purpose",
        b"x-tunekeeper-tenant", b"x-tunekeeper-unit",
    )
)  # fmt: skip
SEGMENT = b"x-tunekeeper-segment-"
ONCE = frozenset((b"host", b"authorization", b"content-length", b"transfer-encoding", b"x-tunekeeper-purpose"))
HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
"""What we are called has a name: an empty Host is for targets without an authority, and an http address always has one."""
TARGET = re.compile(rb"/[A-Za-z0-9._~!$&'()*+,=:@%/-]*(?:\?[\x21\x22\x24-\x7e]*)?")
END = b"\r\n\r\n"
_AHEAD = frozenset((b"transfer-encoding", b"expect", b"content-encoding"))
HIDDEN = re.compile(rb"//|/\.{1,2}(?:/|$)|%(?:2[eE]|5[cC]|00|25)|(?<![A-Za-z0-9])%2[fF]|%2[fF](?![A-Za-z0-9])")
"""An escaped slash inside a name is its own: clients ask so for the version `org/model`, and nothing here reads it as a path."""


@dataclass(slots=True)
class Head:
    """One parsed request head: only the headers we use."""

    method: bytes = b""
    """As sent, upper case."""
    path: bytes = b""
    """Target without its query."""
    version: str = "1.1"
    """HTTP version."""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """Lower-case name → value, for the names in KEPT and segments."""
    repeated: bytes | None = None
    """Name of a header that came twice and must not."""
    length: int = 0
    """Content-Length of a head that is kept to be known again."""
    facts: Any = None
    """What the worker worked out from it, kept with it (`handlers.Facts`)."""

    def text(self, name: bytes) -> str | None:
        """A header's value as text, None when absent or empty."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() or None if value else None


# Clients repeat themselves: what they ask for and whom they call is nearly always what the last one did.
@lru_cache(maxsize=256)
def _is_host(host: bytes) -> bool:
    return HOST.fullmatch(host) is not None


@lru_cache(maxsize=256)
def _is_target(target: bytes) -> bool:
    return TARGET.fullmatch(target) is not None and HIDDEN.search(target.partition(b"?")[0]) is None


def check(head: Head, target: bytes) -> Refusal | None:
    """Why a head is refused with 400 and the connection closed, or None. `target`: the request target as sent."""
    if head.version not in ("1.1", "1.0"):
        return Refusal("bad_request", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if head.repeated is not None:
        return Refusal("bad_request", f"header {head.repeated.decode('latin-1')} came twice")
    host = head.headers.get(b"host")
    if host is None and head.version == "1.1":
        return Refusal("bad_request", "header host is missing")
    if host is not None and not _is_host(host):
        return Refusal("bad_request", "header host is not a host name")
    coding = head.headers.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or head.version == "1.0"):
        return Refusal("bad_request", "transfer-encoding may only be chunked, and only in HTTP/1.1")
    if not _is_target(target):
        if target.startswith(b"/") and b"//" in target.partition(b"?")[0]:
            return Refusal("bad_request", "the path has two slashes in a row: does the base URL of the client end in one?")
        return Refusal("bad_request", "the request target must be a plain absolute path")
    return None


class Heads:
    """Heads that llhttp has parsed, by their bytes: a client's next request nearly always has the last one's head, and equal
    bytes mean the same. Only heads that say nothing but a length about what follows, and keep their connection."""

    MOST = 512
    BYTES = 4096

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.get = self._known.get

    def forget(self) -> None:
        """Begin anew: what is kept with heads names the table they were judged under, and an old one should not stay for them."""
        self._known.clear()

    def learn(self, data: bytes, head: Head) -> None:
        """`data`: one whole request, which llhttp parsed in one piece as one message; `head`: what it found in it."""
        end = data.find(END) + len(END)
        length = head.headers.get(b"content-length")
        if (
            length is None
            or head.version != "1.1"
            or end > self.BYTES
            or not data.startswith(head.method)
            or not _AHEAD.isdisjoint(head.headers)
            or len(data) - end != int(length)
        ):
            return
        if len(self._known) >= self.MOST:
            self._known.clear()  # the living ones are back with their next request
        head.length = len(data) - end
        self._known[data[:end]] = head


def answer_head(
    status: int, content_type: bytes, length: int | None, extra: bytes = b"", *, close: bool = False, old: bool = False
) -> bytes:
    """The bytes of an answer's head. `length` None: chunked, or until close for an HTTP/1.0 client (`old`)."""
    framing = b"content-length: %d\r\n" % length if length is not None else (b"" if old else b"transfer-encoding: chunked\r\n")
    kept = b"connection: close\r\n" if close else (b"connection: keep-alive\r\n" if old else b"")
    return b"".join((_status_line(status), b"content-type: ", content_type, b"\r\n", framing, extra, kept, b"\r\n"))


@lru_cache(maxsize=128)
def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, REASONS.get(status, "Status").encode())


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)
