"""Ledger of datasets: frozen dataset versions."""

from __future__ import annotations

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "data"
DATABASE = "state"
_LEDGER = Ledger(
    name="datasets",
    database="state",
    noun=DatasetVersion,
    listing="tunekeeper data log",
)


def load_dataset(tx: Read, id: str) -> DatasetVersion:
    """The DatasetVersion with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_datasets(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[DatasetVersion]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_dataset(tx: Write, dataset: DatasetVersion) -> DatasetVersion:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, dataset)
