"""Ledger of incidents: rollbacks and their analysis."""

from __future__ import annotations

from tunekeeper.core.nouns.rollout import Incident
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "rollout"
DATABASE = "control"
_LEDGER = Ledger(
    name="incidents",
    database="control",
    noun=Incident,
    listing="tunekeeper incident ls",
    due=lambda incident: None if incident.due is None else incident.due.timestamp(),
)


def load_incident(tx: Read, id: str) -> Incident:
    """The Incident with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_incidents(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Incident]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`. `due_before` is a UTC timestamp in seconds."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_incident(tx: Write, incident: Incident) -> Incident:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, incident)
