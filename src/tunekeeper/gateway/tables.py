"""What the worker obeys now: the published table, and what is worked out from it once per change rather than once per request."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from tunekeeper.core.nouns.serving import ApiKey, FallbackEntry, Route, RouteTable, Slot
from tunekeeper.gateway.wire import Splice, splice_of
from tunekeeper.store.published import PublishedReader, RouteUnavailable, WorkerSlot

if TYPE_CHECKING:
    from tunekeeper.gateway.planning import Plan

__all__ = ["Address", "Obeyed", "RouteUnavailable", "Tables", "Target"]


class Address(msgspec.Struct, frozen=True, gc=False):
    """Where a model server listens."""

    host: str
    """Name or address."""
    port: int
    """Port."""
    tls: bool
    """Whether it is spoken to over TLS."""


@dataclass(frozen=True, slots=True)
class Target:
    """A slot as the request path uses it."""

    slot: str
    """Its name."""
    version: str | None
    """Version it holds."""
    address: Address | None
    """Where to connect; None while its server has not reported a port, or its endpoint is no http address."""
    head: bytes
    """Upstream request head from its second line up to the Content-Length value; holds the upstream's key."""
    base: bytes
    """Path before `/chat/completions`."""
    splice: Splice
    """What it changes in a body."""
    price_in: float | None
    """USD per million prompt tokens."""
    price_out: float | None
    """USD per million completion tokens."""
    price_second: float | None = None
    """USD that a second of one request costs."""
    fallback: bool = False
    """Whether it stands in the route's fallback list with a prompt of its own."""
    ours: bool = False
    """Whether we start its server: one that cannot be reached is not loaded, or is being started again."""

    def request(self, path: bytes, request_id: str, body: bytes) -> bytes:
        """The bytes of one upstream request; `path` below the base, e.g. `/chat/completions`."""
        return b"POST %s%s HTTP/1.1\r\nx-request-id: %s\r\n%scontent-length: %d\r\n\r\n%s" % (
            self.base,
            path,
            request_id.encode(),
            self.head,
            len(body),
            body,
        )


def target_of(slot: Slot, environment: Mapping[str, str], entry: FallbackEntry | None = None) -> Target:
    """The Target of a slot, or of a fallback entry that names it with a prompt of its own."""
    address, base = _address(slot.endpoint)
    host = f"{address.host}:{address.port}" if address else "none"
    head = f"host: {host}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n"
    head += "accept-encoding: identity\r\nuser-agent: tunekeeper\r\n"
    key = environment.get(slot.api_key_env, "").strip() if slot.api_key_env else ""
    if key and key.isascii() and key.isprintable():
        head += f"authorization: Bearer {key}\r\n"
    own = entry is not None and (entry.system is not None or bool(entry.messages))
    splice = splice_of(
        slot.upstream_model or slot.version or slot.model,
        entry.system if own and entry else slot.system,
        entry.messages if own and entry else slot.messages,
        slot.adapter,
        llamacpp=slot.engine == "llamacpp",
    )
    return Target(
        slot=slot.id,
        version=slot.version,
        address=address,
        head=head.encode("ascii"),
        base=base,
        splice=splice,
        price_in=slot.price_in,
        price_out=slot.price_out,
        price_second=None if slot.price_hour is None else slot.price_hour / 3600 / max(1, slot.options.get("parallel", 1)),
        fallback=own,
        ours=bool(slot.files),
    )


def _address(endpoint: str | None) -> tuple[Address | None, bytes]:
    if not endpoint:
        return None, b""
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        return None, b""
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not endpoint.isascii()
        or not endpoint.isprintable()
        or " " in endpoint
    ):
        return None, b""
    tls = parts.scheme == "https"
    return Address(parts.hostname, port or (443 if tls else 80), tls), parts.path.rstrip("/").encode()


class Obeyed:
    """One table with everything derived from it."""

    __slots__ = ("asks_key", "fallbacks", "keys", "plans", "power", "table", "targets", "versions")

    def __init__(self, table: RouteTable, environment: Mapping[str, str]) -> None:
        """`environment`: where upstream keys are looked up, read once at start."""
        self.table = table
        self.targets: dict[str, Target] = {name: target_of(slot, environment) for name, slot in table.slots.items()}
        self.fallbacks: dict[str, list[Target]] = {
            name: self._fallbacks(route, environment) for name, route in table.routes.items()
        }
        self.keys: dict[str, ApiKey] = {key.hash: key for key in table.keys if not key.revoked}
        self.versions: dict[str, str | None] = _versions(table)
        self.plans: dict[tuple[str, str, str | None, bool], Plan] = {}
        self.asks_key = table.asks_key or bool(table.keys)
        self.power = any(route.durability == "power" for route in table.routes.values())

    def _fallbacks(self, route: Route, environment: Mapping[str, str]) -> list[Target]:
        known = [entry for entry in route.fallback if entry.slot in self.table.slots]
        return [target_of(self.table.slots[entry.slot], environment, entry) for entry in known]


def _versions(table: RouteTable) -> dict[str, str | None]:
    """Version name → the one model that has a slot with it; None where several do: then it names nobody."""
    found: dict[str, str | None] = {}
    for slot in table.slots.values():
        name = (slot.version or "").rpartition("@")[2]
        if name and slot.model in table.routes:
            found[name] = slot.model if found.get(name, slot.model) == slot.model else None
    return found


class Tables:
    """The worker's view: looked at before every choice."""

    def __init__(self, root: Path, slot: WorkerSlot, environment: Mapping[str, str]) -> None:
        """`slot`: taken before this first read, so that a barrier waits for us from now on."""
        self._reader = PublishedReader(root)
        self.number = self._reader.number
        """Cell 0 holds the number of the table that counts now: looking costs no call."""
        self._slot = slot
        self._environment = dict(environment)
        self._obeyed = Obeyed(RouteTable(generation=-1), {})
        self.failure: str | None = None

    def now(self) -> Obeyed:
        """The table that counts at this moment; a change is loaded, obeyed and acknowledged first. Raises RouteUnavailable
        when it cannot be loaded: never an older one."""
        if self._reader.generation() != self._obeyed.table.generation:
            self._load()
        return self._obeyed

    def generation(self) -> int:
        """The number that counts now."""
        return self._reader.generation()

    def _load(self) -> None:
        try:
            table = self._reader.current()
        except (RouteUnavailable, OSError, msgspec.DecodeError) as error:
            if self.failure is None:
                with suppress(OSError):  # the file that this goes to may lie on a full disk
                    print(f"error: {error}", file=sys.stderr, flush=True)
            self.failure = str(error)
            raise RouteUnavailable(str(error)) from error
        self._obeyed = Obeyed(table, self._environment)
        self.failure = None
        self._slot.acknowledge(table.generation)

    def poll(self) -> bool:
        """Look whether there is something new, as a wake-up asks for; False when the table cannot be loaded."""
        self._slot.drain()
        try:
            self.now()
        except RouteUnavailable:
            return False
        return True

    def close(self) -> None:
        """Unmap the number."""
        self._reader.close()
