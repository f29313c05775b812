"""Ledger of runs: attempts to learn a dataset."""

from __future__ import annotations

from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "training"
DATABASE = "state"
_LEDGER = Ledger(
    name="runs",
    database="state",
    noun=TrainingRun,
    listing="tunekeeper train ls",
)


def load_run(tx: Read, id: str) -> TrainingRun:
    """The TrainingRun with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_runs(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[TrainingRun]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_run(tx: Write, run: TrainingRun) -> TrainingRun:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, run)
