"""Every refusal has a status, a type and OpenAI's envelope."""

from __future__ import annotations

import json

import pytest

from tunekeeper.gateway.refusals import CODES, Refusal


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_makes_an_envelope(code: str) -> None:
    refusal = Refusal(code, "why", "field", retry_after="3", allow="GET")
    error = json.loads(refusal.body())["error"]
    assert error == {"message": "why", "type": error["type"], "param": "field", "code": code}
    assert 400 <= refusal.status < 600
    asks = {401: b"www-authenticate: Bearer\r\n", 415: b"accept-encoding: identity\r\n"}.get(refusal.status, b"")
    assert refusal.headers() == b"retry-after: 3\r\n" + asks + b"allow: GET\r\n"
    assert refusal.event() == b"data: " + refusal.body() + b"\n\n"


def test_a_fault_of_the_caller_never_has_a_server_status() -> None:
    ours = {code for code, status in CODES.items() if status >= 500}
    assert ours == {
        "internal_error",
        "keeper_unavailable",
        "limits_unavailable",
        "log_unavailable",
        "overloaded",
        "draining",
        "route_unavailable",
        "slot_unavailable",
        "upstream_error",
        "upstream_garbage",
        "upstream_timeout",
        "upstream_truncated",
        "upstream_unreachable",
    }
