"""The tables of both databases, as the newest migration leaves them.

A ledger's table has columns for what is searched by; the rest of the noun is one JSON `body` with a `schema` number, so that
a new field needs no migration. Names are unique over both databases: one PostgreSQL database can hold both.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from tunekeeper.store import snapshot

HEAD = dict(snapshot.HEAD)
"""Newest migration of each database: what this release can read and write."""
CONTROL_LEDGERS, STATE_LEDGERS = snapshot.LEDGERS["control"], snapshot.LEDGERS["state"]

_METADATA = {"control": sa.MetaData(), "state": sa.MetaData()}
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def metadata(database: str) -> sa.MetaData:
    """Every table of one database."""
    return _METADATA[database]


def tables() -> set[str]:
    """The names of all our tables: one PostgreSQL database, or file, can hold both databases."""
    return {name for database in _METADATA for name in (*_METADATA[database].tables, version_table(database))}


def ledger(database: str, name: str) -> sa.Table:
    """The table of one ledger."""
    return _METADATA[database].tables[name]


def leases(database: str) -> sa.Table:
    """The leases of one database."""
    return _METADATA[database].tables[f"{database}_leases"]


def audit(database: str) -> sa.Table:
    """The audit rows of one database."""
    return _METADATA[database].tables[f"{database}_audit"]


def outbox(database: str) -> sa.Table:
    """The messages of one database that wait to be sent."""
    return _METADATA[database].tables[f"{database}_outbox"]


def sequences() -> sa.Table:
    """Numbers that grow by one; `generation` counts what gateways must hear of."""
    return _METADATA["control"].tables["sequences"]


def version_table(database: str) -> str:
    """Where the number of the last migration stands."""
    return f"{database}_version"


def moment(at: datetime) -> str:
    """A UTC moment as text that sorts by time, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ledger(database: str, name: str) -> None:
    sa.Table(
        name,
        _METADATA[database],
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=True),
        sa.Column("due", sa.Float(53), nullable=True),
        sa.Column("key", sa.Text, nullable=True),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("rev", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Index(f"ix_{name}_model", "model", "seq"),
        sa.Index(f"ix_{name}_state", "state", "due"),
        sa.Index(f"ix_{name}_key", "key"),
        sqlite_autoincrement=True,
    )


def _shared(database: str) -> None:
    tables = _METADATA[database]
    sa.Table(
        f"{database}_leases",
        tables,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
    )
    sa.Table(
        f"{database}_audit",
        tables,
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("ledger", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("rev", sa.Integer, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Index(f"ix_{database}_audit_row", "ledger", "id"),
        sqlite_autoincrement=True,
    )
    sa.Table(
        f"{database}_outbox",
        tables,
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due", sa.Float(53), nullable=True),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Index(f"ix_{database}_outbox_state", "state", "seq"),
        sqlite_autoincrement=True,
    )


def _define() -> None:
    for name in CONTROL_LEDGERS:
        _ledger("control", name)
    for name in STATE_LEDGERS:
        _ledger("state", name)
    _shared("control")
    _shared("state")
    sa.Table(
        "sequences",
        _METADATA["control"],
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", _NUMBER, nullable=False),
    )


_define()
