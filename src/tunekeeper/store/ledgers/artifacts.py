"""Ledger of artifacts: versions made servable."""

from __future__ import annotations

from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "deployment"
DATABASE = "state"
_LEDGER = Ledger(
    name="artifacts",
    database="state",
    noun=Artifact,
    listing="tunekeeper model ls",
)


def load_artifact(tx: Read, id: str) -> Artifact:
    """The Artifact with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_artifacts(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Artifact]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_artifact(tx: Write, artifact: Artifact) -> Artifact:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, artifact)
