"""Ledger of triggers: reasons to open a cycle."""

from __future__ import annotations

from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "monitoring"
DATABASE = "state"
_LEDGER = Ledger(
    name="triggers",
    database="state",
    noun=Trigger,
    listing="tunekeeper retrain why",
)


def load_trigger(tx: Read, id: str) -> Trigger:
    """The Trigger with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_triggers(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Trigger]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_trigger(tx: Write, trigger: Trigger) -> Trigger:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, trigger)
