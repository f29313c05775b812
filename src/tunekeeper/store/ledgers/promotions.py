"""Ledger of promotions: the append-only history of what was live when."""

from __future__ import annotations

from tunekeeper.core.nouns.serving import Promotion
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "rollout"
DATABASE = "control"
LEDGER = Ledger(
    name="promotions",
    database="control",
    noun=Promotion,
    listing="tunekeeper history",
    state=lambda promotion: promotion.kind,
    key=lambda promotion: promotion.champion,
)


def load_promotion(tx: Read, id: str) -> Promotion:
    """The Promotion with this id. Raises NotFound."""
    return LEDGER.load(tx, id)


def find_promotions(
    tx: Read,
    *,
    model: str | None = None,
    kind: str | None = None,
    champion: str | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Promotion]:
    """Those that fit, oldest first unless `newest_first`. `kind`: promotion or rollback; `champion`: slot that became it."""
    return LEDGER.find(tx, Wanted(model=model, state=kind, key=champion, limit=limit, newest_first=newest_first))


def append_promotion(tx: Write, promotion: Promotion) -> Promotion:
    """Add a line, audited; a line with the same id stays as it is. Returns the stored one."""
    return LEDGER.append(tx, promotion)
