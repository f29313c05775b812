"""The work folder of one job: who holds it, what it was told, what it says, how it ended. Standard library only.

`lock` held: alive · `task.json` what to do · `started` its wrapper was let go · `child.json` who does it · `progress.jsonl` ·
`output.log` · `answer.json` what the child returned or why it failed · `exit.json` renamed into place last: the attempt has
ended · `files/` the result.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "TUNEKEEPER_JOB"
"""Variable that a job's processes inherit: its id, which is its folder's name."""
_TAIL = 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How one attempt ended."""

    attempt: int
    """Which attempt."""
    rc: int
    """Exit status of the child; negative: the signal that ended it."""
    seconds: float
    """Wall seconds."""
    cpu_seconds: float
    """CPU seconds of the child and its children."""
    answer: dict[str, Any] | None = None
    """`{"output": …}` or `{"error", "kind", "fix"}`; None when it left neither."""
    timed_out: bool = False
    """Whether it was ended for taking too long."""

    @property
    def died(self) -> bool:
        """Killed from outside, before it could say anything: to be tried again."""
        return self.rc < 0 and self.answer is None and not self.timed_out


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that appears whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when the file is missing or was never finished."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_exit(folder: Path, attempt: int) -> Exit | None:
    """How this attempt ended; None while it has not, or when it died without a word."""
    value = read_json(folder / "exit.json")
    return None if value is None or value.get("attempt") != attempt else Exit(**value)


def was_started(folder: Path, attempt: int) -> bool:
    """Whether a wrapper was let go for this attempt; False when whoever recorded the attempt died before it could.

    The one who starts it says so afterwards, the wrapper at once: either word counts.
    """
    task = read_json(folder / "task.json")
    if task is None or task.get("attempt") != attempt:
        return False
    return (folder / "started").exists() or (folder / "wrapper.json").exists()


def take(folder: Path) -> int | None:
    """Take the folder's lock: a descriptor to hand on and close, None while somebody holds it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def last_progress(folder: Path) -> dict[str, Any]:
    """The last whole line of the journal; empty when there is none."""
    for line in reversed(_tail(folder / "progress.jsonl").splitlines()):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        return value if isinstance(value, dict) else {}
    return {}


def last_words(folder: Path) -> str:
    """The last line of the child's printed output that is not blank."""
    lines = [line.strip() for line in _tail(folder / "output.log").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def process(pid: int) -> dict[str, int]:
    """What tells a process from a later one with the same pid: `{pid, started, session}` (ticks after boot)."""
    fields = _stat(pid)
    return {"pid": pid, "started": int(fields[19]) if fields else 0, "session": int(fields[3]) if fields else 0}


def started(pid: int) -> int | None:
    """Ticks after boot at which a process started; None when there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def signal_named(path: Path, number: int) -> bool:
    """Send a signal to the process that `path` names, if it is still that one. Whether it was sent."""
    named = read_json(path)
    if named is None or started(int(named["pid"])) != named["started"]:
        return False
    return _send(int(named["pid"]), number)


def end_group(folder: Path) -> None:
    """Kill whatever an attempt left running: what is in its group, and by the mark in its environment what left that."""
    mark = f"\0{MARK}={folder.name}\0".encode()
    named = read_json(folder / "child.json") or {"pid": 0, "session": 0}
    for entry in os.listdir("/proc"):
        fields = _stat(int(entry)) if entry.isdigit() else []
        if fields and ((int(fields[2]), int(fields[3])) == (named["pid"], named["session"]) or mark in _environment(entry)):
            _send(int(entry), signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes that `pid` started or adopted, and theirs."""
    parents = {int(entry): fields[1] for entry in os.listdir("/proc") if entry.isdigit() and (fields := _stat(int(entry)))}
    found, more = [], [pid]
    while more:
        more = [child for child, parent in parents.items() if int(parent) in more]
        found += more
    return found


def _environment(entry: str) -> bytes:
    try:
        return b"\0" + Path(f"/proc/{entry}/environ").read_bytes()
    except OSError:
        return b""


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process after its name: state, parent, group, session …; empty when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] == "Z" else fields


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
