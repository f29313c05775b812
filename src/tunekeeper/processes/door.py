"""The gateway's door: the listening socket, the holder that keeps it, and the workers that answer on it."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunekeeper.core import errors
from tunekeeper.core.errors import OurFault, TunekeeperError
from tunekeeper.gateway.options import Options, write_options
from tunekeeper.processes import budgets, ending, sockets
from tunekeeper.processes.children import Child, Plan
from tunekeeper.processes.supervisor import Supervisor
from tunekeeper.store import published

READY_SECONDS = 60.0
"""Of real time, which a machine that starts many things at once may need."""
LONGEST_WITHOUT_GATEWAY = 0.25
"""Seconds before a gateway that died is started again, however often it has: users wait in the backlog meanwhile."""


class Door:
    """The listening socket, its holder and the gateway workers."""

    def __init__(self, supervisor: Supervisor, root: Path, host: str, port: int) -> None:
        """Binds, or takes the socket back from the holder. Raises PortInUse, ConfigError."""
        self.supervisor = supervisor
        self.root = root
        self.run = root / "run"
        self.host = sockets.bare(host)
        self.socket = self._socket(self.host, port)
        self.names: list[str] = []
        self._adding = budgets.begin(root)  # it takes longer than what is done before `open`

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        budgets.drop(self._adding)
        self.socket.close()

    def _socket(self, host: str, port: int) -> socket.socket:
        """The holder's socket where it listens where we are asked to, else a new one (after ending who holds the old one)."""
        kept = sockets.recover(self.run)
        if kept is None:
            return sockets.bind(host, port)
        if kept.getsockname()[0] == host and port in (0, kept.getsockname()[1]):
            return kept
        kept.close()
        fresh = sockets.bind(host, port)
        for prefix in ("child-gateway", "child-socket"):
            ending.end_matching(self.run, prefix)
        return fresh

    def open(self, options: Options, workers: int) -> None:
        """Start or adopt the workers; those that run with other options, or that nobody asks for any more, are drained first."""
        path = self.run / "gateway.json"
        before = path.read_bytes() if path.exists() else b""
        write_options(path, options)
        changed = path.read_bytes() != before
        self.names = [f"w{number}" for number in range(1, workers + 1)]
        handle = self.socket.fileno()
        for lock in self.run.glob("child-gateway-*.lock"):
            if changed or lock.stem.removeprefix("child-gateway-") not in self.names:
                ending.end_matching(self.run, lock.stem)
        adding, self._adding = self._adding, None
        unknown = budgets.restore(self.root, adding)
        if unknown is not None:
            self.supervisor.say({"event": "budgets_unknown", "why": unknown})
        for name in self.names:
            command = (
                *(sys.executable, "-m", "tunekeeper.gateway.main"),
                *("--root", str(self.root), "--name", name, "--fd", str(handle), "--options", str(path)),
            )
            grace = options.limits.drain_seconds + 5.0
            lock = self.run / f"child-gateway-{name}.lock"
            plan = Plan(name=f"gateway-{name}", command=command, lock=lock, fds=(handle,), grace=grace)
            self.supervisor.ensure(replace(plan, longest=LONGEST_WITHOUT_GATEWAY, at_once=True))
        holder = sockets.holder_command(self.run, self.socket)
        self.supervisor.ensure(Plan(name="socket", command=holder, lock=self.run / "child-socket.lock", fds=(handle,)))

    @property
    def url(self) -> str:
        """Where clients reach the gateway, without `/v1`."""
        port = self.socket.getsockname()[1]
        return f"http://[{self.host}]:{port}" if ":" in self.host else f"http://{self.host}:{port}"

    def wait_obeyed(self) -> None:
        """Return when every worker obeys the published routes. Raises what a worker that ended said."""
        generation = published.PublishedReader(self.root).generation()
        end = time.monotonic() + READY_SECONDS
        children = [self.supervisor.children[f"gateway-{name}"] for name in self.names]
        while True:
            done, _ = published.barrier(self.root, generation, 0.05)
            if set(self.names) <= set(done):
                break
            for child in children:
                if not child.alive():
                    raise _why(child)
            if time.monotonic() > end:
                raise OurFault(f"no gateway worker answered within {READY_SECONDS:.0f} s", fix=f"look into {self.run / 'logs'}")
            time.sleep(0.005)

    def say_ready(self, loading: Sequence[str] = ()) -> None:
        """Say where the gateway answers, which processes do, and which slots' model servers are still `loading`."""
        pids = [self.supervisor.children[f"gateway-{name}"].pid for name in self.names]
        ready = {"event": "ready", "url": self.url, "pid": os.getpid(), "workers": pids}
        self.supervisor.say(ready | ({"loading": list(loading)} if loading else {}))


def _why(child: Child) -> TunekeeperError:
    """What a child that ended at its start had to say, as an error of the same exit code."""
    code = child.process.returncode if child.process is not None else None
    said = child.last_words().removeprefix("error: ") or f"{child.plan.name} ended with {code}"
    kinds: dict[int | None, type[TunekeeperError]] = {2: errors.UserError, 4: errors.OutsideError}
    return kinds.get(code, OurFault)(said)
