"""What every test gets: a clean environment of ours, no network but loopback, a place of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]
# The tests start hundreds of processes; that each compiles the source anew would be a fifth of their time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Here, not in a fixture: torch reads them when it is loaded, which the fixtures of a session do before any of a test.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}
# A proxy of the machine has nothing to say about what the tests serve to themselves.
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]
# The same examples each time, however long a busy machine takes over one.
settings.register_profile("steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
LONGEST = ("journeys", "outside", "training", "deployment", "benchmarks", "processes", "cli", "store")
"""Folders whose files take longest. They are begun first, so that at the end no process waits for the long file of another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders first; within them, and among the others, as collected."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.relative_to(REPOSITORY / "tests").parts[0], len(ranks)))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The clone that is tested."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith("TUNEKEEPER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """A test that reaches for the network fails where it does so."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test reached for {host}")
        return connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign, assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]
