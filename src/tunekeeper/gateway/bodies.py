"""What the log keeps of requests and answers: all of it, without personal data, or nothing.

A short body is looked through at once. For a long one a thread takes the time it needs, while the loop serves others; its record,
and the last byte of its answer, wait for it. So it is with any body where names are looked for, or what is found is sealed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tunekeeper.gateway.record import Record
from tunekeeper.text.names import detector
from tunekeeper.text.redaction import NAME, Redactor
from tunekeeper.text.seals import Seal

SHORT = 65_536
"""Bytes of a body that is looked through on the loop, which stands still meanwhile: some ten milliseconds at most."""
LOOKED_THROUGH = 66_000
"""Bytes of one text, counted for each kind, that are looked through exactly on the loop; three microseconds each at worst."""
LOOKED_THROUGH_LONG = 1_000_000
"""And of a long body in the thread: ten times what 1 MB of program code needs, and what 500 kB of a web server's log need."""


HELD, HELD_LONG = 300, 8_192
"""Most characters of a running stream's text that wait for what comes next, and of what has no end yet."""
SEALED = "sealed"
"""Field of a logged request, and of a statement's metadata, that holds the box."""
PIECES, APART = 900, 1_000_000
"""Pieces of a running stream that are sealed each, and how far apart their numbers begin: placeholders have nine digits."""
_PLAIN = 5
"""Words in a row without digits or signs, before which nothing goes on that is looked for: some lead to it (`call me at`)."""
_WORD = re.compile(r"\S+")
Found = Sequence[tuple[int, int, str]]


def settled(text: str, found: Found) -> int:
    """Characters of a running text that may be written now: what could be half of something waits. `found`: what is known to be
    in it."""
    cut = min(_settled_words(text), _last_word(text))
    for start, end, _ in found:
        if start < cut < end:
            return start if len(text) - start <= HELD_LONG else end
    return cut


def _settled_words(text: str) -> int:
    tail = max(0, len(text) - HELD)
    words = list(_WORD.finditer(text, tail))
    plain = 0
    for word in reversed(words):
        plain = plain + 1 if word[0].strip(".,;!?\"'()").isalpha() else 0
        if plain > _PLAIN:
            return word.end()
    return words[1].start() if tail and len(words) > 1 else tail


def _last_word(text: str) -> int:
    """Where the word begins that has no end yet."""
    tail = text[-HELD_LONG:]
    if not tail or tail[-1].isspace():
        return len(text)
    last = len(tail.split()[-1])
    return len(text) - last if last < HELD_LONG else len(text)


