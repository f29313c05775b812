"""The seam of notifiers: something that takes one message to one place."""

from __future__ import annotations

from typing import Protocol

from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.core.registry import Registry
from tunekeeper.store.ledgers.outbox import Message


class NotSent(UpstreamUnavailable):
    """A message did not arrive. `permanent`: trying again would not help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        """`message`: one line that names the target and what it said."""
        super().__init__(message)
        self.permanent = permanent


class Notifier(Protocol):
    """Takes messages to one place. Made with its options as keyword arguments, and `root`, the data directory."""

    def send(self, message: Message) -> None:
        """Deliver one message within a bounded time, or raise NotSent. The same id may come twice: receivers can tell by it."""


NOTIFIERS = Registry(
    "notifier",
    {
        "log": "tunekeeper.notify.logfile:LogFile",
        "webhook": "tunekeeper.notify.webhook:Webhook",
        "memory": "tunekeeper.notify.memory:Memory",
    },
)
