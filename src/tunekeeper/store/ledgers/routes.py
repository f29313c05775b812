"""Ledger of routes: every way a model's traffic was ever shared; the newest row of a model counts.

`load_route_table` needs this one database: going back and starting a gateway work without anything else.
"""

from __future__ import annotations

import dataclasses

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.serving import Route, RouteTable
from tunekeeper.store.generation import current_generation, next_generation
from tunekeeper.store.ledgers.keys import find_keys
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
_ROLLBACKS = """
select r.model, json_extract(r.body, '$.by'), count(*) from routes r join promotions p
on p.model = r.model and cast(json_extract(p.body, '$.generation') as text) = r."key"
where p.state = 'rollback' group by r.model, json_extract(r.body, '$.by')
"""


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
    counts: dict[tuple[str, str], int] = {}
    for model, who, count in tx.connection.rows(_ROLLBACKS):
        key = model, "rollout" if who == "rollout" else "hand"
        counts[key] = counts.get(key, 0) + count
    return counts


def load_route_table(tx: Read) -> RouteTable:
    """What gateways obey: the newest route of each model, all slots, all keys that are not revoked, the current generation. Not
    the models that are withdrawn: for a gateway they do not exist."""
    newest = "select body from routes where seq in (select max(seq) from routes group by model) order by model"
    routes = [_LEDGER.decode(body) for (body,) in tx.connection.rows(newest)]
    gone = {route.model for route in routes if route.withdrawn}
    return RouteTable(
        generation=current_generation(tx),
        routes={route.model: route for route in routes if route.model not in gone},
        slots={slot.id: slot for slot in find_slots(tx) if slot.model not in gone},
        keys=tuple(find_keys(tx, state="live")),
        asks_key=bool(find_keys(tx, limit=1)),
    )
