"""Shadow copies: the same request to the shadow slot, its answer logged and shown to nobody.

Copies have their own connections and their own budget, in number and in bytes; one too many is dropped and counted, and one whose
answer grows beyond the room ends as `overloaded`: its slot gets no more for a second, since making such answers takes what users'
servers may need. A copy starts after its user's request was sent and is bounded by the same
deadlines, so it can neither delay nor change a user's answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekeeper.core.errors import OutsideError
from tunekeeper.core.nouns.serving import Attempt, Timeouts
from tunekeeper.gateway.ending import milliseconds
from tunekeeper.gateway.exchange import PATHS
from tunekeeper.gateway.outcome import Good, Rejected, judge
from tunekeeper.gateway.record import Record, describe, occupied, spent
from tunekeeper.gateway.tables import Target
from tunekeeper.gateway.upstream import Request
from tunekeeper.gateway.wire import Call, upstream_body
from tunekeeper.store.space import Level

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway

SHARED = (
    "timestamp", "model_id", "endpoint", "route_version", "rollout", "unit_kind", "unit", "bucket", "key_id", "segments",
    "metadata",
)  # fmt: skip
REQUEST_COPIES, ANSWER_COPIES = 2, 3
"""How often a request lies in memory while its copy is under way, and an answer when it ends: as it came, whole, as a line."""
REST_SECONDS = 1.0
"""How long a slot gets no copies after an answer that was too long."""


class Mirror:
    """One worker's shadow traffic."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.running = 0
        self.held = 0
        self.rests: dict[tuple[str, str], float] = {}
        """Model and slot → moment of the loop until which it gets no copies."""
        self.sent = 0
        self.dropped = 0
        self.logged = 0

    def offer(self, call: Call, raw: bytes, record: Record, target: Target, timeouts: Timeouts) -> None:
        """Copy a request that is on its way to its user's slot, when the budget and the room on the disk allow."""
        gateway = self._gateway
        limits, cost = gateway.options.limits, REQUEST_COPIES * len(raw)
        busy = self.running >= limits.shadow_concurrent or self.held + cost > limits.shadow_bytes
        busy = busy or self.rests.get((record["model_id"], target.slot), 0.0) > gateway.now()
        if target.address is None or busy or gateway.recorder.level >= Level.NO_SHADOW:
            self.dropped += 1
            return
        self.running += 1
        self.held += cost
        self.sent += 1
        copy = Copy(self, gateway, call, raw, record, target, timeouts)
        gateway.loop.call_soon(copy.begin)


