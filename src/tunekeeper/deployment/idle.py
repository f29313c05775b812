"""The standby may go after a clean week (WIN-04, BG-08): its server is ended, its file and its record stay.

Until then going back is one write of a route; afterwards it must load first. So this is off unless a model file asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunekeeper.core.nouns.monitoring import Alert
    from tunekeeper.core.nouns.rollout import Incident
    from tunekeeper.core.nouns.serving import Promotion, Route, Slot
    from tunekeeper.store.transactions import Read
    from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """What happened to a model, as far as it decides whether its days were clean."""

    promotions: Sequence[Promotion] = ()
    """Its history of what was live when."""
    incidents: Sequence[Incident] = ()
    """Its incidents."""
    alerts: Sequence[Alert] = ()
    """Its alerts."""


def clean_since(route: Route, past: Past) -> datetime | None:
    """Since when nothing went wrong with what answers now; None while something does, or nobody knows. Pure.

    A promotion, a rollback, an incident and an alert each begin the count anew; an open incident and a firing alert stop it.
    """
    if any(incident.state == "open" for incident in past.incidents) or any(alert.state == "firing" for alert in past.alerts):
        return None
    if not any(each.champion == route.champion for each in past.promotions):
        return None
    times = [each.created for each in past.promotions] + [each.created for each in past.incidents]
    times += [alert.until or alert.since for alert in past.alerts]
    known = [time for time in times if time is not None]
    return max(known) if len(known) == len(times) else None


def due(route: Route, slots: Sequence[Slot], past: Past, now: datetime, days: float) -> list[Slot]:
    """The loaded slots of a model that nobody needs any more after `days` clean days. Pure.

    None while a rollout is under way. What answers users, gets copies or is a fallback is needed; what would be gone back to
    after a clean week is not.
    """
    since = clean_since(route, past)
    if route.challenger is not None or since is None or now - since < timedelta(days=days):
        return []
    needed = {route.champion, route.shadow, *(share.slot for share in route.shares), *(each.slot for each in route.fallback)}
    # Declared endpoints of other people's servers hold nothing of ours: they have no artifact.
    held = [slot for slot in slots if slot.wanted == "loaded" and slot.artifact is not None and slot.id not in needed]
    return [slot for slot in held if all(now - time >= timedelta(days=days) for time in _loaded_at(slot))]


def _loaded_at(slot: Slot) -> list[datetime]:
    """When a slot came to be, and when it was last asked for again."""
    again = slot.options.get("asked_at")
    return [time for time in (slot.created, datetime.fromisoformat(again) if again else None) if time is not None]


class IdleUnloader:
    """A chore of `up`: ends what is due. Call it every few seconds; a look costs a few reads."""

    def __init__(self, ws: Workspace, days: Mapping[str, float]) -> None:
        """`days`: model → clean days after which its standby may go."""
        self._ws = ws
        self._days = days

    def __call__(self) -> None:
        """One look at every model."""
        for model, days in self._days.items():
            unload_due(self._ws, model, days)


def unload_due(ws: Workspace, model: str, days: float) -> list[str]:
    """Unload the slots of a model that are due; their names. The rule and the write are one transaction; servers of somebody else
    are told afterwards, by a thread, so that one that is slow holds nobody up."""
    from tunekeeper.deployment.slots import TOLD, tell, unload_idle
    from tunekeeper.store.ledgers.alerts import find_alerts
    from tunekeeper.store.ledgers.incidents import find_incidents
    from tunekeeper.store.ledgers.promotions import find_promotions

    with ws.state.read() as tx:
        alerts = find_alerts(tx, model=model)
    now = ws.clock.utc()

    def chosen(tx: Read, route: Route, slots: Sequence[Slot]) -> list[Slot]:
        past = Past(promotions=find_promotions(tx, model=model), incidents=find_incidents(tx, model=model), alerts=alerts)
        return due(route, slots, past, now, days)

    idle = unload_idle(ws, model, chosen)
    for slot in idle:
        if slot.engine in TOLD:
            threading.Thread(target=tell, args=(slot,), daemon=True).start()
    return [slot.id for slot in idle]
