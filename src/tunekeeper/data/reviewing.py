"""What a reviewer does with an item of the queue: judge, prefer, skip, flag, label, note; nobody writes over another's work."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from tunekeeper.core.errors import Busy, UserError
from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.opening import LOCK_MINUTES, holder, swapped
from tunekeeper.data.opinions import UNDONE, opinion_by, with_opinion, without_opinion, without_reviewer
from tunekeeper.store.ledgers.reviews import load_review, save_review
from tunekeeper.store.transactions import Write
from tunekeeper.text.redaction import said
from tunekeeper.workspace import Workspace

Verdict = Literal["good", "bad", "edited", "excluded"]
Choice = Literal["a", "b", "tie"]
MOST_TEXT = 1 << 20
"""Characters of one answer, note or reason."""


def judge(
    ws: Workspace,
    item: str,
    verdict: Verdict,
    *,
    answer: str | None = None,
    by: str,
    seconds: float | None = None,
    note: str | None = None,
    labels: tuple[str, ...] = (),
) -> ReviewItem:
    """What `by` says about an item, in place of what they said before. `edited` needs the corrected `answer`; `seconds`: how long
    it took. The item is done once as many people as it wants agree.

    Raises NotFound, UserError, Busy (another reviewer has it open).
    """
    if verdict not in ("good", "bad", "edited", "excluded"):
        raise UserError(f"no verdict is called {verdict!r}", fix="good, bad, edited or excluded")
    given = bool(answer and answer.strip())
    if verdict == "edited" and not given:
        raise UserError(f"item {item}: `edited` needs the right answer", fix="--answer TEXT or --answer-file FILE")
    if verdict in ("good", "excluded") and given:
        raise UserError(f"item {item}: an answer of your own goes with `edited` or `bad`", fix="judge it so, or give no answer")
    _measured(item, seconds)
    with ws.state.write(by=_named(item, by)) as tx:
        found = _free(ws, tx, item, by)
        if found.kind == "pair":
            raise UserError(f"item {item} holds two answers", fix="say which is better: a, b or tie")
        right = said(answer) if answer and answer.strip() else None
        opinion = Opinion(by=by, verdict=verdict, answer=right, seconds=seconds, at=ws.clock.utc())
        for label in labels:
            found = _remarked(ws, found, "label", label, by)
        return save_review(tx, with_opinion(_remarked(ws, found, "note", note, by) if note else found, opinion))


def prefer(
    ws: Workspace, item: str, choice: Choice, *, by: str, seconds: float | None = None, note: str | None = None
) -> ReviewItem:
    """Which of the two answers of an item, in the order they were shown, is better. Raises as `judge`."""
    if choice not in ("a", "b", "tie"):
        raise UserError(f"no choice is called {choice!r}", fix="a, b or tie")
    _measured(item, seconds)
    with ws.state.write(by=_named(item, by)) as tx:
        found = _free(ws, tx, item, by)
        if found.kind != "pair":
            raise UserError(f"item {item} holds one answer", fix="judge it: good, bad, edited or excluded")
        verdict: Literal["first", "second", "tie"] = "tie"
        if choice != "tie":
            verdict = "first" if (choice == "a") != swapped(found) else "second"
        opinion = Opinion(by=by, verdict=verdict, seconds=seconds, at=ws.clock.utc())
        return save_review(tx, with_opinion(_remarked(ws, found, "note", note, by) if note else found, opinion))


def skip(ws: Workspace, item: str, *, by: str) -> ReviewItem:
    """Leave an item to others, and take back what `by` said about it; `by` is offered it again after SKIP_HOURS.

    Raises NotFound, Busy.
    """
    with ws.state.write(by=_named(item, by)) as tx:
        found = without_reviewer(_undone(ws, _free(ws, tx, item, by), by), by)
        return save_review(tx, replace(found, skipped={**found.skipped, by: ws.clock.utc()}))


def undo(ws: Workspace, item: str, *, by: str) -> ReviewItem:
    """Take back what `by` said about an item, which is open again where that opinion was needed; a row that was made of it leaves
    the draft with the next collection. Raises NotFound, Busy."""
    with ws.state.write(by=_named(item, by)) as tx:
        return save_review(tx, _undone(ws, _free(ws, tx, item, by), by))


def _undone(ws: Workspace, item: ReviewItem, by: str) -> ReviewItem:
    """The item without the opinion of `by`, and when that was taken back; the item itself where they gave none."""
    if opinion_by(item, by) is None:
        return item
    mark = {"kind": UNDONE, "text": "took the judgment back", "by": by, "at": ws.clock.utc().isoformat()}
    return replace(without_opinion(item, by), remarks=(*item.remarks, mark))


def flag(ws: Workspace, item: str, reason: str, *, by: str) -> ReviewItem:
    """Mark an item for whoever looks after the queue, and say why; it stays where it is, to be judged or skipped as well.

    Raises NotFound, UserError.
    """
    return _remark(ws, item, "flag", reason, by)


def label(ws: Workspace, item: str, name: str, *, by: str) -> ReviewItem:
    """Give an item a label, which the example made of it carries; the same label twice is one. Raises NotFound, UserError."""
    return _remark(ws, item, "label", name, by)


def unlabel(ws: Workspace, item: str, name: str, *, by: str) -> ReviewItem:
    """Take a label of one's own off an item. Raises NotFound."""
    with ws.state.write(by=_named(item, by)) as tx:
        found = load_review(tx, item)
        kept = tuple(r for r in found.remarks if (r["kind"], r["text"], r["by"]) != ("label", said(name).strip(), by))
        return save_review(tx, replace(found, remarks=kept)) if kept != found.remarks else found


