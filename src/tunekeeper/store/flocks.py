"""Who lives, asked of the kernel: a file's flock is held or it is free. Standard library only."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

UNSUPERVISED_SECONDS = 600.0
"""Real seconds that worker and keeper go on without a supervisor."""
LOOKS = 20
"""How often a supervisor is looked for within that time. Seldom on purpose: a look at a lock that is free borrows it for some
microseconds, for which a supervisor that starts just then has to wait."""


def held(path: Path) -> bool:
    """Whether some process holds the flock of the file; a missing file is held by nobody."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


def seize(handle: int) -> bool:
    """Take the flock of an open file for oneself; False when another process has it. Who only looks (`held`) borrows a free lock
    for a moment, however long a busy machine makes that: lookers share it, so that they are told from a holder and waited for."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(0.001)


class Supervision:
    """Whether a process that had a supervisor has lost it for good. One that was started by hand never had one."""

    def __init__(self, root: Path, real: Callable[[], float], seconds: float = UNSUPERVISED_SECONDS) -> None:
        """`root`: the data directory, whose `run/supervisor.lock` a supervisor holds. `real`: monotonic real seconds.
        `seconds`: how long its absence is borne."""
        self._lock = root / "run" / "supervisor.lock"
        self._real = real
        self._seconds = seconds
        self._seen: float | None = None
        self._looked: float | None = None

    def lost(self) -> bool:
        """Whether a supervisor was seen once, and none within the last `seconds`. Cheap: ask in every round."""
        now = self._real()
        if self._looked is None or now - self._looked >= self._seconds / LOOKS:
            self._looked = now
            if held(self._lock):
                self._seen = now
        return self._seen is not None and now - self._seen >= self._seconds
