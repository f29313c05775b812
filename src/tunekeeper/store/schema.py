"""The names in both databases, and moments as they are stored. The tables themselves stand in `snapshot` and in the migrations.

A ledger's table has columns for what is searched by; the rest of the noun is one JSON `body` with a `schema` number, so that
a new field needs no migration. Names are unique over both databases: one PostgreSQL database can hold both.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tunekeeper.store import snapshot

HEAD = dict(snapshot.HEAD)
"""Newest migration of each database: what this release can read and write."""


def tables(database: str) -> set[str]:
    """The names of the tables of one database, that of its version aside."""
    shared = {f"{database}_{kind}" for kind in ("leases", "audit", "outbox")}
    return {*snapshot.LEDGERS[database], *shared, *(("sequences",) if database == "control" else ())}


def all_tables() -> set[str]:
    """The names of all our tables: one PostgreSQL database, or file, can hold both databases."""
    return {name for database in snapshot.LEDGERS for name in (*tables(database), version_table(database))}


def version_table(database: str) -> str:
    """Where the number of the last migration stands."""
    return f"{database}_version"


def moment(at: datetime) -> str:
    """A UTC moment as text that sorts by time, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
