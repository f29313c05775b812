"""Ledger of scores: one scorer's opinion of one answer, of an exam case or of an inference."""

from __future__ import annotations

from collections.abc import Iterable

from tunekeeper.core.nouns.evaluation import Score
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "evaluation"
DATABASE = "state"
_LEDGER = Ledger(
    name="scores",
    database="state",
    noun=Score,
    listing="tunekeeper eval ls",
    state=lambda score: score.scorer,
    key=lambda score: score.subject,
)


def find_scores(tx: Read, *, subject: str | None = None, scorer: str | None = None, limit: int | None = None) -> list[Score]:
    """Scores in the order they were added, of one exam or request (`subject`), of one `scorer`, at most `limit`."""
    return _LEDGER.find(tx, Wanted(key=subject, state=scorer, limit=limit))


def append_scores(tx: Write, scores: Iterable[Score]) -> int:
    """Add scores, audited in one row; ids that are there already are skipped. Returns how many were new."""
    values = list(scores)
    subjects = sorted({score.subject for score in values})
    return _LEDGER.append_many(tx, values, subject=", ".join(subjects[:3]))


def save_erased_scores(tx: Write, scores: Iterable[Score]) -> int:
    """Put scores from which a person's text was erased in place of those with the same ids, audited. Returns how many were
    there."""
    return _LEDGER.erase(tx, scores, detail="answer erased")
