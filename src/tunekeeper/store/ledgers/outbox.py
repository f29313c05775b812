"""Ledger of messages that wait to be sent, one in each database: a change and the news of it are one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from tunekeeper.core.errors import NotFound
from tunekeeper.store import schema
from tunekeeper.store.transactions import Read, Write

WRITER = "notify"
DATABASE = "either"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Something a person or another system must hear of."""

    id: str
    """Made from what happened, so that telling it twice sends it once."""
    kind: str
    """What happened, e.g. `alert`, `rollback`, `approval`."""
    subject: str
    """One line."""
    text: str = ""
    """The rest, plain text."""
    model: str = ""
    """The model it is about."""
    data: dict[str, Any] = field(default_factory=dict)
    """The same for machines."""
    to: str | None = None
    """Name of the notifier; None: whatever is configured."""
    state: Literal["pending", "delivered", "failed"] = "pending"
    """Where it stands."""
    attempts: int = 0
    """How often it was tried."""
    due: float | None = None
    """Real time stamp (seconds, UTC) before which it is not tried again; None: now."""
    error: str | None = None
    """Why the last attempt failed."""
    created: datetime | None = None
    """When."""
    delivered: datetime | None = None
    """When it arrived."""


def append_message(tx: Write, message: Message) -> Message:
    """Add a message to the outbox of the caller's database; one with the same id stays as it is. Returns the stored one."""
    table = schema.outbox(tx.database)
    known = tx.connection.execute(sa.select(table.c.body).where(table.c.id == message.id)).scalar_one_or_none()
    if known is not None:
        return msgspec.json.decode(known, type=Message)
    stored = replace(message, created=message.created or tx.clock.utc())
    tx.connection.execute(table.insert().values(id=stored.id, created=tx.stamp(), **_columns(stored)))
    return stored


def find_pending(tx: Read, *, due_before: float | None = None, limit: int = 100) -> list[Message]:
    """Messages that wait, oldest first; with `due_before` (a UTC timestamp in seconds) only those that may be tried by then."""
    table = schema.outbox(tx.database)
    query = sa.select(table.c.body).where(table.c.state == "pending").order_by(table.c.seq).limit(limit)
    if due_before is not None:
        query = query.where(table.c.due.is_(None) | (table.c.due <= due_before))
    return [msgspec.json.decode(body, type=Message) for body in tx.connection.execute(query).scalars()]


def find_messages(tx: Read, *, limit: int = 100) -> list[Message]:
    """The delivery log: the newest messages in any state, newest first."""
    table = schema.outbox(tx.database)
    query = sa.select(table.c.body).order_by(table.c.seq.desc()).limit(limit)
    return [msgspec.json.decode(body, type=Message) for body in tx.connection.execute(query).scalars()]


def mark_delivered(tx: Write, id: str) -> Message:
    """Note that a message arrived. Raises NotFound."""
    message = _load(tx, id)
    return _save(tx, replace(message, state="delivered", attempts=message.attempts + 1, error=None, delivered=tx.clock.utc()))


def mark_failed(tx: Write, id: str, error: str, retry_at: float | None) -> Message:
    """Note a failed attempt: tried again at `retry_at` (a UTC timestamp in seconds), or never when None. Raises NotFound."""
    message = _load(tx, id)
    state: Literal["pending", "failed"] = "failed" if retry_at is None else "pending"
    return _save(tx, replace(message, state=state, attempts=message.attempts + 1, error=error, due=retry_at))


def _load(tx: Read, id: str) -> Message:
    table = schema.outbox(tx.database)
    body = tx.connection.execute(sa.select(table.c.body).where(table.c.id == id)).scalar_one_or_none()
    if body is None:
        raise NotFound(f"the outbox holds no message {id!r}")
    return msgspec.json.decode(body, type=Message)


def _save(tx: Write, message: Message) -> Message:
    table = schema.outbox(tx.database)
    tx.connection.execute(table.update().where(table.c.id == message.id).values(**_columns(message)))
    return message


def _columns(message: Message) -> dict[str, Any]:
    return {"state": message.state, "due": message.due, "body": msgspec.json.encode(message).decode()}
