"""What is live, what is moving, what is wrong: one glance over every model. Reads ledgers and the log, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.rollout import Incident, Rollout
from tunekeeper.core.nouns.serving import Promotion, Route, RouteTable
from tunekeeper.data.collection import history
from tunekeeper.store.database import Read
from tunekeeper.store.ledgers.alerts import find_alerts
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.incidents import find_incidents
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.rollouts import find_rollouts
from tunekeeper.store.ledgers.routes import load_route_table
from tunekeeper.store.ledgers.signals import find_signals, load_signal
from tunekeeper.workspace import Workspace

State = Literal["ok", "not enough evidence", "alert", "incident", "rolling out", "retraining", "not serving"]
DAY = timedelta(hours=24)
ENOUGH = 30
"""Requests that a measured window must hold to say anything, where a model's file names no other number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareNow:
    """One slot's part of the traffic."""

    slot: str
    """Slot name."""
    version: str | None
    """Version it holds."""
    variant: str
    """Its role."""
    weight: int
    """Ten-thousandths."""
    observed: str
    """What the supervisor saw last."""
    reason: str | None = None
    """Why the server is not ready, where that is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStatus:
    """One model at a glance."""

    model: str
    """Name."""
    state: State
    """The worst thing that is true of it."""
    verdict: str
    """One line: the state, what is live, what is next."""
    live: str | None
    """Version that answers users by default."""
    live_since: datetime | None
    """When it was promoted."""
    shares: tuple[ShareNow, ...] = ()
    """Who answers how much."""
    rollout: str | None = None
    """Id of the active rollout."""
    cycle: str | None = None
    """Id of the open cycle."""
    stage: str | None = None
    """Stage that cycle is in."""
    waiting: str = ""
    """What it waits for."""
    ended: str = ""
    """How the newest cycle ended, where it promoted nothing and no other is open; empty otherwise."""
    alerts: tuple[str, ...] = ()
    """Reasons of the alerts that fire."""
    incidents: tuple[str, ...] = ()
    """Ids of open incidents."""
    requests: int = 0
    """Users' requests of the last 24 hours of workspace time."""
    errors: int = 0
    """How many of them failed."""
    edits: int = 0
    """How many of their answers were edited."""
    collected: str = ""
    """When people's words were last collected into the draft, and what came of it; empty: never."""


def overview(ws: Workspace, models: Sequence[str], enough: Mapping[str, int] | None = None) -> list[ModelStatus]:
    """The status of each of `models` and of every routed model that no file names. `enough`: model → requests below which a
    measured window says nothing (`monitoring.min_samples`)."""
    with ws.control.read() as tx:
        table = load_route_table(tx)
        rollouts = find_rollouts(tx, state=("loading", "running"))
        incidents = find_incidents(tx, state="open")
    names = [*models, *(name for name in table.routes if name not in models)]
    return [_status(ws, name, table, rollouts, incidents, (enough or {}).get(name, ENOUGH)) for name in names]


def _status(
    ws: Workspace, model: str, table: RouteTable, rollouts: list[Rollout], incidents: list[Incident], enough: int
) -> ModelStatus:
    route = table.routes.get(model)
    slot = table.slots.get(route.champion or "") if route else None
    with ws.control.read() as tx:
        history = find_promotions(tx, model=model, newest_first=True)
    live = slot.version if slot else None
    with ws.state.read() as tx:
        missing = _missing(tx, model, [each for each in history if each.version == live], enough)
        alerts = find_alerts(tx, model=model, state="firing")
        cycles = find_cycles(tx, model=model, newest_first=True, limit=1)
    rollout = next((each for each in rollouts if each.model == model), None)
    last = cycles[0] if cycles else None
    cycle = last if last is not None and last.state == "open" else None
    open_incidents = [each for each in incidents if each.model == model]
    now = ws.clock.utc()
    rows = ws.log.window(model, now - DAY, now)
    silent = _silent(route, table)
    state = _state(route, silent, bool(alerts), bool(open_incidents), rollout, cycle, bool(missing))
    return ModelStatus(
        model=model,
        state=state,
        verdict=_verdict(model, state, live, silent, rollout, cycle, [each.reason for each in alerts], open_incidents)
        + (f", {missing}" if state == "not enough evidence" else ""),
        live=live,
        live_since=history[0].created if history else None,
        shares=_shares(route, table),
        rollout=rollout.id if rollout else None,
        cycle=cycle.id if cycle else None,
        stage=cycle.stage if cycle else None,
        waiting=cycle.waiting if cycle else "",
        ended=_ended(last),
        alerts=tuple(each.reason for each in alerts),
        incidents=tuple(each.id for each in open_incidents),
        requests=sum(row.requests for row in rows),
        errors=sum(row.errors for row in rows),
        edits=sum(row.edits for row in rows),
        collected=_collected(ws, model),
    )


