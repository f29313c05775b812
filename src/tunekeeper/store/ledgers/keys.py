"""Ledger of keys: who may call the gateway; only hashes are kept."""

from __future__ import annotations

from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.store.generation import next_generation
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "gateway"
DATABASE = "control"
_LEDGER = Ledger(
    name="keys",
    database="control",
    noun=ApiKey,
    listing="tunekeeper key ls",
    state=lambda key: "revoked" if key.revoked else "live",
    due=lambda key: None if key.expires is None else key.expires.timestamp(),
    key=lambda key: key.hash,
)


def load_key(tx: Read, id: str) -> ApiKey:
    """The ApiKey with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_keys(
    tx: Read,
    *,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    hash: str | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[ApiKey]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`.

    `state`: live or revoked. `due_before`: expiring until then, a UTC timestamp in seconds. `hash`: the stored hash.
    """
    return _LEDGER.find(tx, Wanted(state=state, due_before=due_before, key=hash, limit=limit, newest_first=newest_first))


def save_key(tx: Write, key: ApiKey) -> ApiKey:
    """Insert (rev 0) or replace, audited; takes the next generation, so that gateways hear of it. Raises Conflict."""
    next_generation(tx)
    return _LEDGER.save(tx, key)
