"""One child process: started with its lock, adopted from an earlier supervisor, restarted with back-off, stopped by its id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tunekeeper.processes import locks
from tunekeeper.processes.warm import Spare

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Without these, OpenMP threads spin on a busy machine and slow everything twentyfold."""
FIRST_DELAY, LAST_DELAY, GOOD_LIFE = 0.2, 30.0, 60.0
"""Seconds before the first restart, at most, and of life after which the delays begin anew."""
LOG_BYTES = 1_000_000
"""Size beyond which a log is cut, so that two files of some of these are all that a child leaves."""
REPORT = '{"listening"'
"""How the line begins with which a child says where it listens: good news, and no reason for its end."""
WORDS = 3
"""Words of the command line of a Python module before its arguments: the interpreter, `-m`, the module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a child is."""

    name: str
    """E.g. `keeper`, `gateway-w1`, `worker`, `engine-support-desk-blue`."""
    command: tuple[str, ...]
    """The command line."""
    lock: Path
    """File whose flock says that it lives."""
    takes_lock: bool = False
    """The child takes the lock itself; else it inherits it."""
    fds: tuple[int, ...] = ()
    """Descriptors that it inherits under the same numbers."""
    grace: float = 5.0
    """Seconds between SIGTERM and SIGKILL."""
    longest: float = LAST_DELAY
    """Most seconds before it is started again, however often it has died."""
    at_once: bool = False
    """Whether it is started again without delay after its first death in a row."""
    stdout: bool = False
    """Whether its standard output is ours, and only what it says on stderr goes to its log."""


@dataclass(slots=True)
class Child:
    """A child and how often it had to be started again."""

    plan: Plan
    """What it is."""
    pid: int | None = None
    """Its process id while it lives, as far as we know."""
    process: subprocess.Popen[bytes] | None = None
    """The process, where this supervisor started it."""
    started: float = 0.0
    """Monotonic seconds at its last start."""
    failures: int = 0
    """Deaths in a row."""
    due: float = 0.0
    """Monotonic seconds before which it is not started again."""
    log: Path | None = field(default=None)
    """Where its stderr goes, and its stdout too unless the plan keeps it apart."""

    def adopt(self) -> bool:
        """Whether a process of an earlier supervisor holds the lock; then it is ours from now on."""
        if not locks.held(self.plan.lock):
            return False
        self.pid = locks.holder(self.plan.lock)
        return True

    def start(self, environ: dict[str, str], now: float | None = None, spare: Spare | None = None) -> None:
        """Start it; `spare`: a process that waits to become it, in place of a new one. Raises OSError when the command cannot be
        run, FileExistsError while another process holds its lock."""
        now = time.monotonic() if now is None else now
        handle = None if self.plan.takes_lock else locks.take(self.plan.lock)
        if handle is None and not self.plan.takes_lock:
            raise FileExistsError(f"{self.plan.lock} is held")
        fds = (*self.plan.fds, *([handle] if handle is not None else []))
        self.log = self.plan.lock.parent / "logs" / f"{self.plan.name}.log"
        try:
            with _open_log(self.log) as output:
                self.process = self._process(output, fds, {**environ, **QUIET}, spare)
            self.pid, self.started = self.process.pid, now
            if handle is not None:
                locks.write_holder(handle, self.process.pid)
        finally:
            if handle is not None:
                os.close(handle)  # the child's copy keeps the lock

    def _process(
        self, output: IO[bytes], fds: tuple[int, ...], environ: dict[str, str], spare: Spare | None
    ) -> subprocess.Popen[bytes]:
        if spare is not None:
            handles = {1: output.fileno(), 2: output.fileno(), **{each: each for each in fds}}
            try:
                return spare.become(self.plan.command[WORDS:], environ, handles)
            except OSError:
                spare.drop()
        return subprocess.Popen(
            self.plan.command,
            stdin=subprocess.DEVNULL,
            stdout=None if self.plan.stdout else output,
            stderr=output,
            pass_fds=fds,
            env=environ,
            start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, in order
        )

    def alive(self) -> bool:
        """Whether it runs. Reaps it when it ended."""
        if self.process is not None:
            return self.process.poll() is None
        return locks.held(self.plan.lock)

    def handle(self) -> int | None:
        """A descriptor that becomes readable when it ends, to be closed by the caller; None where this system has none, or the
        process is not our own."""
        if self.pid is None or self.process is None or self.process.returncode is not None:
            return None
        with contextlib.suppress(OSError):
            return os.pidfd_open(self.process.pid)
        return None

    def died(self, now: float) -> float:
        """Note a death; returns the seconds to wait before it may start again."""
        self.failures = 1 if now - self.started > GOOD_LIFE else self.failures + 1
        delay: float = min(self.plan.longest, FIRST_DELAY * 2.0 ** (self.failures - 1))
        if self.plan.at_once and self.failures == 1:
            delay = 0.0
        self.due, self.pid = now + delay, None
        return delay

    def signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        pid = self.pid if self.process is not None else locks.holder(self.plan.lock)
        if pid is not None and self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, grace: float | None = None) -> bool:
        """SIGTERM, then SIGKILL after `grace` seconds (default: the plan's). Returns whether it ended by itself."""
        self.signal(signal.SIGTERM)
        if self.wait(self.plan.grace if grace is None else grace):
            return True
        self.signal(signal.SIGKILL)
        self.wait(5.0)
        return False

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came in time."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        return True

    def why(self) -> str:
        """Why it ended: the signal that killed it, else the last line it wrote, else its exit code."""
        code = self.process.returncode if self.process is not None else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return self.last_words() or f"ended with {code}"

    def last_words(self) -> str:
        """The last line of its log, for a message; nothing where that cannot be read (any more)."""
        if self.log is None:
            return ""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        except OSError:
            return ""
        return lines[-1][:500] if lines and not lines[-1].startswith(REPORT) else ""


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def cut_logs(folder: Path) -> None:
    """Cut every log of a folder that has grown too large: its newest part becomes `NAME.old`, and it goes on empty.

    Who writes to it keeps its handle, which appends: a child that says much fills no disk, however long it lives.
    """
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            if (size := os.fstat(file.fileno()).st_size) <= LOG_BYTES:
                continue
            file.seek(size - LOG_BYTES)
            path.with_suffix(".old").write_bytes(file.read(LOG_BYTES))
            file.truncate(0)
