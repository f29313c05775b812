"""A workspace on a clock that stands still, and processes beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tunekeeper
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.store.ledgers.rollouts import save_rollout
from tunekeeper.workspace import Workspace, create_workspace

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ws(tmp_path: Path, clock: ManualClock) -> Workspace:
    """A new workspace with four rollouts, rol_0 to rol_3."""
    workspace = create_workspace(tmp_path / "data", clock=clock)
    with workspace.control.write(by="test") as tx:
        for number in range(4):
            save_rollout(tx, Rollout(id=f"rol_{number}", model="support-desk", version="v1", slot="blue", due=float(number)))
    return workspace


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start `processes.py` with arguments; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    script = str(Path(__file__).with_name("processes.py"))
    environment = {**os.environ, "PYTHONPATH": str(Path(tunekeeper.__file__).parent.parent)}

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", script, *map(str, arguments)]
        child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