def note(ws: Workspace, item: str, text: str, *, by: str) -> ReviewItem:
    """Add a note to an item. Raises NotFound, UserError."""
    return _remark(ws, item, "note", text, by)


def save_text(ws: Workspace, item: str, text: str, *, by: str) -> ReviewItem:
    """Keep an unfinished edit of an item, so that it survives whatever happens to the screen; renews the lock.

    Raises NotFound, UserError, Busy.
    """
    _short(item, text)
    with ws.state.write(by=_named(item, by)) as tx:
        found = _free(ws, tx, item, by)
        return save_review(tx, replace(found, texts={**found.texts, by: said(text)}, held=(by, _until(ws))))


def keep(ws: Workspace, item: str, *, by: str) -> ReviewItem:
    """Renew the lock of an item that `by` has open. Raises NotFound, Busy (it ran out and another reviewer took the item)."""
    with ws.state.write(by=_named(item, by)) as tx:
        return save_review(tx, replace(_free(ws, tx, item, by), held=(by, _until(ws))))


def release(ws: Workspace, item: str, *, by: str) -> ReviewItem:
    """Let an item go that `by` has open, so that others get it; what was typed stays. Raises NotFound."""
    with ws.state.write(by=_named(item, by)) as tx:
        found = load_review(tx, item)
        return save_review(tx, replace(found, held=None)) if found.held is not None and found.held[0] == by else found


def _free(ws: Workspace, tx: Write, id: str, by: str) -> ReviewItem:
    """The item, unless another reviewer has it open now."""
    found = load_review(tx, id)
    other = holder(found, ws.clock.utc())
    if other is not None and other != by and found.held is not None:
        raise Busy(f"item {id} is open with {other} until {found.held[1]:%H:%M} UTC", fix="take another, or wait")
    return found


def _until(ws: Workspace) -> datetime:
    return ws.clock.utc() + timedelta(minutes=LOCK_MINUTES)


def _remark(ws: Workspace, id: str, kind: str, text: str, by: str) -> ReviewItem:
    _short(id, text)
    with ws.state.write(by=_named(id, by)) as tx:
        found = load_review(tx, id)
        changed = _remarked(ws, found, kind, text, by)
        return save_review(tx, changed) if changed is not found else found


def _remarked(ws: Workspace, item: ReviewItem, kind: str, text: str, by: str) -> ReviewItem:
    """The item with one more remark; the same one of the same person stands once."""
    if not text.strip():
        raise UserError(f"item {item.id}: an empty {kind}", fix=f"write what the {kind} says")
    fresh = {"kind": kind, "text": said(text).strip(), "by": by}
    if any(fresh.items() <= remark.items() for remark in item.remarks):
        return item
    return replace(item, remarks=(*item.remarks, {**fresh, "at": ws.clock.utc().isoformat()}))


def _named(item: str, by: str) -> str:
    if not by.strip():
        raise UserError(f"item {item}: who says so?", fix="name the reviewer")
    return by


def _measured(item: str, seconds: float | None) -> None:
    if seconds is not None and not 0 <= seconds < math.inf:
        raise UserError(f"item {item}: {seconds} is no number of seconds")


def _short(item: str, text: str) -> None:
    if len(text) > MOST_TEXT:
        raise UserError(f"item {item}: a text of {len(text)} characters, {MOST_TEXT} are the most")
