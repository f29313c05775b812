"""Slots that nobody asks, or whose last answer failed, are asked for one token: a server may say that it is well and be dead.

A probe that fails gives its slot a rest at once, without a user waiting for it; one that is answered brings a slot back. Probes
are logged with the purpose `probe` and are nobody's traffic. An idle slot whose upstream takes a key is left alone: it is
somebody else's server, and may cost money. One that refuses what a probe asks (4xx, or as what it does not take) is not judged by
probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tunekeeper.core.nouns.serving import Attempt, Timeouts
from tunekeeper.gateway.health import Health
from tunekeeper.gateway.outcome import Failed, Good, judge
from tunekeeper.gateway.overflow import BLAMELESS
from tunekeeper.gateway.record import Record
from tunekeeper.gateway.tables import Obeyed, Target
from tunekeeper.gateway.wire import Call, Splice, upstream_body

if TYPE_CHECKING:
    from tunekeeper.core.errors import OutsideError
    from tunekeeper.gateway.upstream import Request
    from tunekeeper.gateway.worker import Gateway

DOUBT = 1 / 6
"""Part of the idle time after which a slot whose last answer failed is asked."""
PATH = b"/chat/completions"
FIELDS = {
    "messages": msgspec.Raw(b'[{"role":"user","content":"ping"}]'),
    "max_tokens": msgspec.Raw(b"1"),
    "temperature": msgspec.Raw(b"0"),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """A slot that some route names."""

    target: Target
    """What is asked."""
    model: str
    """A model whose route names it."""
    timeouts: Timeouts
    """That route's."""
    free: bool
    """Whether asking it costs nobody anything: its upstream takes no key."""


def watched(obeyed: Obeyed) -> dict[str, Watched]:
    """Slot → what may be asked of it, for every slot with an address that a route may send requests to now."""
    found: dict[str, Watched] = {}
    for route in obeyed.table.routes.values():
        named = [share.slot for share in route.shares] + [entry.slot for entry in route.fallback]
        for name in [*named, route.previous, route.shadow]:
            target = obeyed.targets.get(name or "")
            if target is not None and target.address is not None:
                free = obeyed.table.slots[target.slot].api_key_env is None
                found.setdefault(target.slot, Watched(target, route.model, route.timeouts, free))
    return found


def due(health: Health, slot: str, quiet: float, idle: float, now: float, *, free: bool) -> bool:
    """Whether to ask a slot of which nothing was heard for `quiet` seconds. `idle`: seconds after which silence is doubt."""
    if health.resting(slot, now):
        return False
    if health.shaky(slot):
        return quiet >= idle * DOUBT
    return free and quiet >= idle


