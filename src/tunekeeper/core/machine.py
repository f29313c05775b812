"""The memory that this process may have: the machine's, as far as its control groups (a container's limit) let it be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 1 << 60
"""What a control group of version 1 says where nothing is limited is above this."""
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
VERSION_2 = ("memory.max", "memory.current", "inactive_file")


def memory(proc: Path = Path("/proc")) -> tuple[int, int] | None:
    """(total, free) bytes that this process may have; free is what can be taken without swapping. None where the system does not
    say. `proc`: where /proc is."""
    try:
        lines = [line.split() for line in (proc / "meminfo").read_text("ascii").splitlines()]
    except OSError:
        return None
    told = {line[0]: int(line[1]) << 10 for line in lines if line[0] in ("MemTotal:", "MemAvailable:")}
    if len(told) < 2:
        return None
    total, free = told["MemTotal:"], told["MemAvailable:"]
    for limit, used in _limits(proc / "self"):
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def _limits(proc: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of each control group of a process that limits memory, its own and those above it. Used is what
    cannot be given back: the file cache that nobody touches is not counted. `proc`: the process's folder under /proc."""
    for folder, names in _groups(proc):
        limit, used = (_number(folder / name) for name in names[:2])
        if limit is None or used is None or limit > UNLIMITED:
            continue
        yield limit, max(0, used - _cache(folder / "memory.stat", names[2]))


def _groups(proc: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders of a process's memory groups, from its own up to the mount, with the names of their files."""
    try:
        paths = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines() if line.count(":") >= 2]
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    except OSError:
        return  # no Linux, or no /proc
    for _, controllers, path in paths:
        for mount in mounts:
            kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
            if controllers == "" and kind == "cgroup2":
                names = VERSION_2
            elif "memory" in controllers.split(",") and kind == "cgroup" and "memory" in options:
                names = VERSION_1
            else:
                continue
            top, root = Path(mount[4]), mount[3]
            inside = path.removeprefix(root) if root != "/" else path
            own = top / inside.strip("/")
            yield from ((folder, names) for folder in (own, *own.parents) if folder == top or top in folder.parents)


def _number(file: Path) -> int | None:
    """The number in a file; None for `max`, or without the file."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _cache(stat: Path, name: str) -> int:
    try:
        found = [line.split()[1] for line in stat.read_text().splitlines() if line.startswith(f"{name} ")]
    except OSError:
        return 0
    return int(found[0]) if found else 0
