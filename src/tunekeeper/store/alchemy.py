"""What SQLAlchemy is for: PostgreSQL, and the engines that migrations run over. Nothing else imports it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tunekeeper.store import sqlite
from tunekeeper.store.snapshot import prepare

ERRORS = (sa.exc.DBAPIError,)
"""What is raised where a database refuses something."""


class Connection:
    """An open transaction of a PostgreSQL database."""

    shared = True

    def __init__(self, raw: sa.Connection) -> None:
        self._raw = raw

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        return [tuple(row) for row in self._raw.execute(sa.text(sql), values)]

    def change(self, sql: str, **values: Any) -> int:
        """How many rows a statement has changed."""
        return self._raw.execute(sa.text(sql), values).rowcount

    def change_each(self, sql: str, values: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once with each of these values."""
        self._raw.execute(sa.text(sql), list(values))


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[Connection]:
    """A transaction; everything in it happens, or nothing."""
    with engine.begin() as raw:
        yield Connection(raw)


def server(url: str) -> sa.Engine:
    """The engine of a PostgreSQL database; it keeps no connection."""
    return sa.create_engine(url, poolclass=sa.NullPool)


def file(path: Path) -> sa.Engine:
    """The engine of a SQLite file, which is made when missing; under its lock only."""

    def connect() -> sqlite3.Connection:
        raw = sqlite.connect(path, "rwc")
        prepare(raw)
        return raw

    engine = sa.create_engine("sqlite+pysqlite://", creator=connect, poolclass=sa.NullPool)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
