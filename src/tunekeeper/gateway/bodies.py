"""What the log keeps of requests and answers: all of it, without personal data, or nothing.

A short body is looked through at once. Of a long one in which something could be, a thread takes the time it needs, while the
loop serves others; its record, and the last byte of its answer, wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from tunekeeper.gateway.record import Record
from tunekeeper.text.redaction import Redactor

SHORT = 65_536
"""Bytes of a body that is looked through on the loop, which stands still meanwhile: some ten milliseconds at most."""
LOOKED_THROUGH = 66_000
"""Bytes of one text, counted for each kind, that are looked through exactly on the loop; three microseconds each at worst."""
LOOKED_THROUGH_LONG = 1_000_000
"""And of a long body in the thread: ten times what 1 MB of program code needs, and what 500 kB of a web server's log need."""


class Bodies:
    """What is kept of bodies."""

    def __init__(self, kinds: tuple[str, ...], *, keep: bool) -> None:
        """`kinds`: kinds of personal data taken out. `keep`: whether bodies are kept at all."""
        self._redactor = Redactor(kinds, most=LOOKED_THROUGH) if kinds else None
        self._patient = Redactor(kinds, most=LOOKED_THROUGH_LONG) if kinds else None
        self._keep = keep
        self._thread: ThreadPoolExecutor | None = None
        self._running: set[asyncio.Future[None]] = set()

    def put(self, record: Record, request: bytes, response: bytes | None, then: Callable[[], object]) -> None:
        """Put into `record` what may be written of both, then call `then`: at once, or later on the same loop."""
        if self._patient is not None and self._keep and (self._slow(request) or (response is not None and self._slow(response))):
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="redaction")
            work = partial(self._put, record, request, response, self._patient)
            looking = asyncio.get_running_loop().run_in_executor(self._thread, work)
            self._running.add(looking)
            looking.add_done_callback(partial(self._done, record, then))
            return
        self._put(record, request, response, self._redactor)
        then()

    def _slow(self, body: bytes) -> bool:
        return len(body) > SHORT and self._patient is not None and self._patient.may_hold(body)

    def _put(self, record: Record, request: bytes, response: bytes | None, redactor: Redactor | None) -> None:
        kept = self._kept(request, redactor)
        if kept is not None:
            record["request"] = kept
        kept = self._kept(response, redactor) if response is not None else None
        if kept is not None:
            record["response"] = kept

    def _done(self, record: Record, then: Callable[[], object], looking: asyncio.Future[None]) -> None:
        self._running.discard(looking)
        if looking.cancelled() or looking.exception() is not None:
            # Whatever went wrong: the record is written, and nothing in it that was not looked through.
            record.pop("request", None)
            record.pop("response", None)
        then()

    async def settled(self) -> None:
        """Wait until every `then` was called, and give the thread back."""
        while self._running:
            await asyncio.wait(self._running)
            await asyncio.sleep(0)
        if self._thread is not None:
            self._thread.shutdown()

    def _kept(self, body: bytes, redactor: Redactor | None) -> msgspec.Raw | bytes | None:
        """A body that msgspec has already parsed, as it may be written: untouched where nothing in it could be a secret."""
        if not self._keep:
            return None
        if redactor is None or not redactor.may_hold(body):
            return msgspec.Raw(body)
        try:
            value = msgspec.json.decode(body)
            clean, counts = redactor.redact_json(value)
            return body if not counts else msgspec.json.encode(clean)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return redactor.redact(body.decode("utf-8", "replace"))[0].encode()

    def text(self, text: str) -> str | None:
        """A piece of an answer's text as it may be written."""
        if not self._keep:
            return None
        return text if self._redactor is None else self._redactor.redact(text)[0]

    def value(self, value: Any) -> Any:
        """A JSON value as it may be written."""
        return value if self._redactor is None else self._redactor.redact_json(value)[0]
