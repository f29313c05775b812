"""Telling people and other systems: an outbox in each database, and the notifiers that empty it.

In: messages queued in the same transaction as what they tell of. Out: each message at every configured notifier, at least once,
with the attempts and errors on record. Owns (ledgers): outbox. Never: sends inside a transaction, or holds one while it waits.
"""

from __future__ import annotations

from tunekeeper.notify.notifier import Notifier, NotSent
from tunekeeper.notify.outbox import Delivery, deliver, queue

__all__ = ["Delivery", "NotSent", "Notifier", "deliver", "queue"]
