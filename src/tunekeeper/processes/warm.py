"""A spare process that has its imports behind it and waits to be told what to be: what a gateway worker costs before its first
line of work is its imports, and those can be done beforehand.

`python -m tunekeeper.processes.warm MODULE[,ALSO…] FD` imports MODULE and waits on the socket FD for one order: arguments,
environment and descriptors. Then it is that process (`MODULE.main(arguments)`) until it ends. When whoever holds the other end
dies or loses interest, it ends without a word: a spare is never left behind. It is started like any child, never forked out of a
process that works, so that no lock, connection or thread crosses over.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

MOST_HANDLES = 16
_ROOM = 64
"""Descriptors are put aside from this number on, before they are put where the order wants them."""


class Spare:
    """One process that waits."""

    def __init__(self, modules: Sequence[str], environ: Mapping[str, str], *, heard: bool = False) -> None:
        """Starts it; returns at once, while it imports `modules`, of which it will be the first. `heard`: its stderr is a pipe,
        to be read from its process. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                (sys.executable, "-m", __name__, ",".join(modules), str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE if heard else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=dict(environ),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = ours

    def become(self, arguments: Sequence[str], environ: Mapping[str, str], handles: Mapping[int, int]) -> subprocess.Popen[bytes]:
        """Let it run `MODULE.main(arguments)`, at once or when its imports are done; returns the process, which is the caller's
        from now on. `environ`: all of its environment. `handles`: number there → descriptor here. Raises OSError when it has
        died."""
        order = {"arguments": list(arguments), "environ": dict(environ), "handles": list(handles)}
        data = json.dumps(order).encode()
        with self._channel as channel:
            sent = socket.send_fds(channel, [data], list(handles.values()))
            channel.sendall(data[sent:])
        return self.process

    def alive(self) -> bool:
        """Whether it still waits. Reaps it when it ended."""
        return self.process.poll() is None

    def drop(self) -> None:
        """End it unused."""
        self._channel.close()
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


class Nursery:
    """The spares of one module that a supervisor keeps."""

    def __init__(self, module: str, *also: str, environ: Mapping[str, str], heard: bool = False) -> None:
        """Starts none. `also`: what `module` imports later, when it works. `environ`: what spares see while they import; the
        order brings the rest. `heard` as of Spare."""
        self.module = module
        self._modules = (module, *also)
        self._environ = dict(environ)
        self._heard = heard
        self._spares: list[Spare] = []

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self.keep(0)

    def keep(self, count: int) -> None:
        """Have `count` spares: start what is missing, end what is too much. One that cannot be started is done without."""
        with contextlib.suppress(OSError):
            while len(self._spares) < count:
                self._spares.append(Spare(self._modules, self._environ, heard=self._heard))
        while len(self._spares) > count:
            self._spares.pop().drop()

    def take(self) -> Spare | None:
        """The spare that has waited longest; it is the caller's now. None when there is none that lives."""
        while self._spares:
            spare = self._spares.pop(0)
            if spare.alive():
                return spare
            spare.drop()
        return None


def main(arguments: Sequence[str]) -> int:
    """Import, wait, be. Returns the exit code of what it became; 0 when it was not needed."""
    modules, handle = arguments
    # What is wrong with an import is said below, where there is a log to say it in.
    with contextlib.suppress(Exception):
        for name in modules.split(","):
            importlib.import_module(name)
    with socket.socket(fileno=int(handle)) as channel:
        order, received = _receive(channel)
        if order is None:
            return 0
        aside = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _ROOM) for each in received]
        for each in received:
            os.close(each)
    for wanted, each in zip(order["handles"], aside, strict=True):
        os.dup2(each, wanted, inheritable=wanted < 3)
        os.close(each)
    os.environ.clear()
    os.environ.update(order["environ"])
    code: int = importlib.import_module(modules.split(",")[0]).main(order["arguments"])
    return code


def _receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The order and its descriptors; None when there comes none, or not all of it."""
    data, received, _, _ = socket.recv_fds(channel, 1 << 20, MOST_HANDLES)
    whole = bytearray(data)
    while data:
        data = channel.recv(1 << 20)
        whole += data
    try:
        order: dict[str, Any] | None = json.loads(whole)
    except ValueError:
        order = None
    return order, received


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
