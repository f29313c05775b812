"""Which of our requests gave the answer with this `id`, and whose is a request? Asked of the keeper over its unix socket, without
blocking the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from tunekeeper.store.log.lookups import SECONDS, SOCKET, Answer, Question
from tunekeeper.store.published import short_address


@dataclass(frozen=True, slots=True)
class KeeperAway:
    """The keeper does not answer."""


class _Asking(asyncio.Protocol):
    def __init__(self, question: Question, loop: asyncio.AbstractEventLoop, done: Callable[[Answer | KeeperAway], None]) -> None:
        self._question = msgspec.json.encode(question) + b"\n"
        self._done: Callable[[Answer | KeeperAway], None] | None = done
        self._heard = b""
        self._timer = loop.call_later(SECONDS, self.give_up)
        self._transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._question)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._heard.endswith(b"\n"):
            return
        try:
            answer = msgspec.json.decode(self._heard, type=Answer)
        except msgspec.DecodeError:
            self._tell(KeeperAway())
            return
        self._tell(answer if answer.error is None else KeeperAway())

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(KeeperAway())

    def give_up(self) -> None:
        """Too late, or no connection."""
        self._tell(KeeperAway())

    def _tell(self, answer: Answer | KeeperAway) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
        done(answer)


def look_up(root: Path, question: Question, loop: asyncio.AbstractEventLoop, done: Callable[[Answer | KeeperAway], None]) -> None:
    """Ask the keeper of the workspace at `root`; `done` hears exactly once, within SECONDS."""
    asking = _Asking(question, loop, done)
    # A task that nobody holds may be collected before it ends.
    asking.task = loop.create_task(_connect(root, asking, loop))


async def _connect(root: Path, asking: _Asking, loop: asyncio.AbstractEventLoop) -> None:
    try:
        with short_address(root / "run" / SOCKET) as address:
            await loop.create_unix_connection(lambda: asking, address)
    except OSError:
        asking.give_up()
