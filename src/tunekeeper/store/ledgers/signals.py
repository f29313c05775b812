"""Ledger of signals: measured numbers, one per window and segment."""

from __future__ import annotations

from tunekeeper.core.nouns.monitoring import Signal
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "monitoring"
DATABASE = "state"
_LEDGER = Ledger(
    name="signals",
    database="state",
    noun=Signal,
    listing="tunekeeper monitor windows",
    key=lambda signal: signal.name,
)


def load_signal(tx: Read, id: str) -> Signal:
    """The Signal with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_signals(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    name: str | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Signal]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`. `name`: only this measure."""
    return _LEDGER.find(
        tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first, key=name)
    )


def save_signal(tx: Write, signal: Signal) -> Signal:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, signal)
