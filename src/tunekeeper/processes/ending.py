"""`tunekeeper down`: stop what runs on a data directory, also when its supervisor was killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tunekeeper.processes import locks

ORDER = ("supervisor", "child-gateway", "child-worker", "child-follower", "child-keeper", "engine", "child-socket")
"""Who ends first: the supervisor, which would start the others again; then those that answer requests, while their upstreams
live.
"""


def down(root: Path, *, grace: float = 35.0) -> list[dict[str, object]]:
    """Stop every process that holds a lock under `root/run`. Returns `{name, pid, killed}` of each, in the order they ended.

    Each gets SIGTERM and `grace` real seconds to finish (the supervisor stops its own children in that time), then SIGKILL.
    """
    ended = []
    for prefix in ORDER:
        for lock in sorted((root / "run").glob(f"{prefix}*.lock")):
            pid = locks.holder(lock)
            if pid is not None:
                ended.append({"name": lock.stem.removeprefix("child-"), "pid": pid, "killed": _end(lock, pid, grace)})
    return ended


def end_matching(run: Path, prefix: str, *, grace: float = 35.0) -> None:
    """Stop who holds the locks of `run` that begin with `prefix`."""
    for lock in sorted(run.glob(f"{prefix}*.lock")):
        pid = locks.holder(lock)
        if pid is not None:
            _end(lock, pid, grace)


def running(root: Path) -> dict[str, int]:
    """Name → process id of everything that lives on a data directory."""
    found = {}
    for prefix in ORDER:
        for lock in sorted((root / "run").glob(f"{prefix}*.lock")):
            pid = locks.holder(lock)
            if pid is not None:
                found[lock.stem.removeprefix("child-")] = pid
    return found


def _end(lock: Path, pid: int, grace: float) -> bool:
    """End the process that holds `lock`; whether it had to be killed."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        # Looked up anew before each signal: a process id is trusted only while it has the locked file open.
        if locks.holder(lock) != pid:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        until = time.monotonic() + patience
        while locks.held(lock) and time.monotonic() < until:
            time.sleep(0.02)
        if not locks.held(lock):
            return number == signal.SIGKILL
    return True
