"""Ledger of approvals: a named person's consent to one move."""

from __future__ import annotations

from tunekeeper.core.nouns.rollout import Approval
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "rollout"
DATABASE = "control"
_LEDGER = Ledger(
    name="approvals",
    database="control",
    noun=Approval,
    listing="tunekeeper retrain plan",
    due=lambda approval: None if approval.expires is None else approval.expires.timestamp(),
)


def load_approval(tx: Read, id: str) -> Approval:
    """The Approval with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_approvals(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Approval]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`. `due_before` is a UTC timestamp in seconds."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_approval(tx: Write, approval: Approval) -> Approval:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, approval)
