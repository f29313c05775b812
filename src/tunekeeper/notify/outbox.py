"""Queue in the caller's transaction, deliver outside of any."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.notify.config import Config
from tunekeeper.notify.notifier import NOTIFIERS, Notifier, NotSent
from tunekeeper.store.database import Database
from tunekeeper.store.ledgers.outbox import Message, append_message, find_pending, mark_delivered, mark_failed
from tunekeeper.store.transactions import Write
from tunekeeper.workspace import Workspace

BATCH = 50
"""Messages of one database that one round takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What one round of delivery did."""

    delivered: int
    """Messages that arrived."""
    failed: int
    """Messages given up for good."""
    waiting: int
    """Messages that will be tried again."""


def queue(
    tx: Write,
    *,
    kind: str,
    subject: str,
    id: str,
    text: str = "",
    model: str = "",
    data: Mapping[str, Any] | None = None,
    to: str | None = None,
) -> Message:
    """Put a message into the outbox of the caller's database: it is sent if, and only if, the transaction is kept.

    `id`: made from what happened, so that telling it twice sends it once. `to`: name of one target; None tells all.
    """
    message = Message(id=id, kind=kind, subject=" ".join(subject.split()), text=text, model=model, data=dict(data or {}), to=to)
    return append_message(tx, message)


def deliver(
    ws: Workspace,
    section: Config | None = None,
    *,
    notifiers: Mapping[str, Notifier] | None = None,
    now: Callable[[], float] = time.time,
) -> Delivery:
    """Send what waits in both outboxes, oldest first, for a bounded time. Only one process at a time should (the worker).

    `notifiers`: name → notifier in place of the configured ones. `now`: real Unix seconds. A message is marked after it was
    sent: a kill in between sends it again under the same id. Raises ConfigError for a target that cannot be made.
    """
    section = section or Config()
    until = ws.clock.real() + section.seconds
    made: dict[str, Notifier] = dict(notifiers) if notifiers is not None else {}
    total = {"delivered": 0, "failed": 0, "waiting": 0}
    for database in (ws.control, ws.state):
        with database.read() as tx:
            waiting = find_pending(tx, due_before=now(), limit=BATCH)
        if waiting and notifiers is None and not made:
            made = make_notifiers(ws, section)
        for message in waiting:
            if ws.clock.real() >= until:
                total["waiting"] += 1
                continue
            for state in _handle(database, message, made, section, now):
                total[state] += 1
    return Delivery(**total)


def make_notifiers(ws: Workspace, section: Config) -> dict[str, Notifier]:
    """Target name → notifier. Raises ConfigError naming the target and the option."""
    made: dict[str, Notifier] = {}
    for name, options in section.targets.items():
        rest = {key: value for key, value in options.items() if key != "kind"}
        maker = NOTIFIERS.load(str(options.get("kind", name)))
        try:
            made[name] = maker(root=ws.root, **rest)
        except TypeError as error:
            raise ConfigError(f"notify.targets.{name}: {error}") from None
    return made


def _handle(
    database: Database, message: Message, notifiers: Mapping[str, Notifier], section: Config, now: Callable[[], float]
) -> list[str]:
    """Send one message and note how it went. One for all becomes one for each, so that a dead target delays no other."""
    if message.to is not None or len(notifiers) == 1:
        name = message.to if message.to is not None else next(iter(notifiers))
        return [_send(database, message, notifiers.get(name), section, now)]
    with database.write(by="notify") as tx:
        copies = [queue(tx, id=f"{message.id}@{name}", to=name, **_told(message)) for name in notifiers]
        mark_delivered(tx, message.id)
    return [_send(database, copy, notifiers[str(copy.to)], section, now) for copy in copies]


def _told(message: Message) -> dict[str, Any]:
    return {key: getattr(message, key) for key in ("kind", "subject", "text", "model", "data")}


def _send(database: Database, message: Message, notifier: Notifier | None, section: Config, now: Callable[[], float]) -> str:
    error, retry_at = f"no target is called {message.to!r}", None
    if notifier is not None:
        try:
            notifier.send(message)
            error = ""
        except NotSent as failure:
            error = failure.message
            retry_at = None if failure.permanent else next_attempt(message.attempts + 1, now(), section)
    with database.write(by="notify") as tx:
        if not error:
            mark_delivered(tx, message.id)
            return "delivered"
        return mark_failed(tx, message.id, error, retry_at).state.replace("pending", "waiting")


def next_attempt(attempts: int, now: float, section: Config) -> float | None:
    """When to try again after `attempts` failures (Unix seconds): pauses double up to the longest; None: give up."""
    if attempts >= section.attempts:
        return None
    return now + min(section.first_retry * 2.0 ** (attempts - 1), section.longest_retry)
