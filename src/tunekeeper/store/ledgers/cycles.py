"""Ledger of cycles: trips round the loop."""

from __future__ import annotations

from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "retraining"
DATABASE = "state"
_LEDGER = Ledger(
    name="cycles",
    database="state",
    noun=Cycle,
    listing="tunekeeper retrain why",
)


def load_cycle(tx: Read, id: str) -> Cycle:
    """The Cycle with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_cycles(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Cycle]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_cycle(tx: Write, cycle: Cycle) -> Cycle:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, cycle)
