"""What a ledger function is given: a transaction to read in, or one to write in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from tunekeeper.core.clock import Clock
from tunekeeper.store import schema

Name = Literal["control", "state"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """One consistent view of one database."""

    connection: sa.Connection
    """The open connection; used inside `store/` only."""
    database: Name
    """Which of the two databases this is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Write(Read):
    """One transaction that changes one database; everything in it happens, or nothing."""

    by: str
    """Who changes: a person, or the name of a part (`worker`, `rollback`)."""
    clock: Clock
    """Where stamps come from."""

    def stamp(self) -> str:
        """The moment, as databases store it."""
        return schema.moment(self.clock.utc())


def append_audit(tx: Write, *, ledger: str, id: str, rev: int, detail: str = "") -> None:
    """Put on record that `tx.by` changed row `id` of `ledger`; kept or undone together with the change itself."""
    values = {"by": tx.by, "ledger": ledger, "id": id, "rev": rev, "at": tx.stamp(), "detail": detail}
    tx.connection.execute(schema.audit(tx.database).insert().values(**values))


def find_audit(tx: Read, *, ledger: str | None = None, id: str | None = None, limit: int = 100) -> list[dict[str, str | int]]:
    """The newest `limit` audit rows as `{by, ledger, id, rev, at, detail}`, newest first, of one ledger or row when named."""
    table = schema.audit(tx.database)
    query = sa.select(table).order_by(table.c.seq.desc()).limit(limit)
    if ledger is not None:
        query = query.where(table.c.ledger == ledger)
    if id is not None:
        query = query.where(table.c.id == id)
    rows = tx.connection.execute(query).mappings()
    return [{name: value for name, value in row.items() if name != "seq"} for row in rows]
