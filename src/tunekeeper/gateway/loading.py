"""Which model servers of our own are still being loaded, as the published table says it. Pure."""

from __future__ import annotations

from tunekeeper.core.nouns.serving import Route, RouteTable, Slot


def loading(table: RouteTable) -> list[str]:
    """Slots that a route uses and whose model server does not answer yet, by name."""
    used = dict.fromkeys(name for route in table.routes.values() for name in _used(route))
    return sorted(name for name in used if name in table.slots and _loads(table.slots[name]))


def why_none_answers(table: RouteTable) -> str | None:
    """Why no model can be answered: `loading` as long as a server may still be loaded, else `failed`; None: one can, or there are
    no models. Somebody else's server is taken at its word."""
    used = [table.slots[name] for route in table.routes.values() for name in _used(route) if name in table.slots]
    if not used or any(not slot.files or slot.observed == "ready" for slot in used):
        return None
    return "loading" if loading(table) else "failed"


def started_anew(before: RouteTable | None, now: RouteTable) -> list[str]:
    """Slots whose model server answers since `before`, or is another process than then: nothing is known of it."""
    held = before.slots if before is not None else {}
    return [name for name, slot in now.slots.items() if slot.observed == "ready" and name in held and _other(held[name], slot)]


def _other(before: Slot, now: Slot) -> bool:
    return before.observed != "ready" or before.pid != now.pid


def _used(route: Route) -> list[str]:
    return [share.slot for share in route.shares] + [entry.slot for entry in route.fallback]


def _loads(slot: Slot) -> bool:
    return bool(slot.files) and slot.wanted == "loaded" and slot.observed in ("absent", "starting")
