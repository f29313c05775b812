"""A gateway worker process: `python -m tunekeeper.gateway.main --root ROOT --name w0 --fd FD [--options FILE.json]`.

FD is a listening socket that the supervisor bound and every worker inherits; `--host --port` bind one when run alone. One JSON
line on stdout says that it is ready. SIGTERM stops accepting, finishes what runs and exits 0.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path

from tunekeeper.core.errors import INTERRUPTED, PortInUse, TunekeeperError
from tunekeeper.gateway.options import Options, load_options
from tunekeeper.gateway.server import Connection, raise_descriptors
from tunekeeper.gateway.worker import Gateway
from tunekeeper.workspace import Workspace, open_workspace

BACKLOG = 2048
SWITCH_SECONDS = 0.0005
"""How long a thread that looks through a long body keeps the interpreter while the loop waits for it, again and again within one
small request; a tenth of the default."""
GC_OBJECTS = 20_000
"""New objects that stay before cycles among them are looked for."""


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM; returns the exit code. Errors are one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        import uvloop

        raise_descriptors()
        workspace = open_workspace(Path(arguments.root))
        options = load_options(Path(arguments.options) if arguments.options else None)
        listening = socket.socket(fileno=arguments.fd) if arguments.fd is not None else bind(arguments.host, arguments.port)
        uvloop.run(_serve(workspace, arguments.name, options, listening))
        return 0
    except TunekeeperError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tunekeeper.gateway.main", description="A gateway worker.")
    parser.add_argument("--root", required=True, help="data directory")
    parser.add_argument("--name", default="w0", help="this worker's name: lower-case letters, digits, dashes")
    parser.add_argument("--fd", type=int, default=None, help="inherited listening socket")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind without --fd")
    parser.add_argument("--port", type=int, default=0, help="port to bind without --fd; 0: a free one")
    parser.add_argument("--options", default=None, help="JSON file of gateway.options.Options")
    return parser


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, ready to be inherited by workers. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} of {host} is in use", fix="choose another with --port") from error
        raise PortInUse(
            f"cannot listen on {host}:{port}: {error.strerror}", fix="choose another with --host and --port"
        ) from error
    return listening


async def _serve(workspace: Workspace, name: str, options: Options, listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(
        workspace.root,
        name,
        options,
        workspace.clock,
        request_key=workspace.request_key(),
        pepper=workspace.pepper(),
        environment=os.environ,
    )
    server = await loop.create_server(lambda: Connection(gateway), sock=listening, backlog=BACKLOG)
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(json.dumps({"event": "ready", "listening": url, "pid": os.getpid(), "name": name}), flush=True)
    # What was made at start stays, and a request leaves few cycles: looking for them as often as by default is waste.
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 20, 20)
    sys.setswitchinterval(SWITCH_SECONDS)
    await stop.wait()
    server.close()
    await gateway.drain()
    await gateway.close()


if __name__ == "__main__":
    sys.exit(main())
