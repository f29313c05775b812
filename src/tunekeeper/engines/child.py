"""What every server child of ours has in common: its lock, its report, its end when the parent goes."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tunekeeper.core.errors import Busy, MissingExtra, PortInUse, TunekeeperError, UpstreamUnavailable
from tunekeeper.store.flocks import seize

PARENT = os.getppid()
"""The process that started this one, noted before anything is loaded: it may be gone when a server begins to answer."""
LOCAL = "pip install 'tunekeeper[local]'"
"""What installs the packages of the servers that we run."""
SIGNS = "signs"
"""Field of a report: the child touches its lock file every few seconds for as long as it is not standing still."""


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every child takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--alias", default="model", help="model name to answer to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--other-port", action="store_true", help="choose a free port when --port is taken")
    parser.add_argument("--api-key-env", help="environment variable that holds the key to ask for")
    parser.add_argument("--lock", type=Path, help="hold this file's flock for life and live on without the parent")
    return parser


def hold_lock(path: Path | None) -> int | None:
    """Take the flock for the rest of the process; the open descriptor. Raises Busy when another server holds it."""
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not seize(handle):
        os.close(handle)
        raise Busy(f"{path}: another server already serves this slot")
    os.ftruncate(handle, 0)
    return handle


def free_port(host: str, port: int, other: bool) -> int:
    """`port` when it can be bound, else 0 if `other` is allowed. Raises PortInUse naming it."""
    if port == 0:
        return 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if other:
                return 0
            raise PortInUse(f"port {port} on {host} is taken", fix="choose another --port, or 0") from error
    return port


def report(handle: int | None, **fields: Any) -> None:
    """Say where the child listens: one JSON line on stdout, and the same text in the lock file."""
    line = json.dumps({**fields, SIGNS: handle is not None, "pid": os.getpid()})
    if handle is not None:
        os.pwrite(handle, line.encode(), 0)
    print(line, flush=True)


def stay(handle: int | None, alive: Callable[[], bool], period: float = 0.25, check_every: int = 8) -> None:
    """Give signs of life until the parent is gone (unless the lock `handle` says to live on). Raises UpstreamUnavailable when the
    server stopped answering three times in a row."""
    missed = ticks = 0
    while missed < 3:
        time.sleep(period)
        if handle is None and os.getppid() != PARENT:
            return
        ticks += 1
        if ticks % check_every == 0:
            if handle is not None:
                os.utime(handle)
            missed = 0 if alive() else missed + 1
    raise UpstreamUnavailable("the server stopped answering and was ended")


def run(main: Callable[[], None]) -> None:
    """Run a child's main function: errors of ours, and packages that are missing, become one line on stderr and an exit code."""
    try:
        main()
    except ModuleNotFoundError as error:
        _give_up(MissingExtra(f"the model server needs package {error.name}, which is not installed", fix=LOCAL))
    except TunekeeperError as error:
        _give_up(error)
    except KeyboardInterrupt:
        os._exit(130)
    os._exit(0)


def _give_up(error: TunekeeperError) -> NoReturn:
    print(str(error), file=sys.stderr, flush=True)
    os._exit(error.exit_code)