class Copy:
    """One copy under way."""

    __slots__ = (
        "_call",
        "_gateway",
        "_head",
        "_held",
        "_mirror",
        "_over",
        "_pieces",
        "_raw",
        "_request",
        "_started",
        "_status",
        "_target",
        "_timeouts",
        "due",
        "record",
    )

    def __init__(
        self, mirror: Mirror, gateway: Gateway, call: Call, raw: bytes, parent: Record, target: Target, timeouts: Timeouts
    ) -> None:
        self._mirror = mirror
        self._gateway = gateway
        # A copy is asked for whole: nobody reads it while it comes.
        plain = {name: value for name, value in call.fields.items() if name not in ("stream", "stream_options")}
        self._call = Call(call.endpoint, plain, call.model)
        self._raw = raw
        self._target = target
        self._timeouts = timeouts
        self._held = REQUEST_COPIES * len(raw)
        self._pieces: list[bytes] = []
        self._request: Request | None = None
        self._status = 0
        self._head: dict[bytes, bytes] = {}
        self._over = False
        self._started = self.due = 0.0
        self.record: Record = {name: parent[name] for name in SHARED if name in parent}
        self.record |= {
            "request_id": gateway.new_request_id(),
            "parent_id": parent["request_id"],
            "purpose": "shadow",
            "variant": "shadow",
            "slot_assigned": target.slot,
        }

    def begin(self) -> None:
        """Send it."""
        gateway, target = self._gateway, self._target
        assert target.address is not None  # `offer` drops copies for targets without one
        self._started = gateway.now()
        self.due = self._started + self._timeouts.connect + self._timeouts.first_token
        gateway.active.add(self)
        gateway.recorder.opened(dict(self.record), self)
        data = target.request(PATHS[self._call.endpoint], self.record["request_id"], upstream_body(self._call, target.splice))
        self._request = gateway.shadow_pools.to(target.address).send(data, self)

    @property
    def slot(self) -> str:
        """Name of the slot that is asked."""
        return self._target.slot

    def upstream_sent(self) -> None:
        """Nothing to do: one deadline covers a copy."""

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The answer begins, unless it says that there is no room for it."""
        self._status, self._head = status, headers
        length = headers.get(b"content-length", b"0")
        if self._has_no_room(int(length) if length.isdigit() else 0):
            self._overflow()

    def upstream_body(self, data: bytes) -> None:
        """A piece of the answer, unless there is no room for it."""
        if self._over:  # the rest of what came with the piece that was too much
            return
        if self._has_no_room(len(data)):
            self._overflow()
            return
        cost = ANSWER_COPIES * len(data)
        self._mirror.held += cost
        self._held += cost
        self._pieces.append(data)

    def _has_no_room(self, size: int) -> bool:
        """Whether so many bytes more of the answer are too many."""
        return self._mirror.held + ANSWER_COPIES * size > self._gateway.options.limits.shadow_bytes

    def _overflow(self) -> None:
        self._mirror.rests[self.record["model_id"], self._target.slot] = self._gateway.now() + REST_SECONDS
        self.stop("overloaded")

    def upstream_end(self) -> None:
        """The answer is whole."""
        body = b"".join(self._pieces)
        verdict = judge(self._status, self._head, body, self._call.endpoint)
        if isinstance(verdict, Good):
            choice = verdict.answer.choices[0] if verdict.answer.choices else None
            finish_reason, logprobs = (choice.finish_reason, choice.logprobs) if choice else (None, None)
            # No client has seen this answer's id: feedback by it means the user's answer, which may bear the same one.
            describe(self.record, None, finish_reason, logprobs)
            spent(self.record, verdict.answer.usage, self._target)
            self._finish("ok", None, body)
            return
        self._finish("error", verdict.code if isinstance(verdict, Rejected) else verdict.refusal.code, None)

    def upstream_failed(self, code: str, message: str) -> None:
        """The answer did not become whole."""
        self._finish("error", code, None)

    def expired(self, now: float) -> None:
        """`due` has passed."""
        self.stop("upstream_timeout")

    def stop(self, code: str = "draining") -> None:
        """End it now."""
        if self._request is not None:
            self._request.abort()
        self._finish("error", code, None)

    def partial(self, now: float) -> None:
        """A copy is not streamed."""

    def logged(self, error: OutsideError | None) -> None:
        """Its record is written, or the log is full; either way nobody waits for it."""
        if error is None:
            self._mirror.logged += 1
        elif not self._over:
            self.stop("log_unavailable")

    def _finish(self, status: str, error: str | None, response: bytes | None) -> None:
        if self._over:
            return
        self._over = True
        gateway, record = self._gateway, self.record
        gateway.active.discard(self)
        self._mirror.running -= 1
        self._mirror.held -= self._held
        seconds = gateway.now() - self._started
        occupied(record, seconds, self._target)
        ms = milliseconds(seconds)
        record |= {"status": status, "latency_ms": ms, "attempts": [Attempt(slot=self._target.slot, error=error, ms=ms)]}
        if error is not None:
            record["error"] = error
        else:
            record["slot"] = self._target.slot
        if self._target.version is not None:
            record["version"] = self._target.version
        raw = self._raw
        # A copy and its request name each other: what they hold must not wait for the collector of cycles.
        self._request, self._pieces, self._raw = None, [], b""
        gateway.bodies.put(record, raw, response, lambda: gateway.recorder.ended(record, self))
