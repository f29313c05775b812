"""The listening socket: bound once, inherited by every gateway worker, and kept by a holder of its own.

The holder is a child of a few megabytes that does nothing but keep the descriptor and hand it over `run/socket.sock`. So a
restarted supervisor gets the socket back, and while every worker is being replaced a client waits in the backlog instead of
being refused.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

HOLDER = "socket"


def bind(host: str, port: int, backlog: int = 1024) -> socket.socket:
    """A listening socket. Raises PortInUse when another process listens there, ConfigError for an address that is not ours."""
    from tunekeeper.core.errors import ConfigError, PortInUse

    if not host.strip():  # it would mean every address
        raise ConfigError("the host to listen on is empty", fix="use 127.0.0.1, or 0.0.0.0 for every address")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        if error.errno in (98, 13):
            why = "is in use" if error.errno == 98 else "is not ours to take"
            raise PortInUse(f"port {port} on {host} {why}", fix="choose another with --port, or 0 for a free one") from None
        raise ConfigError(
            f"cannot listen on {host}: {error.strerror}", fix="use 127.0.0.1 or an address of this machine"
        ) from None
    except OverflowError:
        listening.close()
        raise ConfigError(f"port {port} is not between 0 and 65535") from None
    listening.setblocking(False)
    return listening


def bare(host: str) -> str:
    """An address without the brackets that an IPv6 one has in a URL, and so is often written with."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") and ":" in host else host


def recover(run: Path) -> socket.socket | None:
    """The socket that a living holder keeps; None when there is no holder."""
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    asking.settimeout(10.0)  # a holder on a busy machine; one that is gone refuses at once
    folder = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        asking.connect(f"/proc/self/fd/{folder}/{HOLDER}.sock")  # a path of any depth fits the kernel's 108 bytes
        _, handles, _, _ = socket.recv_fds(asking, 1, 1)
    except OSError:
        return None
    finally:
        os.close(folder)
        asking.close()
    if not handles:
        return None
    found = socket.socket(fileno=handles[0])
    found.setblocking(False)
    return found


def holder_command(run: Path, listening: socket.socket) -> tuple[str, ...]:
    """Command line of the child that keeps `listening`; it loads the standard library only."""
    return (sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(run), str(listening.fileno()))


def hold(run: Path, handle: int) -> None:
    """Keep `handle` and hand it to whoever of this user asks, until SIGTERM."""
    os.chdir(run)
    name = f"{HOLDER}.sock"
    if os.path.lexists(name):
        os.unlink(name)
    serving = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    serving.bind(name)
    os.chmod(name, 0o600)
    serving.listen(8)
    while True:
        asking, _ = serving.accept()
        with asking:
            asking.settimeout(2.0)
            try:
                socket.send_fds(asking, [b"1"], [handle])
            except OSError:
                continue  # who asked went away


if __name__ == "__main__":
    hold(Path(sys.argv[1]), int(sys.argv[2]))
