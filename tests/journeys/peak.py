"""The most memory this process ever had: not `getrusage`, whose figure a program that was just begun has from its parent."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> float:
    """Megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def from_now_mb() -> float:
    """What this process holds now; `peak_mb` is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()
