"""A TCP relay in the test's own loop whose link can go down as real ones do: nobody is told, nothing is forwarded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(eq=False, slots=True)
class Link:
    """One relayed connection."""

    pumps: list[asyncio.Task[None]] = field(default_factory=list)
    lost: bool = False
    """Whether it forwards nothing any more, whatever becomes of the link."""


class Relay:
    """Listens at `url` and forwards to an address that may be set later."""

    def __init__(self) -> None:
        self.target = ""
        self.url = ""
        self.links: set[Link] = set()
        self.accepted = 0
        self._up = asyncio.Event()
        self._up.set()

    def down(self) -> None:
        """Forward nothing; connections stay open and new ones are taken."""
        self._up.clear()

    def up(self, *, forget: bool = False) -> None:
        """Forward again. `forget`: only what comes over connections made from now on, as a router that was restarted."""
        for link in self.links if forget else ():
            link.lost = True
        self._up.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection to its end."""
        self.accepted += 1
        link = Link()
        self.links.add(link)
        other: asyncio.StreamWriter | None = None
        try:
            await self._up.wait()
            parts = urlsplit(self.target)
            far, other = await asyncio.open_connection(parts.hostname, parts.port)
            link.pumps = [
                asyncio.create_task(self._pump(link, reader, other)),
                asyncio.create_task(self._pump(link, far, writer)),
            ]
            await asyncio.wait(link.pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.links.discard(link)
            for pump in link.pumps:
                pump.cancel()
            await asyncio.gather(*link.pumps, return_exceptions=True)
            for each in (writer, other):
                if each is not None:
                    each.transport.abort()

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._up.wait()
                if not link.lost:
                    writer.write(data)
                    await writer.drain()


@asynccontextmanager
async def relay(target: str, port: int = 0) -> AsyncIterator[Relay]:
    """A relay to the server at `target` while the block lasts."""
    made = Relay()
    made.target = target
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await made.serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
