"""Telling people and other systems: an outbox in each database, and the notifiers that empty it.

In: messages queued in the same transaction as what they tell of. Out: each message at every configured notifier, at least once,
with the attempts and errors on record. Owns (ledgers): outbox. Never: sends inside a transaction, or holds one while it waits.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.notify.notifier import Notifier, NotSent
    from tunekeeper.notify.outbox import Delivery, deliver, queue

__all__ = ["Delivery", "NotSent", "Notifier", "deliver", "queue"]

_HOMES = {"Delivery": "outbox", "NotSent": "notifier", "Notifier": "notifier", "deliver": "outbox", "queue": "outbox"}


def __getattr__(name: str) -> Any:
    # On first use: reading the section's `Config` must not load the databases.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
