"""The one number that counts what gateways must hear of: every change of a route, a slot or a key takes the next."""

from __future__ import annotations

from tunekeeper.store.transactions import Read, Write


def current_generation(tx: Read) -> int:
    """The number of the newest change; 0 in a new workspace."""
    return int(tx.connection.rows("select value from sequences where name = 'generation'")[0][0])


def next_generation(tx: Write) -> int:
    """Count one more change, in the caller's transaction, and return its number."""
    return int(tx.connection.rows("update sequences set value = value + 1 where name = 'generation' returning value")[0][0])
