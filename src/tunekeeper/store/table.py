"""One ledger: frozen values in and out of one table. Each file of `ledgers/` gives these verbs their noun's names and types."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from tunekeeper.core.errors import Conflict, NotFound, OurFault
from tunekeeper.store import schema
from tunekeeper.store.transactions import Name, Read, Write, append_audit, where

T = TypeVar("T")
_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which rows of a ledger are asked for; None asks for all."""

    model: str | None = None
    """Rows of this model."""
    state: str | tuple[str, ...] | None = None
    """Rows in this state, or in one of these."""
    due_before: float | None = None
    """Rows whose deadline is this or earlier, in the unit of the ledger's deadlines."""
    key: str | None = None
    """Rows with this second key."""
    limit: int | None = None
    """How many at most."""
    newest_first: bool = False
    """Order of first saves, turned round."""


_SET = 'model = :model, state = :state, due = :due, "key" = :key, body = :body'


def _numbered(values: Iterable[str]) -> dict[str, str]:
    """Each value under a name of its own, for `_among`."""
    return {f"n{number}": value for number, value in enumerate(values)}


def _among(column: str, names: Iterable[str]) -> str:
    return f"{column} in ({', '.join(f':{name}' for name in names)})"


def _nothing(value: Any) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Ledger(Generic[T]):
    """The rows of one noun."""

    name: str
    """Table name: the noun's plural."""
    database: Name
    """Where it is."""
    noun: type[T]
    """The frozen dataclass that a row holds."""
    listing: str
    """Command that lists the ledger, for error messages."""
    id: Callable[[T], str] = field(default=lambda value: str(getattr(value, "id", "")))
    """How the row's id is found in the value."""
    model: Callable[[T], str] = field(default=lambda value: str(getattr(value, "model", "")))
    """How its model is found."""
    state: Callable[[T], str | None] = field(default=lambda value: getattr(value, "state", None))
    """How its state is found."""
    due: Callable[[T], float | None] = field(default=_nothing)
    """How its deadline is found."""
    key: Callable[[T], str | None] = field(default=_nothing)
    """How its second key is found."""

    def load(self, tx: Read, id: str) -> T:
        """The value with this id. Raises NotFound naming the id and the command that lists the ledger."""
        self._belongs(tx)
        found = self._known(tx, id)
        if found is None:
            raise NotFound(f"{self.name} hold nothing with the id {id!r}", fix=self.listing)
        return found

    def find(self, tx: Read, wanted: Wanted) -> list[T]:
        """The values asked for, in the order of their first save."""
        self._belongs(tx)
        values = {name: value for name, value in (("model", wanted.model), ("key", wanted.key)) if value is not None}
        more: list[str] = []
        late: dict[str, Any] = {"most": wanted.limit, "due": wanted.due_before}
        if wanted.state is not None:
            states = _numbered((wanted.state,) if isinstance(wanted.state, str) else wanted.state)
            more, late = [_among("state", states)], late | states
        more += ["due <= :due"] if wanted.due_before is not None else []
        order = "seq desc" if wanted.newest_first else "seq"
        most = "" if wanted.limit is None else " limit :most"
        query = f"select body from {self.name}{where(values, *more)} order by {order}{most}"
        return [self.decode(body) for (body,) in tx.connection.rows(query, **values, **late)]

    def save(self, tx: Write, value: T) -> T:
        """Insert (rev 0; the id must be new) or replace (the stored rev must be the value's). Returns it with the next rev and,
        on insert, `created`. Raises Conflict when somebody else saved it first."""
        self._belongs(tx)
        rev = int(getattr(value, "rev", 0))
        saved = self.stamped(tx, value, rev=rev + 1)
        id = self.id(saved)
        if rev == 0:
            self._insert(tx, saved, rev=1)
        else:
            replaced = f"update {self.name} set rev = :rev + 1, {_SET} where id = :id and rev = :rev"
            if tx.connection.change(replaced, id=id, rev=rev, **self._columns(saved)) != 1:
                raise Conflict(
                    f"{id} in {self.name} changed after it was read at rev {rev}", fix="read it again and repeat the change"
                )
        append_audit(tx, ledger=self.name, id=id, rev=rev + 1)
        return saved

    def append(self, tx: Write, value: T) -> T:
        """Add a row that never changes. A row with the same id stays as it is and is returned: appending twice saves once."""
        self._belongs(tx)
        stamped = self.stamped(tx, value)
        id = self.id(stamped)
        known = self._known(tx, id)
        if known is not None:
            return known
        self._insert(tx, stamped, rev=1)
        append_audit(tx, ledger=self.name, id=id, rev=1)
        return stamped

    def append_many(self, tx: Write, values: Iterable[T], *, subject: str) -> int:
        """Add many rows, skipping ids that are known, under one audit row about `subject`. Returns how many were new."""
        self._belongs(tx)
        fresh = {self.id(value): self.stamped(tx, value) for value in values}
        ids = list(fresh)
        for start in range(0, len(ids), 500):
            part = _numbered(ids[start : start + 500])
            for (known,) in tx.connection.rows(f"select id from {self.name} where {_among('id', part)}", **part):
                del fresh[known]
        if not fresh:
            return 0
        at = tx.stamp()
        rows = [{"id": id, "created": at, "rev": 1, **self._columns(value)} for id, value in fresh.items()]
        tx.connection.change_each(self._insertion, rows)
        append_audit(tx, ledger=self.name, id=subject, rev=1, detail=f"{len(rows)} rows")
        return len(rows)

    def erase(self, tx: Write, values: Iterable[T], *, detail: str) -> int:
        """Put these in place of appended rows with the same ids, which hold what must not be kept. Audited, one row each, with
        `detail`. Returns how many rows were there."""
        self._belongs(tx)
        count = 0
        for value in values:
            if tx.connection.change(f"update {self.name} set {_SET} where id = :id", id=self.id(value), **self._columns(value)):
                append_audit(tx, ledger=self.name, id=self.id(value), rev=1, detail=detail)
                count += 1
        return count

    def decode(self, body: str) -> T:
        """The value of a body; fields that a newer release added are passed over."""
        return msgspec.json.decode(body, type=self.noun)

    def stamped(self, tx: Write, value: T, **changes: Any) -> T:
        """The value with `changes`, and `created` filled from the clock where it is absent."""
        names = {item.name for item in dataclasses.fields(value)}  # type: ignore[arg-type]
        if "created" in names and getattr(value, "created", None) is None:
            changes["created"] = tx.clock.utc()
        kept = {name: change for name, change in changes.items() if name in names}
        return dataclasses.replace(value, **kept)  # type: ignore[type-var]

    def _insert(self, tx: Write, value: T, *, rev: int) -> None:
        row = {"id": self.id(value), "created": self._created(tx, value), "rev": rev, **self._columns(value)}
        if tx.connection.change(f"{self._insertion} on conflict (id) do nothing", **row) != 1:
            raise Conflict(f"{self.name} already hold {self.id(value)!r}", fix="read it again and repeat the change")

    def _known(self, tx: Read, id: str) -> T | None:
        bodies = tx.connection.rows(f"select body from {self.name} where id = :id", id=id)
        return self.decode(bodies[0][0]) if bodies else None

    @property
    def _insertion(self) -> str:
        return (
            f'insert into {self.name} (id, created, rev, model, state, due, "key", body) '
            "values (:id, :created, :rev, :model, :state, :due, :key, :body)"
        )

    def _created(self, tx: Write, value: T) -> str:
        created = getattr(value, "created", None)
        return schema.moment(created) if isinstance(created, datetime) else tx.stamp()

    def _columns(self, value: T) -> dict[str, Any]:
        body = b'{"schema":%d,' % _SCHEMA + msgspec.json.encode(value)[1:]
        columns = {"model": self.model(value), "state": self.state(value), "due": self.due(value), "key": self.key(value)}
        return {**columns, "body": body.decode()}

    def _belongs(self, tx: Read) -> None:
        if tx.database != self.database:
            raise OurFault(f"{self.name} are in {self.database}.db, not in {tx.database}.db")
