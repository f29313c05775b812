"""How a request ends: its record filled in, written, and only then the client's last byte released."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekeeper.core.errors import OutsideError
from tunekeeper.core.nouns.serving import Attempt
from tunekeeper.gateway.doubt import Kept
from tunekeeper.gateway.outgoing import Outgoing
from tunekeeper.gateway.planning import Plan
from tunekeeper.gateway.record import Record, Tried, describe, occupied, spent
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.streaming import Stream
from tunekeeper.gateway.upstream import Request
from tunekeeper.gateway.wire import Answered, Call
from tunekeeper.store.log.spool import Opened, ended_line

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway


def milliseconds(seconds: float) -> float:
    """Milliseconds to three places, as they are written: `round(…, 3)` costs three times this."""
    return round(seconds * 1e6) / 1000


class Ending:
    """What is known of one request, and its end. `Exchange` adds how it comes to one, and the client's side."""

    __slots__ = (
        "_attempt_began", "_attempts", "_call", "_folded", "_gateway", "_kept", "_line", "_noted", "_opened", "_out",
        "_pieces_noted", "_plan", "_raw", "_reply", "_request", "_settling", "_started", "_state", "_stream", "_target",
        "_unsettled", "_variant", "partial_due", "record",
    )  # fmt: skip

    _out: Outgoing

    def __init__(self, gateway: Gateway, call: Call, raw: bytes, record: Record, plan: Plan, started: float) -> None:
        """`raw`: the client's body, for the log. `record`: what is known so far. `started`: real seconds at accept."""
        self._gateway = gateway
        self._call = call
        self._raw = raw
        self.record = record
        self._plan = plan
        self._started = started
        self._attempts: list[Attempt | Tried] = []
        self._noted = False
        self._request: Request | None = None
        self._target = plan.candidates[0][0]
        self._variant: str | None = None
        self._attempt_began = started
        self._stream: Stream | None = None
        self._folded: bytes | None = None
        self._settling = False
        self._unsettled: str | None = None
        self._kept: Kept | None = None
        self._opened: Opened | None = None
        self._line: bytes | None = None
        self._reply: tuple[int, bytes, bytes] | None = None
        self._state = "running"
        self.partial_due = started + 1.0

    @property
    def slot(self) -> str:
        """Name of the slot that is asked."""
        return self._target.slot

    # ---- the record ----

    def _note(self, error: str | None, confidence: float | None = None) -> None:
        if self._noted:
            return  # a kept answer was noted when it was kept
        seconds = self._gateway.now() - self._attempt_began
        occupied(self.record, seconds, self._target)
        ms = milliseconds(seconds)
        self._attempts.append(Tried(self._target.slot, error, ms, confidence))

    def partial(self, now: float) -> None:
        """Note a running stream's text about once a second, so that a death of ours keeps it."""
        if self._stream is None or not self._out.begun or now < self.partial_due or self._state != "running":
            return
        self.partial_due = now + 1.0
        if self._gateway.bodies.keep:
            self._note_text(self._stream.fold.fresh_text())

    def _note_text(self, fresh: str) -> None:
        """Write what a running stream said, and before it the request, so that both are known whatever becomes of us."""
        if self._unsettled is None:
            self._pieces_noted = 0
            self._note_request()
        self._unsettled = text = (self._unsettled or "") + fresh
        if self._settling:
            return
        self._settling = True

        def write(clean: str, used: int, box: str | None) -> None:
            self._settling = False
            self._unsettled = (self._unsettled or "")[used:]
            self._pieces_noted += 1
            if clean and self._state == "running":
                self._gateway.recorder.partial(self.record["request_id"], clean, None, box)

        self._gateway.bodies.piece(text, write, model=self.record["model_id"], number=self._pieces_noted)

    def _note_request(self) -> None:
        noted: Record = {"model_id": self.record["model_id"]}

        def write() -> None:
            if self._state == "running":
                self._gateway.recorder.partial(self.record["request_id"], "", noted.get("request"))

        self._gateway.bodies.put(noted, self._raw, None, write)

    def _claim(self) -> None:
        """Note who answers."""
        if self._kept is not None:
            self._let_go()
        record, target = self.record, self._target
        record["slot"] = target.slot
        first, variant = self._plan.candidates[0]
        if target is first and self._variant == variant:
            return  # as it was opened
        self._opened = None
        if target.version is not None:
            record["version"] = target.version
        else:
            record.pop("version", None)
        if self._variant is not None:
            record["variant"] = self._variant

    def _log_answer(self, answer: Answered) -> None:
        choice = answer.choices[0] if answer.choices else None
        describe(self.record, answer.id, choice.finish_reason if choice else None, choice.logprobs if choice else None)
        spent(self.record, answer.usage, self._target)

    def _log_stream(self, stream: Stream) -> None:
        fold = stream.fold
        describe(self.record, fold.id, fold.finish_reason, None)
        confidence = fold.confidence()
        if confidence is not None:
            self.record["confidence"] = confidence
        spent(self.record, fold.usage, self._target)
        if fold.choices:
            self._folded = fold.answer()

    # ---- written, and released ----

    def _finish(
        self, status: str, http: int, body: bytes, error: str | None, *, extra: bytes = b"", response: bytes | None = None
    ) -> None:
        """Write the record; the client's last bytes follow when it is written (`logged`)."""
        if self._state != "running":
            return
        self._state = "ended"
        gateway, record = self._gateway, self.record
        gateway.active.discard(self)
        if self._kept is not None:
            self._let_go()
        record["attempts"] = self._attempts
        record["status"] = status
        record["http_status"] = http
        record["latency_ms"] = milliseconds(gateway.now() - self._started)
        if status == "ok" and "ttft_ms" not in record:
            record["ttft_ms"] = record["latency_ms"]
        if error is not None:
            record["error"] = error
        self._reply = (http, body, extra)
        if "key_id" in record:
            gateway.meter.ended(record, self._stream, self._target)
        if gateway.bodies.holds(record):
            self._opened = None  # what was written of it then is written anew
        gateway.bodies.put(record, self._raw, response or self._folded, self._write, self._assemble)

    def _assemble(self) -> None:
        """Make the line of a record with a long body; not on the loop, which would stand still for ten milliseconds."""
        self._line = ended_line(self.record, self._opened)

    def _write(self) -> None:
        """The bodies are as they may be written."""
        if self._state == "over":
            return  # the log failed meanwhile, and the client was told
        line, self._line = self._line, None
        self._gateway.recorder.ended(self.record, self, power=self._plan.power, opened=self._opened, line=line)

    def logged(self, error: OutsideError | None) -> None:
        """The record is durable: release what was held. `error`: it is not, and nobody is answered unlogged."""
        if self._state == "over":
            return
        if error is not None:
            self._unlogged()
            return
        if self._reply is None:
            return
        self._state = "over"
        out = self._out
        del self._out  # it names this one: what both hold must not wait for the collector of cycles
        if out.here:  # else the client left before its record was written
            http, body, extra = self._reply
            if out.begun or (self._call.stream and self.record["status"] == "ok"):
                out.end(body)
            else:
                out.reply(http, body, extra)
        self._gateway.metrics.count(self.record)

    def _unlogged(self) -> None:
        self._state = "over"
        self._gateway.active.discard(self)
        self._abort()
        self._let_go()
        refusal = Refusal("log_unavailable", "the gateway cannot write its log, and answers nothing unlogged", retry_after="1")
        self.record |= {"status": "error", "error": refusal.code, "http_status": refusal.status, "attempts": self._attempts}
        self._gateway.meter.ended(self.record, self._stream, self._target)
        self._gateway.metrics.count(self.record)
        self._gateway.recorder.owe(self.record)
        if self._out.here:
            self._out.refuse(refusal)

    def _abort(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.abort()

    def _let_go(self) -> None:
        """Whatever was kept in case nobody answers better is not wanted any more."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.drop()

    def _ms(self) -> float:
        return milliseconds(self._gateway.now() - self._started)
