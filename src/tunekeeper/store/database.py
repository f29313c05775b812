"""One database: `control` (what gateways and rollback need) or `state` (everything else). SQLite here, PostgreSQL by URL.

Opening reads the schema's number and nothing more; only `upgrade` migrates, and it imports Alembic only where there is an older
schema. SQLite is spoken to as it is; SQLAlchemy is loaded for PostgreSQL and for migrations, and by nobody else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tunekeeper.core.clock import Clock
from tunekeeper.core.errors import Busy, DiskFull, NotFound, OurFault, OutsideError, TunekeeperError, UserError
from tunekeeper.store import leases, lock, schema, snapshot, sqlite
from tunekeeper.store.leases import Lease
from tunekeeper.store.transactions import Connection, Name, Read, Write, append_audit

__all__ = ["Database", "Lease", "Read", "Write"]
UPGRADE = "tunekeeper store upgrade"
RESTORE = "restore it from a backup"
MOVE = f"move it elsewhere, then {UPGRADE}"
_FILE_TABLES = "select name from sqlite_master where type = 'table' and name not like 'sqlite~_%' escape '~'"
_SERVER_TABLES = "select table_name from information_schema.tables where table_schema = current_schema()"
_FORGETTING = 5.0
"""Seconds in which a log is emptied where somebody is in the way."""
_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE")
"""What SQLite says where the disk, or the size a file may have, is used up: opening takes room too, for the WAL's index."""


