"""A workspace, and children that can import the small jobs beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tunekeeper import jobs
from tunekeeper.core.clock import ManualClock
from tunekeeper.store.ledgers.jobs import find_jobs
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A new workspace; jobs that still run at the end are cancelled."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    workspace = create_workspace(tmp_path / "data", clock=ManualClock())
    yield workspace
    with workspace.state.read() as tx:
        left = find_jobs(tx, state=("queued", "running"))
    for row in left:
        jobs.cancel(workspace, row.id)
