"""One request's life: assigned, tried, answered, logged, released.

Before the first byte reaches the client any failure of a model server moves on to the next candidate; after it, never. The
client's last byte waits for the record. One deadline is watched at a time, by the worker's single timer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekeeper.core.errors import OutsideError
from tunekeeper.core.nouns.serving import Attempt
from tunekeeper.gateway.outcome import Failed, Good, envelope, judge
from tunekeeper.gateway.outgoing import EVENTS, Outgoing
from tunekeeper.gateway.planning import Plan
from tunekeeper.gateway.record import Record, spent
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.server import Connection
from tunekeeper.gateway.streaming import Stream
from tunekeeper.gateway.tables import Target
from tunekeeper.gateway.upstream import Request
from tunekeeper.gateway.wire import Call, upstream_body

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway

PATHS = {"chat.completions": b"/chat/completions", "completions": b"/completions", "embeddings": b"/embeddings"}
END_SECONDS = 0.25
"""How long the end of the upstream's framing may lag behind its `[DONE]` before the answer is taken as whole anyway."""


class Exchange:
    """One accepted request."""

    __slots__ = (
        "_attempt_began", "_attempts", "_call", "_gateway", "_head", "_next", "_out", "_partial_begun", "_pieces", "_plan",
        "_raw", "_refusal", "_reply", "_request", "_started", "_state", "_status", "_stream", "_target", "_total_due", "_variant",
        "due", "partial_due", "record",
    )  # fmt: skip

    def __init__(
        self, gateway: Gateway, conn: Connection, call: Call, raw: bytes, record: Record, plan: Plan, started: float
    ) -> None:
        """`raw`: the client's body, for the log. `record`: what is known so far. `started`: real seconds at accept."""
        self._gateway = gateway
        self._out = Outgoing(gateway, conn, self, record)
        self._call = call
        self._raw = raw
        self.record = record
        self._plan = plan
        self._started = started
        self._total_due = started + plan.route.timeouts.total
        self._attempts: list[Attempt] = []
        self._next = 0
        self._request: Request | None = None
        self._target = plan.candidates[0][0]
        self._variant: str | None = None
        self._attempt_began = started
        self._status = 0
        self._head: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._stream: Stream | None = None
        self._refusal = Refusal("slot_unavailable", "no model server is loaded for this model", retry_after="1")
        self._reply: tuple[int, bytes, bytes] | None = None
        self._state = "running"
        self.due = self._total_due
        self.partial_due = started + 1.0
        self._partial_begun = False

    # ---- attempts ----

    def begin(self) -> None:
        """Note the request as opened and ask the first candidate."""
        self._gateway.active.add(self)
        self._gateway.recorder.opened(dict(self.record), self)
        self._try_next()

    def _try_next(self) -> None:
        candidates, now = self._plan.candidates, self._gateway.now()
        while self._next < len(candidates):
            target, variant = candidates[self._next]
            self._next += 1
            if target.address is None:
                self._attempts.append(Attempt(slot=target.slot, error="slot_unavailable"))
                continue
            if self._next < len(candidates) and self._gateway.health.resting(target.slot, now):
                self._attempts.append(Attempt(slot=target.slot, error="ejected"))
                continue
            self._attempt(target, variant, now)
            return
        self._give_up()

    def _attempt(self, target: Target, variant: str | None, now: float) -> None:
        self._target, self._variant = target, variant
        self._attempt_began = now
        self._status, self._head, self._pieces = 0, {}, []
        self._stream = None
        self._wait(self._plan.route.timeouts.connect)
        body = upstream_body(self._call, target.splice)
        data = target.request(PATHS[self._call.endpoint], self.record["request_id"], body)
        assert target.address is not None  # `_try_next` skips targets without one
        self._request = self._gateway.pools.to(target.address).send(data, self)

    def _wait(self, seconds: float) -> None:
        self.due = min(self._total_due, self._gateway.now() + seconds)

    def _attempt_failed(self, refusal: Refusal) -> None:
        """A model server failed before the client saw a byte: on to the next candidate."""
        self._refusal = refusal
        self._note(refusal.code)
        if refusal.code != "upstream_rate_limited":
            self._gateway.health.failed(self._target.slot, self._gateway.now())
        self._try_next()

    def _note(self, error: str | None) -> None:
        ms = round((self._gateway.now() - self._attempt_began) * 1000, 3)
        self._attempts.append(Attempt(slot=self._target.slot, error=error, ms=ms))

    # ---- what the model server says ----

    def upstream_sent(self) -> None:
        """The request is out: the first token is waited for."""
        self._wait(self._plan.route.timeouts.first_token)

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The answer begins."""
        self._status, self._head = status, headers
        if status == 200 and self._call.stream and headers.get(b"content-type", b"").lower().startswith(EVENTS):
            self._stream = Stream(self._call)

    def upstream_body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._wait(self._plan.route.timeouts.between_tokens)
        if self._stream is None:
            self._pieces.append(data)
            return
        step = self._stream.feed(data)
        if step.failed is not None and not self._out.begun:
            self._abort()
            self._attempt_failed(step.failed)
            return
        if step.forward:
            self._send(step.forward)
        if step.failed is not None:
            self._abort()
            self._end_stream("error", step.failed.code, b"" if step.told else step.failed.event())
            return
        if self._stream.done:
            self._wait(END_SECONDS)

    def upstream_end(self) -> None:
        """The model server has said everything."""
        self._request = None
        stream = self._stream
        if stream is None:
            self._plain_end()
            return
        if stream.done or stream.fold.finished:
            self._stream_whole()
            return
        refusal = Refusal("upstream_truncated", "the model server ended the stream without finishing its answer")
        if not self._out.begun:
            self._attempt_failed(refusal)
            return
        self._end_stream("truncated", refusal.code, refusal.event())

    def upstream_failed(self, code: str, message: str) -> None:
        """The model server's answer did not become whole."""
        self._request = None
        refusal = Refusal(code, message)
        stream = self._stream
        if stream is not None and stream.done:
            self._stream_whole()
            return
        if not self._out.begun:
            self._attempt_failed(refusal)
            return
        self._end_stream("truncated", code, refusal.event())

    def _plain_end(self) -> None:
        body = b"".join(self._pieces)
        verdict = judge(self._status, self._head, body, self._call.endpoint)
        if isinstance(verdict, Good) and self._call.stream:
            verdict = Failed(Refusal("upstream_garbage", "the model server did not stream though it was asked to"))
        if isinstance(verdict, Failed):
            self._attempt_failed(verdict.refusal)
            return
        record = self.record
        if isinstance(verdict, Good):
            self._answered(None)
            answer = verdict.answer
            choice = answer.choices[0] if answer.choices else None
            self._gateway.describe(
                record, answer.id, choice.finish_reason if choice else None, choice.logprobs if choice else None
            )
            spent(record, answer.usage, self._target)
            self._finish("ok", 200, body, None, response=body)
            return
        self._answered("upstream_rejected")
        told = envelope(verdict)
        self._finish("error", verdict.status, told, "upstream_rejected", response=told)

    def _answered(self, error: str | None) -> None:
        self._note(error)
        self._gateway.health.succeeded(self._target.slot)
        self._claim()

    def _claim(self) -> None:
        """Note who answers."""
        record, target = self.record, self._target
        record["slot"] = target.slot
        if target.version is not None:
            record["version"] = target.version
        else:
            record.pop("version", None)
        if self._variant is not None:
            record["variant"] = self._variant

    # ---- streaming ----

    def _send(self, data: bytes) -> None:
        if not self._out.begun:
            self._claim()
            self.record["ttft_ms"] = self._ms()
        self._out.send(data)

    def _stream_whole(self) -> None:
        self._abort()
        stream = self._stream
        assert stream is not None  # only a stream's end leads here
        if not self._out.begun:
            self._claim()
            self.record["ttft_ms"] = self._ms()
        self._note(None)
        self._gateway.health.succeeded(self._target.slot)
        self._log_stream(stream)
        self._finish("ok", 200, stream.last, None)

    def _end_stream(self, status: str, code: str, event: bytes) -> None:
        """The stream cannot become whole: say so in an event, log what there was. A reason to finish is never made up."""
        self._note(code)
        if status != "cancelled":
            self._gateway.health.failed(self._target.slot, self._gateway.now())
        if self._stream is not None:
            self._log_stream(self._stream)
        self._finish(status, 200, event, code)

    def _log_stream(self, stream: Stream) -> None:
        fold = stream.fold
        self._gateway.describe(self.record, fold.id, fold.finish_reason, None)
        confidence = fold.confidence()
        if confidence is not None:
            self.record["confidence"] = confidence
        spent(self.record, fold.usage, self._target)
        if fold.choices:
            kept = self._gateway.bodies.kept(fold.answer())
            if kept is not None:
                self.record["response"] = kept

    # ---- endings ----

    def _give_up(self) -> None:
        refusal = self._refusal
        self._finish("error", refusal.status, refusal.body(), refusal.code, extra=refusal.headers())

    def _finish(
        self, status: str, http: int, body: bytes, error: str | None, *, extra: bytes = b"", response: bytes | None = None
    ) -> None:
        """Write the record; the client's last bytes follow when it is written (`logged`)."""
        if self._state != "running":
            return
        self._state = "ended"
        gateway, record = self._gateway, self.record
        gateway.active.discard(self)
        record["attempts"] = self._attempts
        record["status"] = status
        record["http_status"] = http
        record["latency_ms"] = self._ms()
        if status == "ok" and "ttft_ms" not in record:
            record["ttft_ms"] = record["latency_ms"]
        if error is not None:
            record["error"] = error
        kept = gateway.bodies.kept(self._raw)
        if kept is not None:
            record["request"] = kept
        kept = gateway.bodies.kept(response) if response is not None else None
        if kept is not None:
            record["response"] = kept
        self._reply = (http, body, extra)
        gateway.recorder.ended(record, self, power=self._plan.power)

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
        self._gateway.metrics.count(self.record)
        if not self._out.here:
            return  # the client left before its record was written
        http, body, extra = self._reply
        if self._out.begun or (self._call.stream and self.record["status"] == "ok"):
            self._out.end(body)
        else:
            self._out.reply(http, body, extra)

    def _unlogged(self) -> None:
        self._state = "over"
        self._gateway.active.discard(self)
        self._abort()
        refusal = Refusal("log_unavailable", "the gateway cannot write its log, and answers nothing unlogged", retry_after="1")
        self.record |= {"status": "error", "error": refusal.code, "http_status": refusal.status, "attempts": self._attempts}
        self._gateway.metrics.count(self.record)
        self._gateway.recorder.owe(self.record)
        if self._out.here:
            self._out.refuse(refusal)

    def _abort(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.abort()

    def _ms(self) -> float:
        return round((self._gateway.now() - self._started) * 1000, 3)

    # ---- the client and the clock ----

    def client_gone(self) -> None:
        """The client left: the model server is told at once, and what there was is logged."""
        if self._state != "running":
            return
        self._abort()
        self._note("cancelled")
        if self._stream is not None:
            self._log_stream(self._stream)
        if self._out.begun or self._stream is not None:
            self._claim()
        self._finish("cancelled", 499, b"", "client_closed")

    def client_slow(self, slow: bool) -> None:
        """Let the model server wait for a slow client, so that nothing piles up here."""
        if self._request is None:
            return
        if slow:
            self._request.pause()
        else:
            self._request.resume()

    def expired(self, now: float) -> None:
        """`due` has passed."""
        stream = self._stream
        if stream is not None and stream.done:
            self._stream_whole()
            return
        self._abort()
        what = "did not answer in time" if now < self._total_due else "took longer than this request may"
        refusal = Refusal("upstream_timeout", f"the model server {what}")
        if self._out.begun:
            self._end_stream("truncated", refusal.code, refusal.event())
            return
        if now >= self._total_due:
            self._next = len(self._plan.candidates)
        self._attempt_failed(refusal)

    def stop(self) -> None:
        """The worker ends and has no more time."""
        self._abort()
        refusal = Refusal("draining", "the gateway is stopping", retry_after="1")
        if self._out.begun:
            self._end_stream("truncated", refusal.code, refusal.event())
            return
        self._note(refusal.code)
        self._refusal = refusal
        self._give_up()

    def partial(self, now: float) -> None:
        """Note a running stream's text about once a second, so that a death of ours keeps it."""
        if self._stream is None or now < self.partial_due or self._state != "running":
            return
        self.partial_due = now + 1.0
        first, self._partial_begun = not self._partial_begun, True
        text = self._gateway.bodies.text(self._stream.fold.fresh_text())
        if text is not None:
            request = self._gateway.bodies.kept(self._raw) if first else None
            self._gateway.recorder.partial(self.record["request_id"], text, request)
