"""Ledger of baselines: day-one distributions."""

from __future__ import annotations

from tunekeeper.core.nouns.monitoring import Baseline
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "monitoring"
DATABASE = "state"
_LEDGER = Ledger(
    name="baselines",
    database="state",
    noun=Baseline,
    listing="tunekeeper monitor baseline",
)


def load_baseline(tx: Read, id: str) -> Baseline:
    """The Baseline with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_baselines(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Baseline]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_baseline(tx: Write, baseline: Baseline) -> Baseline:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, baseline)