def _ended(cycle: Cycle | None) -> str:
    if cycle is None or cycle.state in ("open", "promoted"):
        return ""
    return f"cycle {cycle.number} {cycle.state.replace('_', ' ')}: {cycle.closed_why}"


def _collected(ws: Workspace, model: str) -> str:
    last = history(ws, model)[-1:]
    return "".join(
        f"{run['at'][:16].replace('T', ' ')} by {run['by']}: {'; '.join([run['told'], *run['alarms']])}" for run in last
    )


def _missing(tx: Read, model: str, lines: list[Promotion], enough: int) -> str:
    """What is missing before silence means that all is well: a measured window of the live version, with `enough` requests.
    Empty where there is one. `lines`: the live version's promotions and rollbacks, newest first."""
    newest = find_signals(tx, model=model, name="requests", newest_first=True, limit=1)
    promoted = next((each.created for each in lines if each.kind == "promotion"), None)
    if not newest or (promoted is not None and newest[0].since < promoted):
        return "no window of it was measured yet"
    whole = load_signal(tx, f"{model}/requests//{newest[0].until.isoformat()}")  # the newest may be that of a segment
    return "" if whole.n >= enough else f"{whole.n} of {enough} requests in the newest window"


def _silent(route: Route | None, table: RouteTable) -> str:
    """Why no server answers for a model that has a route, in the words of the one that answers by default; empty while one of its
    route, fallbacks too, is ready."""
    if route is None or not route.shares:
        return ""
    asked = [share.slot for share in route.shares] + [entry.slot for entry in route.fallback]
    slots = [table.slots[name] for name in dict.fromkeys([route.champion or "", *asked]) if name in table.slots]
    if any(slot.observed == "ready" for slot in slots):
        return ""
    first = slots[0] if slots else None
    if first is None or first.observed in ("absent", "stopped"):
        return "no server of it runs"
    if first.observed == "starting":
        return "its server is starting"
    return f"its server failed: {first.reason}" if first.reason else "its server failed"


def _state(
    route: Route | None, silent: str, alert: bool, incident: bool, rollout: Rollout | None, cycle: Cycle | None, unproven: bool
) -> State:
    if route is None or not route.shares or silent:
        return "not serving"
    if alert:
        return "alert"
    if incident:
        return "incident"
    if rollout is not None:
        return "rolling out"
    if cycle is not None:
        return "retraining"
    return "not enough evidence" if unproven else "ok"


def _verdict(
    model: str,
    state: State,
    live: str | None,
    silent: str,
    rollout: Rollout | None,
    cycle: Cycle | None,
    alerts: list[str],
    incidents: list[Incident],
) -> str:
    """The line that a person reads first."""
    parts = [f"{state.upper()}: {model}", f"live {live}" if live else "nothing is live"]
    parts += [silent] if silent else []
    parts += [f"alert: {reason}" for reason in alerts[:1]]
    parts += [f"incident {each.id}: {each.reason}" for each in incidents[:1]]
    if rollout is not None:
        weight = rollout.phases[rollout.phase].weight / 100 if rollout.phase < len(rollout.phases) else 0
        parts.append(f"{rollout.version} at {weight:g} %")
    if cycle is not None:
        parts.append(f"cycle {cycle.number} in {cycle.stage}{f', {cycle.waiting}' if cycle.waiting else ''}")
    return ", ".join(parts)


def _shares(route: Route | None, table: RouteTable) -> tuple[ShareNow, ...]:
    if route is None:
        return ()
    found = []
    for share in route.shares:
        slot = table.slots.get(share.slot)
        version, observed, reason = (slot.version, slot.observed, slot.reason) if slot else (None, "absent", None)
        found.append(
            ShareNow(
                slot=share.slot, version=version, variant=share.variant, weight=share.weight, observed=observed, reason=reason
            )
        )  # fmt: skip
    return tuple(found)
