"""Ledger of routes: every way a model's traffic was ever shared; the newest row of a model counts.

`load_route_table` needs this one database: going back and starting a gateway work without anything else.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.serving import Route, RouteTable
from tunekeeper.store.generation import current_generation, next_generation
from tunekeeper.store.ledgers.keys import find_keys
from tunekeeper.store.ledgers.promotions import LEDGER as HISTORY
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "rollout"
DATABASE = "control"
_LEDGER = Ledger(
    name="routes",
    database="control",
    noun=Route,
    listing="tunekeeper route show",
    id=lambda route: f"{route.model}@{route.generation}",
    key=lambda route: str(route.generation),
)


def load_route(tx: Read, model: str) -> Route:
    """The route that counts for `model` now. Raises NotFound."""
    newest = find_routes(tx, model, limit=1)
    if not newest:
        raise NotFound(f"no route was ever set for the model {model!r}", fix="tunekeeper status")
    return newest[0]


def find_routes(tx: Read, model: str, limit: int | None = None) -> list[Route]:
    """The routes of `model`, newest first."""
    return _LEDGER.find(tx, Wanted(model=model, limit=limit, newest_first=True))


def save_route(tx: Write, route: Route) -> Route:
    """Add a route, audited, with the next generation and a fresh `created`; both are in what is returned."""
    return _LEDGER.append(tx, dataclasses.replace(route, generation=next_generation(tx), created=None))


def count_rollbacks(tx: Read) -> dict[tuple[str, str], int]:
    """(model, who went back: `rollout` by its evidence, `hand` a person) → how often."""
    route, line = _LEDGER.table, HISTORY.table
    by = sa.func.json_extract(route.c.body, "$.by")
    same = sa.cast(sa.func.json_extract(line.c.body, "$.generation"), sa.String) == route.c.key
    query = sa.select(route.c.model, by, sa.func.count()).join(line, sa.and_(line.c.model == route.c.model, same))
    counts: dict[tuple[str, str], int] = {}
    for model, who, count in tx.connection.execute(query.where(line.c.state == "rollback").group_by(route.c.model, by)):
        key = model, "rollout" if who == "rollout" else "hand"
        counts[key] = counts.get(key, 0) + count
    return counts


def load_route_table(tx: Read) -> RouteTable:
    """What gateways obey: the newest route of each model, all slots, all keys that are not revoked, the current generation. Not
    the models that are withdrawn: for a gateway they do not exist."""
    table = _LEDGER.table
    newest = sa.select(sa.func.max(table.c.seq)).group_by(table.c.model)
    bodies = tx.connection.execute(sa.select(table.c.body).where(table.c.seq.in_(newest)).order_by(table.c.model)).scalars()
    routes = [_LEDGER.decode(body) for body in bodies]
    gone = {route.model for route in routes if route.withdrawn}
    return RouteTable(
        generation=current_generation(tx),
        routes={route.model: route for route in routes if route.model not in gone},
        slots={slot.id: slot for slot in find_slots(tx) if slot.model not in gone},
        keys=tuple(find_keys(tx, state="live")),
        asks_key=bool(find_keys(tx, limit=1)),
    )
