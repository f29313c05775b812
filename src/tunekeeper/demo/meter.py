"""CPU seconds of everything that works on one data directory: this process, the product's own, its jobs and model servers."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil

EVERY = 0.5
"""Real seconds between two looks; a process that lives shorter may be missed."""


class CpuMeter:
    """Looks at the machine's processes now and then; what a process had used when it was seen last is never forgotten."""

    def __init__(self, root: Path) -> None:
        """`root`: a process counts when the folder's path stands in its command line."""
        self._needle = str(root.parent)
        self._seen: dict[tuple[int, float], float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cpu-meter", daemon=True)

    def __enter__(self) -> CpuMeter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def seconds(self) -> float:
        """CPU seconds so far, since the meter was made for this process, since their own start for the others."""
        self._look()
        return sum(list(self._seen.values())) + sum(os.times()[:2])

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            self._look()

    def _look(self) -> None:
        for process in psutil.process_iter(["pid", "create_time", "cmdline", "cpu_times"]):
            found = process.info
            if found["pid"] == os.getpid() or found["cpu_times"] is None or self._needle not in " ".join(found["cmdline"] or ()):
                continue
            key = (found["pid"], found["create_time"])
            used = found["cpu_times"].user + found["cpu_times"].system
            self._seen[key] = max(self._seen.get(key, 0.0), used)
