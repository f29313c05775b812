"""One gateway worker: what its requests share, and the one timer that watches every deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.clock import Clock
from tunekeeper.core.ids import RequestIds
from tunekeeper.gateway.bodies import Bodies
from tunekeeper.gateway.budget import RetryBudget
from tunekeeper.gateway.handlers import handle
from tunekeeper.gateway.heads import Head, Heads
from tunekeeper.gateway.health import Health
from tunekeeper.gateway.limits import Limits, address_of
from tunekeeper.gateway.loading import started_anew
from tunekeeper.gateway.meter import Meter
from tunekeeper.gateway.metrics import Metrics
from tunekeeper.gateway.mirror import Mirror
from tunekeeper.gateway.options import Options
from tunekeeper.gateway.pacing import Pacer
from tunekeeper.gateway.prober import Prober
from tunekeeper.gateway.record import Record
from tunekeeper.gateway.recorder import Recorder
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.gateway.server import SPARE_CONNECTIONS, Connection, room
from tunekeeper.gateway.tables import Obeyed, Tables
from tunekeeper.gateway.upstream import Pools
from tunekeeper.store.log.spool import Spool
from tunekeeper.store.published import RouteUnavailable, WorkerSlot
from tunekeeper.store.reserve import Room

SWEEP = 0.05
"""Seconds between two looks at the deadlines of running requests."""
SLOW_SWEEPS = 10
"""Connections without a request are looked at every so many sweeps."""


@lru_cache(maxsize=1024)
def _identity(version: str | None, variant: str | None, slot: str | None, route_version: int | None, model: str) -> bytes:
    """The answer headers that say who answered; what is not known has none. The same few for every request."""
    name = slot and slot.removeprefix(f"{model}/")  # the name that the configuration file gave it
    known = {"version": version, "variant": variant, "slot": name, "route-version": route_version}
    lines = [f"x-tunekeeper-{header}: {value}\r\n" for header, value in known.items() if value is not None]
    return "".join(lines).encode("latin-1", "replace")


class Active(Protocol):
    """Something with a deadline."""

    due: float

    @property
    def slot(self) -> str:
        """Name of the slot that is asked."""

    def expired(self, now: float) -> None:
        """`due` has passed."""

    def partial(self, now: float) -> None:
        """About once a second or oftener: note what there is so far."""

    def stop(self) -> None:
        """The worker ends."""


class Gateway:
    """One worker process's state. Made in a running loop; `close` gives everything back."""

    def __init__(
        self,
        root: Path,
        name: str,
        options: Options,
        clock: Clock,
        *,
        request_key: bytes,
        pepper: bytes,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`root`: the data directory. `name`: this worker's, unique among living ones. `request_key`, `pepper`: the workspace's.
        `environment`: where upstream keys are found, read once. Raises Busy when a worker of that name lives, DiskFull."""
        self.root = root
        self.options = options
        self.limits: Limits = options.limits
        self.clock = clock
        self.now = clock.real
        self.request_key = request_key
        self.ids = RequestIds(request_key)
        self.heads = Heads()
        self.pepper = pepper
        self.loop = asyncio.get_running_loop()
        self.slot = WorkerSlot(root, name)
        self.tables = Tables(root, self.slot, environment)
        self._published = self.tables.number
        self.spool = Spool(root, f"gateway-{name}", clock, power=options.durability == "power")
        self.recorder = Recorder(self.spool, self.loop, Room(root))
        self.pools = Pools(self.loop, options.limits.answer_bytes)
        self.shadow_pools = Pools(self.loop, options.limits.answer_bytes)
        self.bodies = Bodies(options.redact, keep=options.log_bodies, names=options.names, seals=options.seals)
        self.health = Health()
        self.retries = RetryBudget()
        self.metrics = Metrics(root / "run", name)
        self.mirror = Mirror(self)
        self.handle: Callable[[Connection, Head, bytes], None] = partial(handle, self)
        """Answer one whole request."""
        self.prober = Prober(self)
        self.active: set[Active] = set()
        self.meter = Meter(root, name, clock)
        self.pacer = Pacer()
        self.connections: dict[Connection, str] = {}
        self.addresses: dict[str, int] = {}
        self.draining = False
        self.room = room(options.limits.connections)
        self.refused = 0
        self._seen: Obeyed | None = None
        self._sweeps = 0
        self._before = dict(self.metrics.mine.plain)
        self._timer = self.loop.call_later(SWEEP, self._sweep)
        self._beat = self.now()
        self.loop.add_reader(self.slot.socket.fileno(), self._woken)
        self.look()

    # ---- what requests ask for ----

    def new_request_id(self) -> str:
        """A fresh request id with its keyed check."""
        return self.ids.new(int(self.clock.utc().timestamp() * 1000))

    def admit(self, connection: Connection) -> Refusal | None:
        """Count a new connection; why it cannot stay, when there are too many: of all, or of its address."""
        address = address_of(connection.transport.get_extra_info("peername"))
        self.connections[connection] = address
        self.addresses[address] = here = self.addresses.get(address, 0) + 1
        over = here - self.limits.connections_per_address
        if over > 0:
            refusal = Refusal("too_many_connections", "your address has too many connections open", retry_after="1")
        else:
            over = len(self.connections) - self.room
            refusal = Refusal("overloaded", "this gateway has no room for another connection", retry_after="1")
        if over <= 0:
            return None
        self.refused += 1
        if over > SPARE_CONNECTIONS:
            connection.cut()
        return refusal

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        address = self.connections.pop(connection, None)
        if address is None:
            return
        self.addresses[address] -= 1
        if not self.addresses[address]:
            del self.addresses[address]

    def obeyed(self) -> Obeyed:
        """The table that counts now. Raises RouteUnavailable."""
        seen = self._seen
        if seen is not None and self._published[0] == seen.table.generation:
            return seen
        obeyed = self.tables.now()
        if obeyed is not seen:
            for slot in started_anew(seen.table if seen is not None else None, obeyed.table):
                self.health.forget(slot)
            self._seen = obeyed
            self.heads.forget()
            self.meter.obey(obeyed.keys.values())
            wanted = {target.address for target in obeyed.targets.values() if target.address is not None}
            self.pools.prune(wanted)
            self.shadow_pools.prune(wanted)
            if obeyed.power:
                self.recorder.set_power()
        return obeyed

    def identity(self, record: Record) -> bytes:
        """The answer headers that say who answered and under which id."""
        ours, get = record["request_id"], record.get
        ids = f"x-tunekeeper-request-id: {ours}\r\nx-request-id: {get('client_request_id', ours)}\r\n"
        head = ids.encode("latin-1", "replace")
        head += _identity(get("version"), get("variant"), get("slot"), get("route_version"), record["model_id"])
        return head + self.meter.headers(record.get("key_id")) if self.meter.keys else head

    def clean(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Feedback fields without personal data; their kind is one of ours."""
        return {name: value if name == "kind" else self.bodies.value(value) for name, value in fields.items()}

    @property
    def ready(self) -> str | None:
        """None when requests can be routed and logged, else why not."""
        if self.draining:
            return "draining"
        if self.tables.failure is not None:
            return "route_unavailable"
        return "log_unavailable" if self.recorder.failure is not None else None

    # ---- time ----

    def look(self) -> None:
        """Obey what is published now, so that an idle worker acknowledges at once."""
        if self.tables.poll():
            self.obeyed()

    def _woken(self) -> None:
        """Something was published, or another worker is asked for the metrics of all."""
        self.look()
        self.save_metrics(anew=True)

    def _sweep(self) -> None:
        self._timer = self.loop.call_later(SWEEP, self._sweep)
        now = self.now()
        for one in [one for one in self.active if one.due <= now]:
            one.expired(now)
        if self.tables.generation() != (self._seen.table.generation if self._seen else -1):
            self.look()
        self._sweeps += 1
        if self._sweeps % SLOW_SWEEPS:
            return
        for connection in [c for c in self.connections if c.running is None and c.due <= now]:
            connection.expired()
        for one in list(self.active):
            one.partial(now)
        if now - self._beat >= 1.0:
            self._beat = now
            self.recorder.tick()
            self.prober.look(self._seen, now)
            self.save_metrics()

    def save_metrics(self, *, anew: bool = False) -> None:
        """Leave what was counted for the other workers; `anew`: also where nothing changed."""
        mirror = self.mirror
        self.metrics.disk_level = int(self.recorder.level)
        mine = {
            "shadow_sent": mirror.sent,
            "shadow_dropped": mirror.dropped,
            "shadow_logged": mirror.logged,
            "connections_refused": self.refused,
            "rate_limited": self.meter.rate_limited,
            "budget_exceeded": self.meter.budget_exceeded,
        }
        # on from what a worker of this name had counted before: no counter falls
        self.metrics.set_plain({name: count + self._before.get(name, 0) for name, count in mine.items()})
        self.metrics.save(anew=anew)

    async def drain(self) -> None:
        """Finish what runs, `limits.drain_seconds` at most, then cut the rest with an error event."""
        self.draining = True
        end = self.now() + self.limits.drain_seconds
        await asyncio.sleep(SWEEP)  # connections that are accepted and not yet made are seen only then
        for connection in self.connections:
            connection.wind_down()
        while (self.active or self.connections) and self.now() < end:
            await asyncio.sleep(SWEEP)
        for one in list(self.active):
            one.stop()
        for _ in range(20):
            if not self.connections:
                break
            await asyncio.sleep(SWEEP)

    async def close(self) -> None:
        """Write the last records and give slot, spool and connections back. Raises OutsideError when the log cannot."""
        self._timer.cancel()
        self.loop.remove_reader(self.slot.socket.fileno())
        for connection in list(self.connections):
            connection.cut()
        self.pools.close()
        self.shadow_pools.close()
        await self.bodies.settled()
        try:
            await self.recorder.close()
        finally:
            self.save_metrics()
            self.tables.close()
            self.meter.close()
            self.slot.close()


__all__ = ["Gateway", "RouteUnavailable"]
