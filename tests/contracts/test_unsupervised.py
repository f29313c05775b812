"""The worker outlives its supervisor for a while and then ends in order; one that was started by hand stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tunekeeper
from tests.patience import until
from tunekeeper.processes import locks
from tunekeeper.testing.desk import Desk, open_desk


@contextmanager
def worker(desk: Desk, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tunekeeper.retraining.worker", "--project", str(desk.folder), "--interval", "0.02"]
    command += ["--unsupervised-seconds", str(seconds)]
    environ = {**os.environ, "PYTHONPATH": str(Path(tunekeeper.__file__).parent.parent)}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environ)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_worker_ends_some_time_after_its_supervisor_and_lets_the_next_one_lead(tmp_path: Path) -> None:
    desk = open_desk(tmp_path / "left")
    supervisor = locks.take(desk.ws.root / "run" / "supervisor.lock")
    assert supervisor is not None
    with worker(desk, seconds=0.4) as child:
        until(lambda: desk.ws.control.lease_alive("worker"))
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.6)
        os.close(supervisor)
        assert child.wait(60) == 0
        assert child.stderr is not None
        said = [json.loads(line) for line in child.stderr]
    assert said[-1] == {"event": "unsupervised", "seconds": 0.4}
    assert not desk.ws.control.lease_alive("worker")


def test_a_worker_that_was_started_by_hand_stays(tmp_path: Path) -> None:
    desk = open_desk(tmp_path / "alone")
    with worker(desk, seconds=0.1) as child:
        until(lambda: desk.ws.control.lease_alive("worker"))
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