class Prober:
    """One worker's probes, at most one a slot at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._heard: dict[str, tuple[tuple[int, int], float]] = {}
        self._running: dict[str, Probe] = {}
        self._mute: dict[str, str | None] = {}

    def look(self, obeyed: Obeyed | None, now: float) -> None:
        """Ask who is due, as often as about once a second; while the worker drains or cannot log, nobody."""
        gateway, idle = self._gateway, self._gateway.options.probe_seconds
        if gateway.draining:
            for probe in list(self._running.values()):
                probe.stop()
            return
        if idle <= 0 or obeyed is None or gateway.recorder.failure is not None:
            return
        slots = watched(obeyed)
        self._heard = {slot: heard for slot, heard in self._heard.items() if slot in slots}
        for slot, each in slots.items():
            fared = gateway.health.fared(slot)
            before, since = self._heard.get(slot, (None, now))
            if before != fared:
                self._heard[slot] = (fared, now)
                continue
            if slot in self._running or self._mute.get(slot, "") == each.target.version:
                continue
            if any(one.slot == slot for one in gateway.active):
                self._heard[slot] = (fared, now)  # it is busy: a probe would only wait in its queue
                continue
            if due(gateway.health, slot, now - since, idle, now, free=each.free):
                self._heard[slot] = (fared, now)
                self._running[slot] = probe = Probe(self, gateway, each, obeyed.table.generation)
                probe.begin()

    def ended(self, target: Target, *, alive: bool | None) -> None:
        """A probe ended. `alive`: whether the slot answered it; None says nothing about the slot."""
        gateway = self._gateway
        self._running.pop(target.slot, None)
        if alive is None:
            self._mute[target.slot] = target.version
        elif alive:
            gateway.health.succeeded(target.slot)
        else:
            gateway.health.eject(target.slot, gateway.now())


class Probe:
    """One question of one token; the sink of its own upstream request."""

    def __init__(self, prober: Prober, gateway: Gateway, watched: Watched, generation: int) -> None:
        self._prober = prober
        self._gateway = gateway
        self._watched = watched
        self._pieces: list[bytes] = []
        self._request: Request | None = None
        self._status = 0
        self._head: dict[bytes, bytes] = {}
        self._over = False
        self._started = self.due = 0.0
        self.record: Record = {
            "request_id": gateway.new_request_id(),
            "timestamp": gateway.clock.utc(),
            "model_id": watched.model,
            "endpoint": "chat.completions",
            "route_version": generation,
            "purpose": "probe",
            "slot_assigned": watched.target.slot,
        }

    def begin(self) -> None:
        """Send it."""
        gateway, target, timeouts = self._gateway, self._watched.target, self._watched.timeouts
        assert target.address is not None  # `watched` names no others
        self._started = gateway.now()
        self.due = self._started + timeouts.connect + timeouts.first_token
        gateway.active.add(self)
        gateway.recorder.opened(dict(self.record), self)
        bare = Splice(target.splice.model, lora=target.splice.lora, own_lora=target.splice.own_lora)
        body = upstream_body(Call("chat.completions", dict(FIELDS), self._watched.model), bare)
        self._request = gateway.shadow_pools.to(target.address).send(target.request(PATH, self.record["request_id"], body), self)

    @property
    def slot(self) -> str:
        """Name of the slot that is asked."""
        return self._watched.target.slot

    def upstream_sent(self) -> None:
        """Nothing to do: one deadline covers a probe."""

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The answer begins."""
        self._status, self._head = status, headers

    def upstream_body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._pieces.append(data)

    def upstream_end(self) -> None:
        """The answer is whole."""
        verdict = judge(self._status, self._head, b"".join(self._pieces), "chat.completions")
        if isinstance(verdict, Good):
            self._finish(None, alive=True)
        elif 400 <= self._status < 500 or (isinstance(verdict, Failed) and verdict.refusal.code in BLAMELESS):
            self._finish("upstream_rejected", alive=None)
        else:
            self._finish("upstream_error", alive=False)

    def upstream_failed(self, code: str, message: str) -> None:
        """The answer did not become whole."""
        self._finish(code, alive=False)

    def expired(self, now: float) -> None:
        """`due` has passed."""
        self._abort()
        self._finish("upstream_timeout", alive=False)

    def stop(self) -> None:
        """The worker ends: nothing is known of the slot."""
        self._abort()
        self._finish("draining", alive=None)

    def partial(self, now: float) -> None:
        """A probe is not streamed."""

    def logged(self, error: OutsideError | None) -> None:
        """Its record is written, or the log is full; nobody waits for it."""

    def _abort(self) -> None:
        if self._request is not None:
            self._request.abort()

    def _finish(self, error: str | None, *, alive: bool | None) -> None:
        if self._over:
            return
        self._over = True
        gateway, target, record = self._gateway, self._watched.target, self.record
        gateway.active.discard(self)
        ms = round((gateway.now() - self._started) * 1000, 3)
        record |= {
            "status": "ok" if error is None else "error",
            "latency_ms": ms,
            "attempts": [Attempt(slot=target.slot, error=error, ms=ms)],
        }
        record |= {"slot": target.slot} if error is None else {"error": error}
        if target.version is not None:
            record["version"] = target.version
        self._request, self._pieces = None, []
        gateway.recorder.ended(record, self)
        self._prober.ended(target, alive=alive)
