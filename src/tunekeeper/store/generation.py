"""The one number that counts what gateways must hear of: every change of a route, a slot or a key takes the next."""

from __future__ import annotations

import sqlalchemy as sa

from tunekeeper.store import schema
from tunekeeper.store.transactions import Read, Write


def current_generation(tx: Read) -> int:
    """The number of the newest change; 0 in a new workspace."""
    table = schema.sequences()
    return int(tx.connection.execute(sa.select(table.c.value).where(table.c.name == "generation")).scalar_one())


def next_generation(tx: Write) -> int:
    """Count one more change, in the caller's transaction, and return its number."""
    table = schema.sequences()
    grown = table.update().where(table.c.name == "generation").values(value=table.c.value + 1).returning(table.c.value)
    return int(tx.connection.execute(grown).scalar_one())
