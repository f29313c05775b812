"""Ledger of rollouts: the journey of each version towards all traffic."""

from __future__ import annotations

from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "rollout"
DATABASE = "control"
_LEDGER = Ledger(
    name="rollouts",
    database="control",
    noun=Rollout,
    listing="tunekeeper deploy status",
    due=lambda rollout: rollout.due,
)


def load_rollout(tx: Read, id: str) -> Rollout:
    """The Rollout with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_rollouts(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Rollout]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`. `due_before` is in workspace seconds."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_rollout(tx: Write, rollout: Rollout) -> Rollout:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, rollout)
