"""Trainings of one workspace that do not fit into memory beside each other take turns.

Each that goes on has a file that says what it takes, and holds its lock, which the kernel lets go of when it dies. What it has
not taken yet does not count as free for the next one. One that is alone goes on whatever is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tunekeeper.training.device import Room

FOLDER = "trainings"
"""In a workspace's `work`."""
REST = 1.0
"""Seconds between two looks."""
WAITING = "waiting for memory: another training of this project takes it"


@contextlib.contextmanager
def turn(folder: Path, needed: int, look: Callable[[], Room], tell: Callable[[str], None]) -> Iterator[None]:
    """Wait until what is needed is free, or nothing else is trained on this device; hold it until the end of the block.
    `folder`: where those of the workspace say what they take. `needed`: bytes. `look`: the device as it is now. `tell`: hears why
    it waits."""
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"{platform.node()}-{os.getpid()}"
    file = os.open(own, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _taken(folder, own, file, needed, look()):
            tell(WAITING)
            time.sleep(REST)
        yield
    finally:
        own.unlink(missing_ok=True)
        os.close(file)


def _taken(folder: Path, own: Path, file: int, needed: int, there: Room) -> bool:
    """Whether it may go on; its file then says so. One process at a time looks."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        device = there.id or there.device
        others = [promised for promised, where in _others(folder, own) if where == device]
        if others and needed > there.free - sum(others):
            return False
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps({"needed": needed, "device": device}).encode(), 0)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _others(folder: Path, own: Path) -> Iterator[tuple[int, str]]:
    """(bytes that it has not taken yet, device) of each other training that goes on on this machine."""
    for path in folder.glob(f"{platform.node()}-*"):
        if path == own:
            continue
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if _is_free(file.fileno()):
                continue  # it waits, or died
            told = json.loads(file.read())
            yield max(0, told["needed"] - _has(path.name.rpartition("-")[2])), told["device"]


def _is_free(file: int) -> bool:
    """Whether nobody holds the file's lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has(pid: str, proc: Path = Path("/proc")) -> int:
    """Bytes of memory that a process has; 0 where the system does not say."""
    try:
        pages = int((proc / pid / "statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
