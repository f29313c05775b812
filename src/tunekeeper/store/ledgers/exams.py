"""Ledger of exams: runs of a suite against an endpoint."""

from __future__ import annotations

from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "evaluation"
DATABASE = "state"
_LEDGER = Ledger(
    name="exams",
    database="state",
    noun=Exam,
    listing="tunekeeper eval ls",
)


def load_exam(tx: Read, id: str) -> Exam:
    """The Exam with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_exams(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    due_before: float | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Exam]:
    """Those that fit, oldest first unless `newest_first`; at most `limit`."""
    return _LEDGER.find(tx, Wanted(model=model, state=state, due_before=due_before, limit=limit, newest_first=newest_first))


def save_exam(tx: Write, exam: Exam) -> Exam:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, exam)
