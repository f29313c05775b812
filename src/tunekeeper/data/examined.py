"""Answers of exams in the review queue: what a gate flags is looked at by people, and never learned from.

A case of an exam is held out: what reviewers say of its answer tells whether the scorer was right, and corrects the case by hand.
It becomes no example and no new case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.store.ledgers.reviews import find_reviews, save_review
from tunekeeper.workspace import Workspace

EXAM = "exam"
"""Why such an item was chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """An answer of an exam."""

    case: str
    """Id of its case."""
    source: str
    """Where that came from, by which an erasure finds it."""
    messages: tuple[dict[str, Any], ...]
    """What was asked."""
    answer: str
    """What was said."""
    reasons: tuple[str, ...]
    """Why a person should look at it."""


def queue_outputs(
    ws: Workspace, model: str, exam: str, outputs: Sequence[Output], n: int, *, opinions: int = 1, dry_run: bool = False
) -> list[ReviewItem]:
    """Queue the first `n` outputs of an exam that were never queued. Returns the new items, with `dry_run` without queueing them.
    Raises UserError."""
    if opinions < 1:
        raise UserError(f"{opinions} opinions", fix="want at least one")
    items = [_item(model, exam, output, opinions) for output in outputs]
    with ws.state.read() as tx:
        known = {item.id for item in find_reviews(tx, model=model)}
    fresh = [item for item in items if item.id not in known][:n]
    if dry_run or not fresh:
        return fresh
    with ws.state.write(by="data") as write:
        known = {item.id for item in find_reviews(write, model=model)}
        return [save_review(write, item) for item in fresh if item.id not in known]


def judged(ws: Workspace, model: str, exam: str) -> dict[str, int]:
    """What reviewers said of the flagged answers of an exam: verdict → how many; `open` for those that still wait."""
    with ws.state.read() as tx:
        items = [item for item in find_reviews(tx, model=model) if item.why == EXAM and item.shown.get("exam") == exam]
    return dict(Counter(item.verdict or item.state for item in items))


def _item(model: str, exam: str, output: Output, opinions: int) -> ReviewItem:
    shown = {
        "messages": list(output.messages),
        "answer": output.answer,
        "exam": exam,
        "case": output.case,
        "source": output.source,
    }
    id = f"rev_{digest_json([model, EXAM, exam, output.case])[7:33]}"
    reasons = (f"case {output.case} of {exam}", *output.reasons)
    return ReviewItem(id=id, model=model, request_id="", why=EXAM, reasons=reasons, shown=shown, wants=opinions)
