"""Small jobs, run in real child processes by the tests of `jobs/`."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.jobs.context import JobContext


def count(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Count to `n`, telling each step; leave a file; answer what was imported and given."""
    for step in range(input["n"]):
        context.progress((step + 1) / input["n"], step=step)
    (context.work / "result.txt").write_text(str(input["n"]))
    heavy = [name for name in ("sqlalchemy", "msgspec", "sqlite3", "alembic", "yaml", "numpy") if name in sys.modules]
    return {"n": input["n"], "heavy": heavy, "environment": dict(os.environ), "attempt": context.attempt}


def mark(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Leave one line per start, then work until the file `go` appears beside it."""
    with (context.work / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    context.progress(0.5, pid=os.getpid())
    deadline = time.monotonic() + 90
    while not (context.work / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"attempt": context.attempt}


def die(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Be killed at the first `times` attempts."""
    if context.attempt <= input["times"]:
        sys.stderr.write(f"attempt {context.attempt} goes down\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempt": context.attempt}


def family(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Start a child that ignores being asked to end, tell both pids, then sleep."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    if child.stdout is not None:
        child.stdout.readline()
    context.progress(None, pids=[os.getpid(), child.pid])
    time.sleep(input.get("seconds", 60))
    return {}


def fail(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Fail as `how` says."""
    if input["how"] == "on purpose":
        raise DataError("tickets.csv:3: no column 'text'", fix="give --map text=COLUMN")
    if input["how"] == "by accident":
        return {"value": {}["missing"]}
    if input["how"] == "wordless":
        sys.stdout.write("the last thing it said\n")
        sys.stdout.flush()
        os._exit(3)
    return {"value": {1, 2}}


def shout(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Print a megabyte."""
    for _ in range(1000):
        sys.stdout.write("x" * 1000 + "\n")
    return {}


def fill(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Write more than a file may hold, as on a full disk: progress after progress, then with `file` a file of its own."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for step in range(200):
        context.progress(step / 200, step=step)
    if input["file"]:
        (context.work / "large").write_bytes(bytes(8192))
    return {}
