"""Who answers this request. Pure: a route, a unit and a name in, a choice out; sticky for as long as the route's ranges hold.

Bucket = xxh3-64 of `salt NUL kind NUL key`, modulo 10,000: the same user meets the same version on every worker and after
every restart, and raising a slot's weight only ever adds buckets to it (`rollout` grows and shrinks the ranges).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
import xxhash

from tunekeeper.core.nouns.serving import Route, RouteTable, Variant

BUCKETS = 10_000
ALIASES: tuple[Variant, ...] = ("champion", "challenger", "previous", "shadow")


class Unit(msgspec.Struct, frozen=True, gc=False):
    """What an assignment is keyed on."""

    kind: str
    """unit, user, session, tenant, key or request."""
    key: str
    """The value itself; only its digest is ever written."""

    @property
    def digest(self) -> str:
        """Hex xxh3-64 of the value."""
        return xxhash.xxh3_64_hexdigest(self.key.encode("utf-8", "surrogatepass"))


class Choice(msgspec.Struct, frozen=True, gc=False):
    """The slot that a request is assigned to, and why."""

    slot: str
    """Name of the slot."""
    variant: Variant | None
    """Role it plays on this route; None for a version asked for by name that plays none."""
    bucket: int | None = None
    """0 to 9999; None for a slot asked for by name."""
    weight: int | None = None
    """Ten-thousandths the slot had; None for a slot asked for by name."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A model name as a client writes it."""

    model: str
    """The model."""
    pin: str | None = None
    """Alias or version name after the `@`; None: as the route says."""


def unit_of(headers: Mapping[bytes, bytes], body: Mapping[str, Any], assign_by: str, key_id: str | None, request_id: str) -> Unit:
    """The unit of a request: the one `assign_by` names, else the first present of header x-tunekeeper-unit, metadata.user_id,
    user, session header and API key; else the request itself. `body`: its `user` (text) and `metadata` (mapping), where given."""
    if assign_by == "request":
        return Unit("request", request_id)
    key = _key_of(assign_by, headers, body, key_id)
    if key:
        return Unit(assign_by, key)
    for kind in ("unit", "user", "session", "key"):
        key = _key_of(kind, headers, body, key_id)
        if key:
            return Unit(kind, key)
    return Unit("request", request_id)


def _key_of(kind: str, headers: Mapping[bytes, bytes], body: Mapping[str, Any], key_id: str | None) -> str | None:
    if kind == "user":
        metadata = body.get("metadata")
        return (_scalar(metadata.get("user_id")) if metadata else None) or _scalar(body.get("user"))
    if kind == "unit":
        return _text(headers.get(b"x-tunekeeper-unit"))
    if kind == "session":
        return _text(headers.get(b"x-session-id")) or _text(headers.get(b"x-litellm-session-id"))
    if kind == "key":
        return key_id
    if kind == "tenant":
        metadata = body.get("metadata")
        return _text(headers.get(b"x-tunekeeper-tenant")) or (_scalar(metadata.get("tenant_id")) if metadata else None)
    return None


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1").strip() or None if value else None


def _scalar(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def bucket_of(salt: str, unit: Unit) -> int:
    """The bucket of a unit under a route's salt, 0 to 9999."""
    return xxhash.xxh3_64_intdigest(f"{salt}\0{unit.kind}\0{unit.key}".encode("utf-8", "surrogatepass")) % BUCKETS


def choose(route: Route, unit: Unit) -> Choice | None:
    """The slot whose ranges hold the unit's bucket; None when the route covers no such bucket (a broken route)."""
    bucket = bucket_of(route.salt, unit)
    for share in route.shares:
        for low, high in share.ranges:
            if low <= bucket < high:
                weight = high - low if len(share.ranges) == 1 else share.weight
                return Choice(share.slot, share.variant, bucket, weight)
    return None


def shadowed(route: Route, request_id: str) -> bool:
    """Whether this request is copied to the shadow slot."""
    if route.shadow is None or route.shadow_share <= 0:
        return False
    return bucket_of(route.salt, Unit("shadow", request_id)) < route.shadow_share


@lru_cache(maxsize=1024)
def asked_for(name: str) -> Asked:
    """`support-desk`, `support-desk@champion` or `support-desk@v1.0-…` taken apart."""
    model, at, pin = name.partition("@")
    return Asked(model, pin if at else None)


def pinned(table: RouteTable, route: Route, pin: str) -> Choice | None:
    """The slot an alias or version name means on this route; None when nothing holds it."""
    alias = {"champion": route.champion, "challenger": route.challenger, "previous": route.previous, "shadow": route.shadow}
    if pin in alias:
        slot = alias[pin]
        return Choice(slot, role_of(route, slot)) if slot is not None else None
    held = [slot for slot in table.slots.values() if slot.model == route.model and slot.version in (pin, f"{route.model}@{pin}")]
    # A version may sit in several slots (an old process beside a new one): the one that plays a role now is meant.
    held.sort(key=lambda slot: (role_of(route, slot.id) is None, slot.endpoint is None, slot.id))
    return Choice(held[0].id, role_of(route, held[0].id)) if held else None


def role_of(route: Route, slot: str) -> Variant | None:
    """The role a slot plays on a route: the first of champion, challenger, previous and shadow that names it."""
    named: tuple[tuple[Variant, str | None], ...] = (
        ("champion", route.champion),
        ("challenger", route.challenger),
        ("previous", route.previous),
        ("shadow", route.shadow),
    )
    return next((variant for variant, name in named if name == slot), None)
