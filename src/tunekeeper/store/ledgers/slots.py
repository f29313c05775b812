"""Ledger of slots: the loaded artifacts that can answer."""

from __future__ import annotations

from tunekeeper.core.nouns.serving import Slot
from tunekeeper.store.generation import next_generation
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "deployment"
DATABASE = "control"
_LEDGER = Ledger(
    name="slots",
    database="control",
    noun=Slot,
    listing="tunekeeper route show",
    state=lambda slot: slot.observed,
)


def load_slot(tx: Read, id: str) -> Slot:
    """The Slot with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_slots(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Slot]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_slot(tx: Write, slot: Slot) -> Slot:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read.

    Takes the next generation: gateways hold slots beside routes and must hear of a new address. Save only what changed.
    """
    next_generation(tx)
    return _LEDGER.save(tx, slot)
