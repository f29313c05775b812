"""Every error the gateway itself answers with, in OpenAI's envelope, each with a stable code: refusals are part of the contract.

A client, a log query and a test tell by the code who was wrong: codes of status 4xx are the caller's, `context_length_exceeded`
and `input_unsupported` too, though a model server said so; `upstream_*` are the model server's, `route_unavailable`,
`log_unavailable`, `limits_unavailable`, `overloaded` and `draining` ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "service_unavailable",
    504: "timeout_error",
}
CODES = {
    "bad_request": 400,
    "invalid_json": 400,
    "invalid_value": 400,
    "context_length_exceeded": 400,
    "input_unsupported": 400,
    "missing_key": 401,
    "invalid_key": 401,
    "key_expired": 401,
    "scope_missing": 403,
    "model_forbidden": 403,
    "cross_site": 403,
    "not_found": 404,
    "model_not_found": 404,
    "request_not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "ambiguous_id": 409,
    "body_too_large": 413,
    "encoding_unsupported": 415,
    "expectation_failed": 417,
    "headers_too_large": 431,
    "rate_limited": 429,
    "budget_exceeded": 429,
    "too_many_connections": 429,
    "upstream_rate_limited": 429,
    "upstream_error": 502,
    "upstream_unreachable": 502,
    "upstream_garbage": 502,
    "upstream_truncated": 502,
    "slot_unavailable": 503,
    "route_unavailable": 503,
    "log_unavailable": 503,
    "keeper_unavailable": 503,
    "limits_unavailable": 503,
    "overloaded": 503,
    "draining": 503,
    "internal_error": 500,
    "upstream_timeout": 504,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error answer."""

    code: str
    """Stable code, a key of CODES."""
    message: str
    """One sentence for a person; never a secret, never another user's text."""
    param: str | None = None
    """Field of the request it speaks of."""
    retry_after: str | None = None
    """Seconds for a Retry-After header, as text."""
    allow: str | None = None
    """Methods for an Allow header."""

    @property
    def status(self) -> int:
        """HTTP status."""
        return CODES[self.code]

    def body(self) -> bytes:
        """The JSON envelope."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return msgspec.json.encode({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})

    def event(self) -> bytes:
        """The envelope as a server-sent event, for a stream that has begun."""
        return b"data: " + self.body() + b"\n\n"

    def headers(self) -> bytes:
        """Extra header lines, each ended."""
        lines = f"retry-after: {self.retry_after}\r\n" if self.retry_after else ""
        if self.status == 401:
            lines += "www-authenticate: Bearer\r\n"
        if self.status == 415:
            lines += "accept-encoding: identity\r\n"
        return (lines + (f"allow: {self.allow}\r\n" if self.allow else "")).encode("latin-1")


class RefusedError(Exception):
    """Carries a Refusal out of a parser."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
