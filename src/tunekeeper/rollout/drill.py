"""The rollback drill: the real way back and forth, with measured milliseconds (RBK-16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tunekeeper.core.errors import Busy, UpstreamUnavailable, UserError
from tunekeeper.core.nouns.serving import Route
from tunekeeper.rollout.moves import Move, publish_newest
from tunekeeper.rollout.routes import all_to, way_back
from tunekeeper.store.database import Read, Write
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.rollouts import find_rollouts
from tunekeeper.store.ledgers.routes import find_routes, load_route, save_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.lock import exclusive
from tunekeeper.store.published import barrier
from tunekeeper.workspace import Workspace

REASON = "rollback drill"
LONGEST = 3600
"""Seconds that a drill may hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drill:
    """What a drill measured."""

    model: str
    """The model."""
    version: str | None
    """Version that was left and returned to."""
    went_to: str | None
    """Version that answered in between."""
    back_ms: float
    """Real milliseconds until every worker obeyed the way back."""
    forth_ms: float
    """Real milliseconds until every worker obeyed the return."""
    acknowledged_by: tuple[str, ...]
    """Workers that obeyed both."""
    pending: tuple[tuple[int, str], ...]
    """Workers that did not answer in time."""


def drill(ws: Workspace, model: str, *, by: str, hold_seconds: float = 0.5) -> Drill:
    """Go back to the previous version for `hold_seconds` of real time and return.

    Raises UpstreamUnavailable when nothing to go back to is loaded, UserError while a rollout is active, Busy while another drill
    is under way, NotFound for a model without a route.
    """
    if not 0 <= hold_seconds <= LONGEST:
        raise UserError(f"a drill holds for 0 to {LONGEST} seconds, not for {hold_seconds:g}", fix="leave out --hold")
    with ws.control.read() as tx:
        load_route(tx, model)
    with exclusive(_lock(ws, model), wait=0.0):
        return _drill(ws, model, by, hold_seconds)


def _drill(ws: Workspace, model: str, by: str, hold_seconds: float) -> Drill:
    with ws.control.write(by=by) as tx:
        route = load_route(tx, model)
        if find_rollouts(tx, model=model, state=("loading", "running")):
            raise UserError(f"a rollout of {model} is active: drill when it has ended", fix="tunekeeper status")
        slots = {slot.id: slot for slot in find_slots(tx, model=model)}
        target = way_back(route, find_promotions(tx, model=model), slots)
        if target is None or route.champion is None:
            raise UpstreamUnavailable(
                f"no earlier version of {model} is loaded: there is nothing to drill", fix="deploy a second version"
            )
        started = ws.clock.real()
        away = save_route(tx, replace(all_to(route, target, salt=route.salt), by=by, reason=REASON, created=None))
    try:
        back = _obeyed(ws, away, started)
        ws.clock.sleep(hold_seconds)
    finally:  # whoever presses Ctrl-C leaves no users on the version before
        started = ws.clock.real()
        with ws.control.write(by=by) as tx:
            home = _return(tx, route, away, by)
        forth = _obeyed(ws, home, started)
    return Drill(
        model=model,
        version=slots[route.champion].version,
        went_to=slots[target].version,
        back_ms=back[0],
        forth_ms=forth[0],
        acknowledged_by=tuple(sorted(set(back[1]) & set(forth[1]))),
        pending=tuple(back[2]) + tuple(forth[2]),
    )


def last_drill(tx: Read, model: str) -> datetime | None:
    """When rollback was last exercised, by a drill or in earnest."""
    drilled = next((route.created for route in find_routes(tx, model=model) if route.reason == REASON), None)
    earnest = (line.created for line in find_promotions(tx, model=model) if line.kind == "rollback")
    return max((at for at in (drilled, *earnest) if at is not None), default=None)


def unfinished(ws: Workspace, model: str, *, by: str) -> Move | None:
    """Return from a drill that was killed between its two moves. None when there is none, also while one is under way."""
    with ws.control.read() as tx:
        if not _left_open(find_routes(tx, model=model, limit=2)):
            return None
    try:
        with exclusive(_lock(ws, model), wait=0.0), ws.control.write(by=by) as tx:
            history = find_routes(tx, model=model, limit=2)
            if not _left_open(history):
                return None
            home = _return(tx, history[1], history[0], by)
    except Busy:
        return None
    generation = publish_newest(ws)
    acknowledged, pending = barrier(ws.root, generation)
    return Move(
        model=model,
        before=history[0].champion,
        after=home.champion,
        route_version=generation,
        acknowledged_by=tuple(acknowledged),
        pending=tuple(pending),
        ms=0.0,
    )


def _left_open(history: Sequence[Route]) -> bool:
    return len(history) == 2 and history[0].reason == REASON and history[1].reason != REASON


def _lock(ws: Workspace, model: str) -> Path:
    """Held for the length of a drill: it tells one under way from one that was killed."""
    return ws.path("run", f"drill-{model}.lock")


def _return(tx: Write, home: Route, away: Route, by: str) -> Route:
    newest = load_route(tx, home.model)
    if newest.generation != away.generation:
        return newest  # somebody moved the route meanwhile: theirs counts
    return save_route(tx, replace(home, by=by, reason=f"{REASON}: return", created=None))


def _obeyed(ws: Workspace, route: Route, started: float) -> tuple[float, list[str], list[tuple[int, str]]]:
    acknowledged, pending = barrier(ws.root, publish_newest(ws))
    return (ws.clock.real() - started) * 1000, list(acknowledged), list(pending)
