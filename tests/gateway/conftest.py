"""A whole gateway worker and its model servers, on real sockets, in a thread beside the test."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvloop

from tests.patience import PATIENCE, until
from tunekeeper.core.clock import SystemClock
from tunekeeper.core.nouns.serving import ApiKey, Route, RouteTable, Share, Slot
from tunekeeper.gateway.auth import hash_key
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.main import bind
from tunekeeper.gateway.options import Options
from tunekeeper.gateway.server import Connection
from tunekeeper.gateway.worker import Gateway
from tunekeeper.store.log.lines import scan
from tunekeeper.store.published import publish
from tunekeeper.testing.upstream import FakeUpstream

KEY, PEPPER = b"k" * 32, b"p" * 32
MODEL = "support-desk"


def share(slot: str, variant: str, low: int, high: int) -> Share:
    return Share(slot=slot, variant=variant, ranges=((low, high),))  # type: ignore[arg-type]


def lines_of(root: Path, kind: str) -> list[dict[str, Any]]:
    """Every whole spool line of a kind."""
    found = []
    for path in sorted((root / "spool").glob("*.jsonl")):
        found += [msgspec.json.decode(line.json) for line in scan(path.read_bytes()).lines if line.kind == kind]
    return found


class Bench:
    """One gateway worker with two fake model servers, `a` (champion) and `b`."""

    def __init__(self, root: Path, options: Options) -> None:
        self.root = root
        self.options = options
        for name in ("run", "spool", "routes"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.a, self.b = FakeUpstream(), FakeUpstream()
        self.table = RouteTable(generation=0)
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        # Making a TLS context for each request costs more than the request.
        self.http = httpx.Client(timeout=PATIENCE, verify=False)

    def start(self) -> Bench:
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the gateway did not start"
        return self

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._main())
        self.loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        await self.a.start()
        await self.b.start()
        self.publish()
        self.gateway = Gateway(
            self.root,
            "w0",
            self.options,
            SystemClock(),
            request_key=KEY,
            pepper=PEPPER,
            environment={"UP_KEY": "secret-upstream"},
        )
        self.listening = bind("127.0.0.1", 0)
        self.port = self.listening.getsockname()[1]
        server = await self.loop.create_server(lambda: Connection(self.gateway), sock=self.listening)
        self._ready.set()
        await self._stop.wait()
        server.close()
        if await self._is_used():
            await self.gateway.drain()
        await self.gateway.close()
        await self.a.close()
        await self.b.close()

    async def _is_used(self) -> bool:
        """Whether anything is left to drain once the clients of a test that is over have hung up."""
        for _ in range(20):
            if not self.gateway.active and not self.gateway.connections:
                return False
            await asyncio.sleep(0.001)
        return True

    def stop(self) -> None:
        self.http.close()
        if self._thread.is_alive() and self._stop is not None:
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def publish(self, *, keys: tuple[ApiKey, ...] = (), slot: dict[str, Any] | None = None, **route: Any) -> int:
        """Publish the next table: slots `a` and `b`, all traffic to `a` unless `route` says otherwise."""
        slots = {
            name: Slot(id=name, model=MODEL, version=version, endpoint=fake.url + "/v1", observed="ready", **(slot or {}))
            for name, version, fake in (
                ("a", "v1.0-2026-01-05-812examples", self.a),
                ("b", "v1.1-2026-02-09-1004examples", self.b),
            )
        }
        number = self.table.generation + 1
        shares = route.pop("shares", (share("a", "champion", 0, 10_000),))
        made = Route(model=MODEL, generation=number, salt="s", champion="a", shares=shares, **route)
        self.table = RouteTable(generation=number, routes={MODEL: made}, slots=slots, keys=keys, asks_key=bool(keys))
        publish(self.root, self.table)
        return number

    def replace_slot(self, name: str, **changes: Any) -> None:
        """Publish the next table with one slot changed."""
        slots = {**self.table.slots, name: dataclasses.replace(self.table.slots[name], **changes)}
        self.table = dataclasses.replace(self.table, generation=self.table.generation + 1, slots=slots)
        publish(self.root, self.table)

    def key(self, text: str, *scopes: str, **more: Any) -> ApiKey:
        return ApiKey(id=f"key_{text}", hash=hash_key(text, PEPPER), scopes=scopes or ("infer",), **more)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def chat(self, text: str = "hello", headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        whole = {"model": MODEL, "messages": [{"role": "user", "content": text}], **body}
        return self.http.post(f"{self.url}/v1/chat/completions", json=whole, headers=headers)

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        return self.http.get(self.url + path, headers={"authorization": f"Bearer {key}"} if key else None)

    def raw(self, data: bytes, *, wait: float = PATIENCE) -> bytes:
        """Send bytes, return everything that comes back until the gateway closes or falls silent for `wait`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as sock:
            sock.sendall(data)
            heard = b""
            try:
                while piece := sock.recv(65536):
                    heard += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return heard

    def narrow(self, data: bytes) -> socket.socket:
        """A client on a line that holds few bytes, which has sent `data` and reads nothing yet."""
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        sock.connect(("127.0.0.1", self.port))
        sock.sendall(data)
        return sock

    def records(self, n: int = 0, kind: str = "E") -> list[dict[str, Any]]:
        """The log's lines of a kind, once there are at least `n`."""
        until(lambda: len(lines_of(self.root, kind)) >= n)
        return lines_of(self.root, kind)

    def record(self, response: httpx.Response) -> dict[str, Any]:
        """The one record of an answer."""
        wanted = response.headers["x-tunekeeper-request-id"]
        until(lambda: any(r["request_id"] == wanted for r in lines_of(self.root, "E")))
        found = [r for r in lines_of(self.root, "E") if r["request_id"] == wanted]
        assert len(found) == 1
        return found[0]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, Options(limits=Limits(drain_seconds=2))).start()
    yield made
    made.stop()


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[[Options], Bench]]:
    made: list[Bench] = []

    def make(options: Options) -> Bench:
        made.append(Bench(tmp_path / str(len(made)), options).start())
        return made[-1]

    yield make
    for one in made:
        one.stop()
