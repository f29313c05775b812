"""Ledger of versions: immutable candidates."""

from __future__ import annotations

from tunekeeper.core.nouns.training import Version
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "training"
DATABASE = "state"
_LEDGER = Ledger(
    name="versions",
    database="state",
    noun=Version,
    listing="tunekeeper model ls",
)


def load_version(tx: Read, id: str) -> Version:
    """The Version with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_versions(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Version]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_version(tx: Write, version: Version) -> Version:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, version)
