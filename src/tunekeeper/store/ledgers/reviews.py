"""Ledger of reviews: what people are asked to judge."""

from __future__ import annotations

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "data"
DATABASE = "state"
_LEDGER = Ledger(
    name="reviews",
    database="state",
    noun=ReviewItem,
    listing="tunekeeper data review",
)


def load_review(tx: Read, id: str) -> ReviewItem:
    """The ReviewItem with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_reviews(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[ReviewItem]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_review(tx: Write, review: ReviewItem) -> ReviewItem:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, review)
