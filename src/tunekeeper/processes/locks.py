"""Who lives: a process is alive while the flock of its file is held. Nothing here trusts a process id alone.

A lock belongs to the open file, not to the process: a child that inherits the descriptor keeps the lock when its parent dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tunekeeper.store.flocks import held, seize

__all__ = ["held", "holder", "take", "write_holder"]
ON_ITS_WAY = 10.0
"""Longest, in seconds, that a lock is waited for which was handed to a process that lives and has not taken it yet."""


def take(path: Path) -> int | None:
    """Take the lock of `path` (made when missing); the open descriptor, or None when somebody holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not seize(handle):
        os.close(handle)
        return None
    return handle


def write_holder(handle: int, pid: int) -> None:
    """Note in the locked file who holds it; a hint for `holder`, which checks it."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({"pid": pid}).encode(), 0)


def holder(path: Path) -> int | None:
    """Process id of who has the locked file open: the noted one when it does, else found by looking at ours. None when nobody.

    A lock that was handed to a spare is held by nobody's hand until that one has done its imports: it is waited for.
    """
    target = os.path.realpath(path)
    end = time.monotonic() + ON_ITS_WAY
    while held(path):
        noted = _noted(path)
        if noted is not None and _has_open(noted, target):
            return noted
        found = next((pid for pid in _own_processes() if pid != os.getpid() and _has_open(pid, target)), None)
        if found is not None or noted is None or noted not in _own_processes() or time.monotonic() > end:
            return found
        time.sleep(0.02)
    return None


def _noted(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_bytes() or b"{}")
        if isinstance(found, dict) and isinstance(found.get("pid"), int):
            return int(found["pid"])
    return None


def _own_processes() -> Iterator[int]:
    mine = os.getuid()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == mine:
                yield int(name)


def _has_open(pid: int, target: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        with contextlib.suppress(OSError):
            if os.readlink(f"{folder}/{name}") == target:
                return True
    return False