class Database:
    """One of the two databases, with its transactions and its leases. Holds no connection between two transactions."""

    def __init__(self, target: Path | str, name: Name, clock: Clock) -> None:
        """`target`: path of the SQLite file, or the URL of a PostgreSQL database. `clock`: where stamps come from."""
        self.name: Name = name
        self.clock = clock
        self.path = target if isinstance(target, Path) else None
        self._checked = False
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error,)
        if isinstance(target, str):
            from tunekeeper.store import alchemy

            self._server, self._errors = alchemy.server(target), alchemy.ERRORS

    @contextmanager
    def read(self) -> Iterator[Read]:
        """A transaction that sees one moment and waits for nobody. Raises NotFound, or UserError on a foreign schema."""
        self._check()
        self._relieve()
        with self._translated(), self._begun(write=False) as connection:
            yield Read(connection=connection, database=self.name)

    @contextmanager
    def write(
        self, *, by: str, lease: Lease | None = None, wait: float = 30.0, break_after: float | None = None
    ) -> Iterator[Write]:
        """A transaction that changes rows, alone in this database. No foreign call inside: it may be killed at any moment.

        `by`: who changes, for the audit rows. `lease`: checked first; raises LeaseLost when its epoch is old. `wait`: real
        seconds to wait for other writers before Busy. `break_after`: real seconds after which a stopped or stuck writer of our
        own is killed (rollback's privilege); the kill is audited in this transaction.
        """
        self._check()
        with self._alone(wait, break_after) as broken, self._translated(), self._begun(write=True) as connection:
            tx = Write(connection=connection, database=self.name, by=by, clock=self.clock)
            for victim in broken:
                said = "killed: it was stopped or stuck while it held the lock"
                append_audit(tx, ledger="lock", id=str(victim.pid), rev=0, detail=said)
            if lease is not None:
                leases.check(tx, lease)
            yield tx

    def acquire_lease(self, name: str, owner: str, seconds: float) -> Lease | None:
        """The lease `name` for `seconds` of real time; None while somebody else holds it."""
        with self.write(by=owner) as tx:
            return leases.acquire(tx, name, owner, seconds)

    def renew_lease(self, lease: Lease) -> Lease:
        """The lease, good for its seconds from now. Raises LeaseLost when another has taken it."""
        with self.write(by=lease.owner) as tx:
            return leases.renew(tx, lease)

    def release_lease(self, lease: Lease) -> None:
        """Let the next one in at once; nothing happens when it was lost already."""
        with self.write(by=lease.owner) as tx:
            leases.release(tx, lease)

    def lease_alive(self, name: str) -> bool:
        """Whether somebody holds the lease `name` now."""
        with self.read() as tx:
            return leases.alive(tx, name)

    def version(self) -> str | None:
        """Number of the last migration; None for a database without tables, or that does not exist. Raises UserError where there
        are tables and nothing says of which schema."""
        if self.path is not None and not self.path.exists():
            return None
        table = schema.version_table(self.name)
        with self._translated(), self._begun(write=False) as connection:
            there = {name for (name,) in connection.rows(_SERVER_TABLES if connection.shared else _FILE_TABLES)}
            found = connection.rows(f"select version_num from {table}") if table in there else []
        if found and found[0][0] is not None:
            return str(found[0][0])
        ours = there & schema.tables(self.name)
        if ours:
            raise UserError(
                f"{self._where()} is damaged: its table {table} is {'empty' if table in there else 'gone'}", fix=RESTORE
            )
        strange = there - schema.all_tables()
        if strange and self.path is not None:
            raise UserError(f"{self._where()} is not the {self.name} database: it has the table {min(strange)}", fix=MOVE)
        return None

    def damage(self) -> list[str]:
        """What SQLite's own integrity check finds wrong, one line each; empty when all is well. Reads the whole file."""
        if self.path is None:
            return []
        with self.read() as tx:
            found = [str(line) for (line,) in tx.connection.rows("pragma integrity_check")]
        return [] if found == ["ok"] else found

    def upgrade(self, *, dry_run: bool = False) -> Path | None:
        """Create the tables, or bring them to this release's schema. An existing file is copied first: returns that copy's
        path, None where nothing was copied. Raises UserError when the database is of a newer release, also in a `dry_run`."""
        found = self.version()
        if found is not None and found > schema.HEAD[self.name]:
            raise self._newer(found)
        if found == schema.HEAD[self.name] or dry_run:
            return None
        if found is None and self.path is not None and snapshot.create(self.path, self.name):
            return None
        from tunekeeper.store import alchemy, migrate

        with self._alone(120.0, None), self._translated(*alchemy.ERRORS):
            return migrate.upgrade(self._server if self.path is None else alchemy.file(self.path), self.name, self.path)

    def _begun(self, *, write: bool) -> AbstractContextManager[Connection]:
        """A transaction."""
        if self.path is not None:
            return sqlite.writing(self.path) if write else sqlite.reading(self.path)
        from tunekeeper.store import alchemy

        return alchemy.transaction(self._server)

    def _check(self) -> None:
        if self._checked:
            return
        where, found = self._where(), self.version()
        head = schema.HEAD[self.name]
        if found is None:
            raise NotFound(f"{where} does not exist or is empty", fix=UPGRADE)
        if found < head:
            raise UserError(f"{where} has schema {found}, this release needs {head}", fix=UPGRADE)
        if found > head:
            raise self._newer(found)
        self._checked = True

    def _where(self) -> str:
        return self.path.name if self.path is not None else f"the {self.name} database"

    def _newer(self, found: str) -> UserError:
        said = f"{self._where()} has schema {found}, newer than {schema.HEAD[self.name]} of this release"
        return UserError(said, fix=f"install the newer release, then {UPGRADE}")

    def _relieve(self) -> None:
        """Empty a log that has grown large before reading. It begins anew only at a moment without readers, and where one follows
        the other there is none: it would grow for ever."""
        if self.path is None or sqlite.log_bytes(self.path) < sqlite.LARGE_LOG:
            return
        with suppress(TunekeeperError), self._alone(0.25, None), self._translated():
            sqlite.empty_log(self.path)

    def forget(self) -> None:
        """Empty the log beside the file, in which pages stand as they were before: after an erasure. Where somebody reads all the
        while, or the file is busy, it is emptied later, by itself."""
        if self.path is None or not sqlite.log_bytes(self.path):
            return
        with suppress(TunekeeperError), self._alone(_FORGETTING, None), self._translated():
            sqlite.empty_log(self.path, _FORGETTING)

    @contextmanager
    def _alone(self, wait: float, break_after: float | None) -> Iterator[list[lock.Holder]]:
        if self.path is None:
            yield []
            return
        with lock.exclusive(self.path.with_name(self.path.name + ".lock"), wait=wait, break_after=break_after) as broken:
            yield broken

    @contextmanager
    def _translated(self, *more: type[Exception]) -> Iterator[None]:
        """Errors of the database, and `more`, as our own: each a line and a way out."""
        try:
            yield
        except TunekeeperError:
            raise
        except (*self._errors, *more) as error:
            raise as_ours(error, self.path.name if self.path is not None else self.name) from error


def as_ours(error: Exception, where: str) -> TunekeeperError:
    """An error of the database `where` as one of ours: a line and a way out."""
    raised = getattr(error, "orig", None) or error
    text, name = str(raised), getattr(raised, "sqlite_errorname", "")
    if "disk is full" in text or name in _NO_ROOM:
        return DiskFull(f"no room left on the disk of {where}", fix="free some space and repeat the command")
    if "locked" in text or "busy" in text:
        return Busy(f"{where} is locked by another program", fix="close programs that opened it directly")
    if "not a database" in text or "malformed" in text:
        return UserError(f"{where} is damaged: {text}", fix=RESTORE)
    if "unable to open" in text or "readonly" in text:
        return UserError(f"{where} cannot be opened: {text}", fix="check the folder's owner and permissions")
    if name.startswith("SQLITE_IOERR"):
        return OutsideError(f"{where}: {text} ({name})", fix="check the disk")
    return OurFault(f"{where}: {text}")
