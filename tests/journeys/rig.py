"""What the tests of faults and abuse share: raw clients with a ledger of their own, and a gateway behind `serve`.

The ledger is the oracle: a client notes each request's id before it sends and how it ended after the last byte; the scripted
model server counts what it served; both are joined with the product's log. `TORTURE=1` asks for the whole figures.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.outside.conftest import Gateway, Upstream, call, write_yaml
from tests.patience import PATIENCE
from tunekeeper.processes import ending

MODEL = "desk"
WHOLE = os.environ.get("TORTURE") == "1"
"""Whether the whole figures are asked for (`make torture`), not those of each run of the suite."""


SECONDS = 2700 if WHOLE else 900
"""How long one of these tests may take: a limit for `pytest.mark.timeout`."""


SHARE = float(os.environ.get("TORTURE_SHARE", "1"))
"""Which part of the whole figures is asked for."""


def figure(often: int, whole: int) -> int:
    """A count: `often` in `make test`; `whole` in `make torture`, or the part of it that TORTURE_SHARE says, but not less."""
    return max(often, int(whole * SHARE)) if WHOLE else often


def within(seconds: float, most: float) -> bool:
    """Whether it took no longer than it may. Only `make torture` asks: `make test` must pass however busy the machine is."""
    return not WHOLE or seconds < most


def say(name: str, seed: int | None = None, **figures: Any) -> None:
    """Print what a test found, for whoever runs it with `-s` or sees it fail."""
    told = " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in figures.items())
    print(f"{name}{'' if seed is None else f' seed={seed}'} {told}", flush=True)


def at(values: list[float], share: float) -> float:
    """The value that a share of them does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(slots=True)
class Entry:
    """One request, as its client knows it."""

    id: str
    stream: bool
    sent: float = 0.0
    status: int = 0
    whole: bool = False
    error: str = ""
    text: bytes = b""
    heads: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class Wire:
    """A client connection of our own: HTTP written and read by hand, so that nothing is retried or mended."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=1 << 20)

    def close(self, *, hard: bool = False) -> None:
        writer, self.reader, self.writer = self.writer, None, None
        if writer is not None:
            (writer.transport.abort if hard else writer.close)()

    async def send(self, data: bytes) -> None:
        if self.writer is None:
            await self.open()
        assert self.writer is not None
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        assert self.reader is not None
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        return int(lines[0].split(" ")[1]), headers

    async def body(self, headers: dict[str, str], sink: Callable[[bytes], None]) -> None:
        """The body of the answer, piece by piece; raises IncompleteReadError when it ends early."""
        assert self.reader is not None
        if "content-length" in headers:
            sink(await self.reader.readexactly(int(headers["content-length"])))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            sink(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)


def message(id: str, *, stream: bool = False, host: str = "x", path: str = "/v1/chat/completions", **body: Any) -> bytes:
    """The bytes of one chat request."""
    whole = {"model": MODEL, "messages": [{"role": "user", "content": f"hello from {id}"}], **body}
    if stream:
        whole["stream"] = True
    raw = json.dumps(whole).encode()
    return f"POST {path} HTTP/1.1\r\nhost: {host}\r\nx-request-id: {id}\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw


async def ask(wire: Wire, entry: Entry, **body: Any) -> Entry:
    """Send one request and read its answer to the last byte; the entry tells what became of it."""
    entry.sent = time.monotonic()
    try:
        await wire.send(message(entry.id, stream=entry.stream, **body))
        entry.status, entry.heads = await wire.head()
        pieces: list[bytes] = []
        try:
            await wire.body(entry.heads, pieces.append)
            entry.whole = True
        finally:
            entry.text = b"".join(pieces)
        if entry.stream and entry.status == 200 and not entry.text.endswith(b"data: [DONE]\n\n"):
            entry.whole = False
        if entry.heads.get("connection") == "close":
            wire.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        entry.error = type(error).__name__
        wire.close()
    entry.seconds = time.monotonic() - entry.sent
    return entry


class Ledger:
    """Everything that was asked, written down before it was sent."""

    def __init__(self, prefix: str = "c") -> None:
        self.entries: dict[str, Entry] = {}
        self._prefix = prefix
        self._numbers = itertools.count()

    def open(self, *, stream: bool = False) -> Entry:
        entry = Entry(f"{self._prefix}-{next(self._numbers)}", stream)
        self.entries[entry.id] = entry
        return entry

    @property
    def answered(self) -> list[Entry]:
        """Those whose client has the last byte of a 200."""
        return [entry for entry in self.entries.values() if entry.whole and entry.status == 200]

    def errors(self) -> Counter[str]:
        """How the others ended."""
        return Counter(
            entry.error or str(entry.status) for entry in self.entries.values() if not (entry.whole and entry.status == 200)
        )


async def load(
    url: str, ledger: Ledger, until: Callable[[], bool], *, clients: int, pause: float = 0.0, streams: bool = True, **body: Any
) -> None:
    """Closed-loop clients, every other one streaming, each on its own kept connection, until told otherwise."""

    async def client(number: int) -> None:
        wire = Wire(url)
        while not until():
            await ask(wire, ledger.open(stream=streams and number % 2 == 1), **body)
            if wire.writer is None:
                await asyncio.sleep(0.01)  # it was cut: a client that calls again at once would only spin
            if pause:
                await asyncio.sleep(pause)
        wire.close()

    await asyncio.gather(*(client(number) for number in range(clients)))


async def eventually(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = PATIENCE) -> Any:
    """What `condition` gives once it is true."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


