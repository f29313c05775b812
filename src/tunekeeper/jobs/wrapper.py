"""Holds a job's lock while its child works: `python -m tunekeeper.jobs.wrapper FOLDER`, in a session of its own.

It keeps the child's output within bounds, ends it when it takes too long, and renames `exit.json` into place as its last act.
Told to end (SIGTERM), it ends the child's group and leaves no `exit.json`: the job counts as died and is tried again, unless
its row says that it was cancelled.
"""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from tunekeeper.jobs.folder import Exit, descendants, process, read_json, write_json

_PIECE = 1 << 16
_ADOPT_ORPHANS = 36
_PATIENCE = 10.0
"""Seconds for what was killed to be gone; only a process that waits for a broken disk takes longer."""
EXPENDABLE = 500
"""The kernel's mark of what to end first where memory runs out, of at most 1000; others have 0."""


class Told(BaseException):
    """SIGTERM arrived. Not an Exception, so that nothing on the way swallows it."""


def main(folder: Path) -> int:
    """Run one attempt to its end. Returns 0 when `exit.json` was written."""
    # What leaves the child's group and loses its parent becomes ours, so that it can be found and ended with the rest.
    ctypes.CDLL(None, use_errno=True).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    write_json(folder / "wrapper.json", process(os.getpid()))
    signal.signal(signal.SIGTERM, _told)
    task = read_json(folder / "task.json") or {}
    start = time.monotonic()
    child = _start(folder)
    try:
        timed_out = _follow(child, folder, task, start)
    except Told:
        _end(child, float(task.get("grace", 3.0)))
        return 1
    _end(child, float(task.get("grace", 3.0)))
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = Exit(
        attempt=int(task.get("attempt", 0)),
        rc=child.returncode,
        seconds=round(time.monotonic() - start, 4),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 4),
        answer=read_json(folder / "answer.json"),
        timed_out=timed_out,
    )
    write_json(folder / "exit.json", asdict(ended))
    return 0


def _told(number: int, frame: FrameType | None) -> None:
    raise Told


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "tunekeeper.jobs.child", str(folder), str(os.getpid())]
    child = subprocess.Popen(
        command, cwd=folder / "files", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0
    )
    write_json(folder / "child.json", process(child.pid))
    _expendable(child.pid)
    return child


def _expendable(pid: int) -> None:
    """Where memory runs out, the kernel ends a job before a gateway or a model server. What started by a job has its mark too."""
    mark = Path(f"/proc/{pid}/oom_score_adj")
    with suppress(OSError):
        mark.write_text(str(max(EXPENDABLE, int(mark.read_text()))))


def _follow(child: subprocess.Popen[bytes], folder: Path, task: dict[str, Any], start: float) -> bool:
    """Copy the child's output until it ends; whether it had to be ended for its time-out."""
    limit = int(task.get("output_bytes", 0))
    timeout = task.get("timeout")
    descriptor = os.pidfd_open(child.pid)
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector, (folder / "output.log").open("wb") as log:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(descriptor, selectors.EVENT_READ)
        kept = 0
        while True:
            left = None if timeout is None else max(0.0, start + float(timeout) - time.monotonic())
            ready = [key.fileobj for key, _ in selector.select(left)]
            if child.stdout in ready:
                kept, open_still = _copy(child.stdout.fileno(), log, kept, limit)
                if not open_still:
                    selector.unregister(child.stdout)
            if descriptor in ready:
                _copy(child.stdout.fileno(), log, kept, limit)
                break
            if not ready and left == 0.0:
                break
    os.close(descriptor)
    return child.poll() is None


def _copy(source: int, log: BinaryIO, kept: int, limit: int) -> tuple[int, bool]:
    """Move what is there to read, up to the limit, and drop the rest. (bytes kept so far, whether more can come)."""
    while True:
        try:
            piece = os.read(source, _PIECE)
        except BlockingIOError:
            return kept, True
        if not piece:
            return kept, False
        with suppress(OSError):
            # A full disk must not end the work for the sake of its chatter.
            log.write(piece[: max(0, limit - kept)])
            log.flush()
        kept += len(piece)


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """End the whole group: a child still at work is asked first; grandchildren of one that has ended are killed, and so is what
    left the group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(grace)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    patience = time.monotonic() + _PATIENCE
    while (left := descendants(os.getpid())) and time.monotonic() < patience:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
