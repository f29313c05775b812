"""Trainings that go wrong, as job kinds `badjobs:NAME`, run in real child processes. Each notes its end in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tunekeeper.jobs.context import JobContext


def _half(input: dict[str, Any], context: JobContext) -> None:
    """Half of what a training leaves: an adapter without its settings, and no transcript."""
    (context.work / "adapter").mkdir(exist_ok=True)
    (context.work / "adapter" / "adapter_model.safetensors").write_bytes(b"\x10" + bytes(7) + b'{"a":{"dt')
    context.progress(0.5, step=1)
    note(input, os.getpid())


def note(input: dict[str, Any], pid: int) -> None:
    """Write down a process, and when."""
    with Path(input["ledger"]).open("a") as file:
        file.write(f"{pid} {time.time()}\n")


def killed(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Killed from outside in each attempt."""
    _half(input, context)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def hangs(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Never gets on, and is deaf to being asked to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _half(input, context)
    while True:
        time.sleep(60)


def floods(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Prints without end, then dies of it."""
    _half(input, context)
    piece = b"x" * (1 << 20)
    for _ in range(int(input["megabytes"])):
        os.write(1, piece)
    note(input, os.getpid())
    os._exit(3)


def escapes(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Leaves processes behind that left its group and its session, one of which with a clean environment; then ends in order."""
    _half(input, context)
    for environ in (None, {}):
        deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork() and os._exit(0); os.setsid()\n"
        told = f"open({input['ledger']!r}, 'a').write(f'{{os.getpid()}} {{time.time()}}\\n'); time.sleep(600)"
        subprocess.run([sys.executable, "-c", deaf + told], env=environ, start_new_session=True, check=True)
    while len(Path(input["ledger"]).read_text().splitlines()) < 3:
        time.sleep(0.01)
    note(input, os.getpid())
    os._exit(0)


def silent(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Ends with status 0 and says nothing."""
    _half(input, context)
    os._exit(0)


def empty(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Answers, but not with what a training answers with."""
    _half(input, context)
    return {}


def escaped(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Has a process outside its group, and goes on."""
    note(input, os.getpid())
    told = f"import os, time; open({input['ledger']!r}, 'a').write(f'{{os.getpid()}} {{time.time()}}\\n'); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", told], start_new_session=True) as process:
        process.wait()
    return {}
