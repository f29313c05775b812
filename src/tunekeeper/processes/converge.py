"""A chore of the supervisor: what is committed is obeyed, even if whoever committed it died before it could publish it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tunekeeper.store.behind import behind

REST = 10.0
"""Real seconds between two tries, where one had no effect (a full disk)."""


class Converge:
    """Call it twice a second. A change that was committed and not published is published by a short child at the second look."""

    def __init__(self, root: Path, now: Callable[[], float] = time.monotonic) -> None:
        """`root`: the data directory. `now`: monotonic real seconds."""
        self._root = root
        self._now = now
        self._seen: int | None = None
        self._tried: tuple[int, float] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Look, and act where this look and the one before saw the same. Raises OSError when no process can be started."""
        if self._child is not None and self._child.poll() is None:
            return
        number, before = behind(self._root), self._seen
        self._seen = number
        if number is None or number != before:
            return
        if self._tried is not None and self._tried[0] == number and self._now() < self._tried[1] + REST:
            return
        self._tried = (number, self._now())
        command = [sys.executable, "-m", "tunekeeper.store.publishing", "--root", str(self._root)]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
