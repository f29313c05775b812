"""What every test of the log needs: a data directory, a clock that is moved by hand, and records to write."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.ids import request_id

KEY = b"k" * 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def record(clock: ManualClock) -> Callable[..., dict[str, Any]]:
    """A record as the gateway gives it to the spool; each call has a new request id, stamped now."""
    numbers = itertools.count()

    def make(**fields: Any) -> dict[str, Any]:
        n = next(numbers)
        made = request_id(clock.utc(), KEY, lambda size: n.to_bytes(size, "big"))
        given = {
            "request_id": made,
            "timestamp": clock.utc(),
            "model_id": "support-desk",
            "variant": "champion",
            "latency_ms": float(n),
            "body_id": f"chatcmpl-{n}",
            "request": b'{"model":"support-desk","messages":[{"role":"user","content":"question %d"}]}' % n,
            "response": b'{"choices":[{"message":{"role":"assistant","content":"answer %d"}}]}' % n,
        }
        return given | fields

    return make
