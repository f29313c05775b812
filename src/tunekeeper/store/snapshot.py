"""The newest schema as plain SQL, and what can be known of a database without a database library.

A new SQLite database is made from here in one transaction, in milliseconds: a start pays for SQLAlchemy and Alembic only where
there is something to migrate. A test keeps the SQL equal to what the migrations make.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from tunekeeper.store import lock

HEAD = {"control": "0001", "state": "0001"}
"""Newest migration of each database: what this release can read and write."""
LEDGERS = {
    "control": ("routes", "slots", "rollouts", "approvals", "incidents", "promotions", "keys"),
    "state": (
        *("datasets", "reviews", "runs", "versions", "artifacts", "exams", "scores", "suite_locks"),
        *("signals", "baselines", "alerts", "triggers", "cycles", "jobs"),
    ),
}
"""Ledgers of each database."""
_LEDGER = """
CREATE TABLE {name} (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, model TEXT NOT NULL, state TEXT,
due FLOAT, "key" TEXT, created TEXT NOT NULL, rev INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE (id));
CREATE INDEX ix_{name}_model ON {name} (model, seq);
CREATE INDEX ix_{name}_state ON {name} (state, due);
CREATE INDEX ix_{name}_key ON {name} ("key");
"""
_SHARED = """
CREATE TABLE {name}_leases (name TEXT NOT NULL, owner TEXT NOT NULL, epoch INTEGER NOT NULL, boot TEXT NOT NULL,
expires FLOAT NOT NULL, PRIMARY KEY (name));
CREATE TABLE {name}_audit (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "by" TEXT NOT NULL, ledger TEXT NOT NULL,
id TEXT NOT NULL, rev INTEGER NOT NULL, at TEXT NOT NULL, detail TEXT NOT NULL);
CREATE INDEX ix_{name}_audit_row ON {name}_audit (ledger, id);
CREATE TABLE {name}_outbox (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, state TEXT NOT NULL, due FLOAT,
created TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (id));
CREATE INDEX ix_{name}_outbox_state ON {name}_outbox (state, seq);
"""
_SEQUENCES = """
CREATE TABLE sequences (name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name));
INSERT INTO sequences (name, value) VALUES ('generation', 0);
"""
_VERSION = """
CREATE TABLE {name}_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT {name}_version_pkc PRIMARY KEY (version_num));
INSERT INTO {name}_version (version_num) VALUES ('{head}');
"""


def create(path: Path, name: str) -> bool:
    """Make the database `name` (`control` or `state`) at `path` with every table, empty, under the lock of its file. True when it
    stands there with the newest schema, made now or by somebody else meanwhile. False, and nothing is changed, where there are
    tables of another schema already, or the file cannot be made: whoever then opens it says what is wrong. One who is killed in
    here leaves a file without tables, which the next one fills. Raises Busy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock.exclusive(path.with_name(path.name + ".lock"), wait=120.0):
        try:
            with closing(sqlite3.connect(address(path, "rwc"), uri=True, isolation_level=None)) as connection:
                if connection.execute("select count(*) from sqlite_master").fetchone()[0] == 0:
                    _fill(connection, name)
        except sqlite3.Error:
            return False
    return version(path, name) == HEAD[name]


def prepare(connection: sqlite3.Connection) -> None:
    """What every read-write connection does first: the log beside the file, synced at each commit, copied under the lock only;
    what is deleted or replaced is overwritten."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA secure_delete=ON")


def version(path: Path, name: str) -> str | None:
    """Number of the last migration of the database `name` at `path`; None where that cannot be read: no such file, no tables,
    no database."""
    return _one(path, f"select version_num from {name}_version")


def generation(path: Path) -> int | None:
    """Number of the newest committed change that gateways must hear of; None where that cannot be read."""
    found = _one(path, "select value from sequences where name = 'generation'")
    return None if found is None else int(found)


def address(path: Path, mode: str) -> str:
    """SQLite's address of a file, opened `ro`, `rw` or `rwc`."""
    return f"file:{quote(str(path))}?mode={mode}"


def _one(path: Path, query: str) -> str | None:
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(address(path, "ro"), uri=True)) as connection:
            found = connection.execute(query).fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else str(found[0])


def _fill(connection: sqlite3.Connection, name: str) -> None:
    prepare(connection)
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements(name):
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def statements(name: str) -> Iterator[str]:
    """The SQL that makes the database `name`, one statement each, in the order of the migrations."""
    ledgers = "".join(_LEDGER.format(name=ledger) for ledger in LEDGERS[name])
    sequences = _SEQUENCES if name == "control" else ""
    whole = _VERSION.split(";")[0] + ";" + ledgers + _SHARED + sequences + _VERSION.split(";", 1)[1]
    yield from (each.strip() for each in whole.format(name=name, head=HEAD[name]).split(";") if each.strip())
