"""One request's life: assigned, tried, answered, logged, released.

Before the first byte reaches the client any failure of a model server moves on to the next candidate; after it, never. The
client's last byte waits for the record. One deadline is watched at a time, by the worker's single timer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekeeper.core.nouns.serving import Attempt
from tunekeeper.gateway.doubt import Kept, KeptAnswer, KeptStream, Watch, better, doubtful, probing
from tunekeeper.gateway.ending import Ending
from tunekeeper.gateway.fold import confidence_of
from tunekeeper.gateway.health import USUAL_WAIT
from tunekeeper.gateway.outcome import Failed, Good, envelope, judge, wait_of
from tunekeeper.gateway.outgoing import EVENTS, Outgoing
from tunekeeper.gateway.overflow import BLAMELESS
from tunekeeper.gateway.planning import Plan, following, reachable, willing
from tunekeeper.gateway.record import Record
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.server import Connection
from tunekeeper.gateway.streaming import OPENINGS, Stream
from tunekeeper.gateway.tables import Target
from tunekeeper.gateway.wire import Answered, Call, upstream_body

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway

PATHS = {"chat.completions": b"/chat/completions", "completions": b"/completions", "embeddings": b"/embeddings"}
END_SECONDS = 0.25
"""How long the end of the upstream's framing may lag behind its `[DONE]` before the answer is taken as whole anyway."""
UNAVAILABLE = Refusal("slot_unavailable", "no model server is loaded for this model", retry_after="1")


