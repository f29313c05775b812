"""Ledger of messages that wait to be sent, one in each database: a change and the news of it are one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import msgspec

from tunekeeper.core.errors import NotFound
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
    known = _messages(tx, "where id = :id", id=message.id)
    if known:
        return known[0]
    stored = replace(message, created=message.created or tx.clock.utc())
    added = f"insert into {tx.database}_outbox (id, created, state, due, body) values (:id, :created, :state, :due, :body)"
    tx.connection.change(added, id=stored.id, created=tx.stamp(), **_columns(stored))
    return stored


def find_pending(tx: Read, *, due_before: float | None = None, limit: int = 100) -> list[Message]:
    """Messages that wait, oldest first; with `due_before` (a UTC timestamp in seconds) only those that may be tried by then."""
    due = "" if due_before is None else " and (due is null or due <= :due)"
    return _messages(tx, f"where state = 'pending'{due} order by seq limit :most", due=due_before, most=limit)


def find_messages(tx: Read, *, limit: int = 100) -> list[Message]:
    """The delivery log: the newest messages in any state, newest first."""
    return _messages(tx, "order by seq desc limit :most", most=limit)


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
    found = _messages(tx, "where id = :id", id=id)
    if not found:
        raise NotFound(f"the outbox holds no message {id!r}")
    return found[0]


def _messages(tx: Read, which: str, **values: Any) -> list[Message]:
    rows = tx.connection.rows(f"select body from {tx.database}_outbox {which}", **values)
    return [msgspec.json.decode(body, type=Message) for (body,) in rows]


def _save(tx: Write, message: Message) -> Message:
    changed = f"update {tx.database}_outbox set state = :state, due = :due, body = :body where id = :id"
    tx.connection.change(changed, id=message.id, **_columns(message))
    return message


def _columns(message: Message) -> dict[str, Any]:
    return {"state": message.state, "due": message.due, "body": msgspec.json.encode(message).decode()}