@dataclass(slots=True)
class Rig:
    """A gateway under `serve` and its model servers `a` and `b`."""

    gateway: Gateway
    a: Upstream
    b: Upstream
    data: Path

    @property
    def url(self) -> str:
        return self.gateway.url

    def worker(self) -> psutil.Process | None:
        """The first gateway worker that lives now: not a spare that waits to be one."""
        pid = ending.running(self.data).get("gateway-w1")
        if pid in (None, self.gateway.running.process.pid):  # who starts a child holds its lock for a moment
            return None
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(pid)
        return None

    def another(self, pid: int) -> bool:
        """Whether a worker other than the process `pid` has begun."""
        found = self.worker()
        return found is not None and found.pid != pid

    def records(self, *words: str) -> list[dict[str, Any]]:
        """What the log holds."""
        return [json.loads(line) for line in call("log", "ls", "--data", self.data, *words).out.splitlines()]

    def verify(self) -> dict[str, int]:
        """What `log verify` finds."""
        found: dict[str, int] = call("log", "verify", "--data", self.data, "--json").json
        return found


@contextmanager
def rig(
    folder: Path,
    *,
    workers: int = 1,
    limits: dict[str, Any] | None = None,
    log: dict[str, Any] | None = None,
    answer: str | None = None,
    **model: Any,
) -> Iterator[Rig]:
    """A running gateway with model `desk` on slots `a` (all traffic) and `b`."""
    servers = [Upstream(*(() if answer is None else ("--answer", answer))) for _ in range(2)]
    slots = {
        name: {"engine": "openai", "endpoint": f"{each.url}/v1", "model": name} for name, each in zip("ab", servers, strict=True)
    }
    spec = {"slots": slots, "route": {"a": 10000}, **model}
    file = write_yaml(folder / "gateway.yaml", {"limits": limits or {}, "log": log or {}, "models": {MODEL: spec}})
    run = None
    try:
        run = Rig(
            Gateway("--config", file, "--data", folder / "data", "--workers", str(workers), "--json"), *servers, folder / "data"
        )
        yield run
    finally:
        if run is not None:  # its gateway may be another one by now
            with suppress(psutil.NoSuchProcess):
                run.gateway.running.stop(seconds=60)
        for each in servers:
            each.running.stop()


def many_files() -> None:
    """Let this process hold as many connections as the system allows it: some systems begin with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@dataclass(slots=True)
class Watched:
    """What a process held while it was watched, beyond what it held before."""

    before: int
    most: int = 0
    stalls: list[float] = field(default_factory=list)
    """Seconds that each readiness probe took meanwhile."""

    @property
    def grown_mb(self) -> float:
        return max(0, self.most - self.before) / 1e6


@asynccontextmanager
async def watched(run: Rig, *, probe: bool = True) -> AsyncIterator[Watched]:
    """Watch the memory of the gateway's worker, and ask its readiness probe again and again on one kept connection."""
    worker = await eventually(run.worker)
    seen, over = Watched(worker.memory_info().rss), asyncio.Event()

    async def look() -> None:
        wire = Wire(run.url)
        while not over.is_set():
            seen.most = max(seen.most, worker.memory_info().rss)
            if probe:
                began = time.monotonic()
                await wire.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
                status, heads = await wire.head()
                await wire.body(heads, lambda _: None)
                assert status == 200
                seen.stalls.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
        wire.close()

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        over.set()
        await task