class Exchange(Ending):
    """One accepted request."""

    __slots__ = (
        "_asked", "_head", "_next", "_pieces", "_refusal", "_reserved", "_status", "_total_due", "_unwatched",
        "_watch", "due",
    )  # fmt: skip

    def __init__(
        self, gateway: Gateway, conn: Connection, call: Call, raw: bytes, record: Record, plan: Plan, started: float
    ) -> None:
        """As `Ending`; `conn`: the client's."""
        super().__init__(gateway, call, raw, record, plan, started)
        self._out = Outgoing(gateway, conn, self, record)
        self._total_due = started + plan.route.timeouts.total
        self._next = 0
        self._asked = self._reserved = False
        self._status = 0
        self._head: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._watch: Watch | None = None
        self._unwatched: str | None = None
        self._refusal = UNAVAILABLE
        self.due = self._total_due

    # ---- attempts ----

    def begin(self) -> None:
        """Ask the first candidate and note the request as opened, which is written at the end of this turn of the loop."""
        gateway, candidates = self._gateway, self._plan.candidates
        gateway.active.add(self)
        if len(candidates) > 1:
            gateway.retries.asked(self._plan.route.model, self._started)
        if gateway.health.calm and candidates[0][0].address is not None:  # nearly always: nothing to weigh
            self._next, self._asked = 1, True
            self._attempt(*candidates[0], self._started)
            self._opened = gateway.recorder.opened(self.record, self)
            gateway.bodies.ahead(self.record, self._raw)
        else:
            self._opened = gateway.recorder.opened(self.record, self)
            self._try_next()

    def _try_next(self, *, free: bool = False) -> None:
        """On to the next candidate. `free`: whether the retry budget has no say, as after a doubtful answer: no server is ill."""
        gateway, candidates, now = self._gateway, self._plan.candidates, self._gateway.now()
        spare = free or self._reserved or len(candidates) == 1 or gateway.retries.left(self._plan.route.model, now)
        if self._asked and not spare:
            self._attempts += [
                Attempt(slot=target.slot, error="budget_spent") for target, _ in candidates[self._next : self._next + 1]
            ]
            self._give_up()
            return
        number, passed = following(candidates, self._next, gateway.health, now, spare=spare)
        self._attempts += passed
        self._next = number + 1
        if number == len(candidates):
            self._give_up()
            return
        if not self._asked:
            # Who is asked although it has just failed will probably need another: its call is put aside before the wait.
            shaky = number + 1 < len(candidates) and gateway.health.shaky(candidates[number][0].slot)
            self._reserved = shaky and gateway.retries.spend(self._plan.route.model, now)
        elif self._reserved:
            self._reserved = False
        elif not free:
            gateway.retries.spend(self._plan.route.model, now)
        self._asked = True
        self._attempt(*candidates[number], now)

    def _attempt(self, target: Target, variant: str | None, now: float) -> None:
        self._target, self._variant = target, variant
        self._attempt_began, self._noted = now, False
        self._status, self._head, self._pieces = 0, {}, []
        self._stream = self._watch = None
        gateway, route, call = self._gateway, self._plan.route, self._call
        gateway.health.trying(target.slot, now)
        self.due = min(self._total_due, now + route.timeouts.connect)
        floor = route.confidence_floor
        body = upstream_body(call if floor is None else self._watched(floor), target.splice)
        data = target.request(PATHS[call.endpoint], self.record["request_id"], body)
        assert target.address is not None  # `following` passes over targets without one
        self._request = gateway.pools.to(target.address).send(data, self)

    def _wait(self, seconds: float) -> None:
        self.due = min(self._total_due, self._gateway.now() + seconds)

    def _attempt_failed(self, refusal: Refusal) -> None:
        """A model server failed before the client saw a byte: on to the next candidate."""
        gateway, slot = self._gateway, self._target.slot
        if self._refusal.code != "upstream_rate_limited":  # when to come back is worth more than how another one failed
            self._refusal = refusal
        self._note(refusal.code)
        now = gateway.now()
        limited = refusal.code == "upstream_rate_limited"
        wait = wait_of(refusal.retry_after, gateway.clock.utc()) if refusal.retry_after else None
        if wait is not None or limited:
            gateway.health.asked_to_wait(slot, USUAL_WAIT if wait is None else wait, now)
        if not limited and refusal.code not in BLAMELESS:
            gateway.health.failed(slot, now)
        self._try_next(free=refusal.code in BLAMELESS)

    # ---- answers that their own server doubts ----

    def _watched(self, floor: float) -> Call:
        """What to send when a fallback is left for an answer under the floor: it asks for log-probabilities, but of a slot that
        refuses them."""
        slot, health = self._target.slot, self._gateway.health
        refuses = self._unwatched == slot or health.refuses_probabilities(slot, self._attempt_began)
        probe = probing(self._call) if not refuses and reachable(self._plan.candidates, self._next) else None
        if probe is None:
            return self._call
        self._watch = Watch(floor, strips=probe[1])
        return probe[0]

    def _may_fall(self) -> bool:
        """Whether an answer that was given may still be asked for elsewhere. The retry budget has no say: it keeps ill servers
        from being asked twice as often, and a floor is what somebody chose to pay for with each doubtful answer."""
        return willing(self._plan.candidates, self._next, self._gateway.health, self._gateway.now())

    def _keep(self, kept: Kept) -> None:
        """Keep an answer under the floor, and ask the next candidate."""
        self._note("low_confidence", kept.confidence)
        self._gateway.health.succeeded(self._target.slot)
        self._kept = better(self._kept, kept)
        self._request = self._stream = None
        self._try_next(free=True)

    def _judged(self, watch: Watch, forward: bytes, stream: Stream) -> bytes | None:
        """What of a stream goes to the client now; None: it is kept, and somebody else is asked."""
        passed = watch.take(forward, stream)
        if passed is not None:
            return passed
        if not self._may_fall():
            return watch.release()
        self._keep(KeptStream(self._target, self._variant, self._request, stream, watch))
        return None

    def _deliver(self, kept: Kept) -> None:
        """Nobody answered better: an answer is better than none."""
        self._target, self._variant, self._noted = kept.target, kept.variant, True
        if isinstance(kept, KeptAnswer):
            self._whole(kept.answer, kept.body)
            return
        self._stream, self._watch, self._request = kept.stream, kept.watch, kept.request
        if kept.request is not None:
            kept.request.sink = self
        self._send(kept.watch.release())
        if kept.whole:
            self._stream_whole()
        else:
            self._wait(self._plan.route.timeouts.between_tokens)

    # ---- what the model server says ----

    def upstream_sent(self) -> None:
        """The request is out: the first token is waited for."""
        self.due = min(self._total_due, self._gateway.now() + self._plan.route.timeouts.first_token)

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The answer begins."""
        self._status, self._head = status, headers
        if status == 200 and self._call.stream and headers.get(b"content-type", b"").lower().startswith(EVENTS):
            self._stream = Stream(self._call)

    def upstream_body(self, data: bytes) -> None:
        """A piece of the answer."""
        if self._stream is None and self._call.stream and self._status == 200 and not self._pieces and data.startswith(OPENINGS):
            self._stream = Stream(self._call)  # whatever its head calls it: clients do not ask that either
        if self._stream is None:
            self._wait(self._plan.route.timeouts.between_tokens)
            self._pieces.append(data)
            return
        step = self._stream.feed(data)
        if step.spoke:
            self._wait(self._plan.route.timeouts.between_tokens)
        if step.failed is not None and not self._out.begun:
            self._abort()
            self._attempt_failed(step.failed)
            return
        forward = step.forward if self._watch is None else self._judged(self._watch, step.forward, self._stream)
        if forward is None:
            return
        self._send(forward)
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
        self._broken(Refusal("upstream_truncated", "the model server ended the stream without finishing its answer"))

    def upstream_failed(self, code: str, message: str) -> None:
        """The model server's answer did not become whole."""
        self._request = None
        if self._stream is not None and self._stream.done:
            self._stream_whole()
            return
        lost = code == "upstream_unreachable" and self._target.ours
        self._broken(UNAVAILABLE if lost else Refusal(code, message))

    def _broken(self, refusal: Refusal) -> None:
        if self._out.begun:
            self._end_stream("truncated", refusal.code, refusal.event())
        else:
            self._attempt_failed(refusal)

    def _plain_end(self) -> None:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        verdict = judge(self._status, self._head, body, self._call.endpoint)
        if isinstance(verdict, Good) and self._call.stream:
            verdict = Failed(Refusal("upstream_garbage", "the model server did not stream though it was asked to"))
        if isinstance(verdict, Failed):
            self._attempt_failed(verdict.refusal)
            return
        watch = self._watch
        if isinstance(verdict, Good):
            found = confidence_of(verdict.answer.choices[0].logprobs) if watch is not None and verdict.answer.choices else None
            body = body if watch is None else watch.clean(body)
            if watch is not None and found is not None and doubtful(found, watch.floor) and self._may_fall():
                self._keep(KeptAnswer(self._target, self._variant, found, verdict.answer, body))
                return
            self._whole(verdict.answer, body)
            return
        if watch is not None and watch.strips:
            # It may be the log-probabilities that it refuses, and it was not the client who asked for them: ask without.
            self._note("upstream_rejected")
            self._unwatched = self._target.slot
            self._attempt(self._target, self._variant, self._gateway.now())
            return
        self._answered(verdict.code)
        told = envelope(verdict)
        self._finish("error", verdict.status, told, verdict.code, response=told)

    def _whole(self, answer: Answered, body: bytes) -> None:
        self._answered(None)
        self._log_answer(answer)
        self._finish("ok", 200, body, None, response=body)

    def _answered(self, error: str | None) -> None:
        self._note(error)
        if error is None and self._unwatched == self._target.slot:
            self._gateway.health.refused_probabilities(self._target.slot, self._gateway.now())
        self._gateway.health.succeeded(self._target.slot)
        self._claim()

    # ---- streaming ----

    def _send(self, data: bytes) -> None:
        if not data:
            return
        if not self._out.begun:
            self._claim()
            self.record["ttft_ms"] = self._ms()
        self._out.send(data)

    def _stream_whole(self) -> None:
        self._abort()
        stream = self._stream
        assert stream is not None  # only a stream's end leads here
        if not self._out.begun:
            self.record["ttft_ms"] = self._ms()
        self._answered(None)
        self._log_stream(stream)
        self._finish("ok", 200, stream.last if self._watch is None else self._watch.clean_events(stream.last), None)

    def _end_stream(self, status: str, code: str, event: bytes) -> None:
        """The stream cannot become whole: say so in an event, log what there was. A reason to finish is never made up."""
        self._note(code)
        if status != "cancelled" and code not in BLAMELESS:
            self._gateway.health.failed(self._target.slot, self._gateway.now())
        if self._stream is not None:
            self._log_stream(self._stream)
            held = self._stream.held
            event = (held if self._watch is None else self._watch.clean_events(held)) + event
        self._finish(status, 200, event, code)

    # ---- endings ----

    def _give_up(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None and kept.usable(in_time=self._gateway.now() < self._total_due):
            self._deliver(kept)
            return
        if kept is not None:
            kept.drop()
        refusal = self._refusal
        self._finish("error", refusal.status, refusal.body(), refusal.code, extra=refusal.headers())

    # ---- the client and the clock ----

    def client_gone(self) -> None:
        """The client left: the model server is told at once, and what there was is logged."""
        self._unwanted("client_closed")

    def _unwanted(self, code: str) -> None:
        if self._state != "running":
            return
        self._abort()
        self._note("cancelled")
        if self._stream is not None:
            self._log_stream(self._stream)
        if self._out.begun or self._stream is not None:
            self._claim()
        self._finish("cancelled", 499, b"", code)

    def client_slow(self, slow: bool) -> None:
        """Let the model server wait for a slow client, so that nothing piles up here."""
        if self._request is not None and slow:
            self._request.pause()
        elif self._request is not None:
            self._request.resume()
            if self._stream is not None and not self._stream.done:
                self._wait(self._plan.route.timeouts.between_tokens)  # from now on it is the model server who is waited for

    def expired(self, now: float) -> None:
        """`due` has passed."""
        if self._stream is not None and self._stream.done:
            self._stream_whole()
            return
        if self._out.slow:  # the model server was not heard either: none of it is its fault
            if now < self._total_due and self._out.taken():
                self._wait(self._plan.route.timeouts.between_tokens)
                return
            self._out.cut()
            self._unwanted("client_slow")
            return
        if self._request is not None:
            # A link can go down without telling anybody: each connection that is kept over it would cost one more request.
            self._request.pool.close()
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
        self._let_go()
        refusal = Refusal("draining", "the gateway is stopping", retry_after="1")
        if self._out.begun:
            self._end_stream("truncated", refusal.code, refusal.event())
            return
        self._note(refusal.code)
        self._refusal = refusal
        self._give_up()