class Bodies:
    """What is kept of bodies."""

    def __init__(
        self,
        kinds: tuple[str, ...],
        *,
        keep: bool,
        names: Mapping[str, str] | None = None,
        seals: Mapping[str, str] | None = None,
    ) -> None:
        """`kinds`: kinds of personal data taken out. `keep`: whether bodies are kept at all. `names`: the detector of names, as
        in `Config.names`, where `kinds` has `name`; it is asked in the thread. `seals`: as of `Options`. Raises ConfigError for a
        detector or a public key that is none."""
        finder = detector(names or {}, Path()) if NAME in kinds else None
        self._redactor = Redactor(kinds, names=finder, most=LOOKED_THROUGH) if kinds else None
        self._patient = Redactor(kinds, names=finder, most=LOOKED_THROUGH_LONG) if kinds else None
        self._sealing = {
            model: Redactor(kinds, names=finder, most=LOOKED_THROUGH_LONG, seal=Seal(public))
            for model, public in (seals or {}).items()
            if kinds
        }
        self._held: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        """Request id → the segments and metadata of a running request of a model that seals, as they came."""
        self._named = finder is not None
        self.keep = keep
        """Whether bodies are kept at all."""
        self._thread: ThreadPoolExecutor | None = None
        self._running: set[asyncio.Future[Any]] = set()

    def put(
        self,
        record: Record,
        request: bytes,
        response: bytes | None,
        then: Callable[[], object],
        finish: Callable[[], object] | None = None,
    ) -> None:
        """Put into `record` what may be written of both (of the request, where `ahead` did not), then call `then`: at once, or
        later on the same loop. `finish`: called before it in the thread, where that looked at the bodies, for what else they
        cost."""
        if not self.keep:
            then()
            return
        sealed = bool(self._sealing) and record.get("model_id") in self._sealing
        if sealed or self._slow(request) or (response is not None and self._slow(response)):
            self._later(
                partial(self._put, record, request, response, self._patient, finish), partial(_without_bodies, record, then)
            )
            return
        self._put(record, request, response, self._redactor)
        then()

    def ahead(self, record: Record, request: bytes) -> None:
        """Put what may be written of `request` into `record` while its answer is waited for, where that is done at once: `put`
        then has the answer alone to look through."""
        if self.keep and not self._sealing and not self._slow(request):
            record["request"] = self._kept(request, self._redactor)

    def hold(self, record: Record, segments: dict[str, str], metadata: dict[str, Any]) -> None:
        """Keep what `record` holds redacted as it came, where its model seals, until `put` closes the box."""
        if (segments or metadata) and self.keep and record["model_id"] in self._sealing:
            self._held[record["request_id"]] = segments, metadata

    def holds(self, record: Record) -> bool:
        """Whether `put` may write other segments and metadata into `record` than it has now."""
        return bool(self._held) and record["request_id"] in self._held

    def piece(self, text: str, then: Callable[[str, int, str | None], object], *, model: str = "", number: int = 0) -> None:
        """Of a running answer's text, call `then` with what may be written now, how many characters of `text` that stands for,
        and a box where `model` seals; the rest comes again with what follows. At once, or later on the same loop. `number`: of
        the piece, from 0."""
        sealing = self._sealing.get(model) if number < PIECES else None
        if self._named or sealing is not None:
            work = partial(self._settle, text, sealing, APART * (number + 1))
            self._later(work, lambda done: then(*(done.result() if _whole(done) else ("", len(text), None))))
            return
        then(*self._settle(text, None, 0))

    def _settle(self, text: str, sealing: Redactor | None, beyond: int) -> tuple[str, int, str | None]:
        if self._redactor is None:
            return text, len(text), None
        cut = settled(text, self._redactor.find(text))
        if sealing is None:
            return self._redactor.redact(text[:cut])[0], cut, None
        clean, _, box = sealing.sealed_json(text[:cut], beyond=beyond)
        return clean, cut, box

    def sealed_fields(self, fields: dict[str, Any], model: str) -> dict[str, Any] | None:
        """A statement's fields with one box of what was taken out of them, in its metadata; None where `model` seals nothing,
        nothing was found, or the sender's own metadata has a field of that name."""
        sealing = self._sealing.get(model)
        if sealing is None or SEALED in fields.get("metadata", {}):
            return None
        kind, rest = fields["kind"], {name: value for name, value in fields.items() if name != "kind"}
        clean, _, box = sealing.sealed_json(rest)
        return None if box is None else {"kind": kind, **clean, "metadata": {**clean.get("metadata", {}), SEALED: box}}

    def _slow(self, body: bytes) -> bool:
        # Whether anything could be in 4 MB takes a third of a second to tell: that too is the thread's.
        return self._named or (len(body) > SHORT and self._patient is not None)

    def _later(self, work: Callable[[], Any], then: Callable[[asyncio.Future[Any]], object]) -> None:
        """Do `work` in the thread, one after the other, then call `then` on the loop."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="redaction")
        looking = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._running.add(looking)

        def done(looking: asyncio.Future[Any]) -> None:
            self._running.discard(looking)
            then(looking)

        looking.add_done_callback(done)

    def _put(
        self,
        record: Record,
        request: bytes,
        response: bytes | None,
        redactor: Redactor | None,
        finish: Callable[[], object] | None = None,
    ) -> None:
        sealing = self._sealing.get(record.get("model_id", "")) if self._sealing else None
        held = self._held.pop(record.get("request_id", ""), None) if self._held else None
        if sealing is None or not self._put_sealed(record, request, response, sealing, held):
            if "request" not in record:
                record["request"] = self._kept(request, redactor)
            if response is not None:
                record["response"] = self._kept(response, redactor)
        if finish is not None:
            finish()

    def _put_sealed(
        self,
        record: Record,
        request: bytes,
        response: bytes | None,
        redactor: Redactor,
        held: tuple[dict[str, str], dict[str, Any]] | None,
    ) -> bool:
        """Put both into `record`, with what was taken out of them, its segments and its metadata in one box, `sealed` of the
        request; False where nothing was sealed: they are no JSON objects, or there is nothing in them."""
        looked = (request, response or b"", b"" if held is None else msgspec.json.encode(held))
        if not any(redactor.may_hold(each) for each in looked):
            return False
        try:
            asked = msgspec.json.decode(request, type=dict[str, Any])
            told = None if response is None else msgspec.json.decode(response)
            (asked, told, beside), _, box = redactor.sealed_json([asked, told, list(held or ())])
            if box is None:
                return False
            bodies = msgspec.json.encode({**asked, SEALED: box}), msgspec.json.encode(told)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return False
        record["request"] = bodies[0]
        if held is not None:
            record |= {name: value for name, value in zip(("segments", "metadata"), beside, strict=True) if value}
        if response is not None:
            record["response"] = bodies[1]
        return True

    async def settled(self) -> None:
        """Wait until every `then` was called, and give the thread back."""
        while self._running:
            await asyncio.wait(self._running)
            await asyncio.sleep(0)
        if self._thread is not None:
            self._thread.shutdown()

    def _kept(self, body: bytes, redactor: Redactor | None) -> msgspec.Raw | bytes:
        """A body that was parsed before, as it may be written: untouched where nothing in it could be a secret."""
        if redactor is None or not redactor.may_hold(body):
            # Half of a character was let pass, but is none of JSON that every reader takes: that is looked at as it is written.
            return body if b"\\ud" in body or b"\\uD" in body else msgspec.Raw(body)
        try:
            value = msgspec.json.decode(body)
            clean, counts = redactor.redact_json(value)
            return body if not counts else msgspec.json.encode(clean)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return redactor.redact(body.decode("utf-8", "replace"))[0].encode()

    def value(self, value: Any) -> Any:
        """A JSON value as it may be written."""
        return value if self._redactor is None else self._redactor.redact_json(value)[0]


def _whole(done: asyncio.Future[Any]) -> bool:
    return not done.cancelled() and done.exception() is None


def _without_bodies(record: Record, then: Callable[[], object], done: asyncio.Future[Any]) -> None:
    """Go on; if looking through failed, with nothing that was not looked through."""
    if not _whole(done):
        record.pop("request", None)
        record.pop("response", None)
    then()
