"""How long a test waits for what must happen: so long that only a fault, never a slow machine, uses it up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 150.0
"""Seconds; well under the limit of one test, so that a wait that fails says where."""
T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What `condition` gives once it is true; AssertionError when it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


def gone(pid: int) -> bool:
    """Whether a process that is not ours has ended; one that nobody waited for yet counts too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
