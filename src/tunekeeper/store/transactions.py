"""What a ledger function is given: a transaction to read in, or one to write in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tunekeeper.core.clock import Clock
from tunekeeper.store import schema

Name = Literal["control", "state"]


class Connection(Protocol):
    """An open transaction of a database, in the SQL that SQLite and PostgreSQL both know; values go by name, `:name` in it."""

    shared: bool
    """Whether processes of other machines use the same database."""

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""

    def change(self, sql: str, **values: Any) -> int:
        """How many rows a statement has changed."""

    def change_each(self, sql: str, values: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once with each of these values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """One consistent view of one database."""

    connection: Connection
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


_AUDIT = ("by", "ledger", "id", "rev", "at", "detail")


def append_audit(tx: Write, *, ledger: str, id: str, rev: int, detail: str = "") -> None:
    """Put on record that `tx.by` changed row `id` of `ledger`; kept or undone together with the change itself."""
    tx.connection.change(
        f'insert into {tx.database}_audit ("by", ledger, id, rev, at, detail) values (:by, :ledger, :id, :rev, :at, :detail)',
        by=tx.by,
        ledger=ledger,
        id=id,
        rev=rev,
        at=tx.stamp(),
        detail=detail,
    )


def find_audit(tx: Read, *, ledger: str | None = None, id: str | None = None, limit: int = 100) -> list[dict[str, str | int]]:
    """The newest `limit` audit rows as `{by, ledger, id, rev, at, detail}`, newest first, of one ledger or row when named."""
    asked = {name: value for name, value in (("ledger", ledger), ("id", id)) if value is not None}
    rows = tx.connection.rows(
        f'select "by", ledger, id, rev, at, detail from {tx.database}_audit{where(asked)} order by seq desc limit :most',
        **asked,
        most=limit,
    )
    return [dict(zip(_AUDIT, row, strict=True)) for row in rows]


def where(asked: Iterable[str], *more: str) -> str:
    """The condition that each of these columns has the value of its name, and `more` holds; empty where nothing is asked."""
    conditions = [*(f'"{name}" = :{name}' for name in asked), *more]
    return f" where {' and '.join(conditions)}" if conditions else ""
