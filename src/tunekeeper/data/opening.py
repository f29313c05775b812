"""Opening an item of the review queue: which one is next for a reviewer, and what they see of it.

A reviewer sees nothing of what others said, of a pair nothing of where its answers come from, and nothing that tells a gold item
from another: those come at a share, at moments that nobody can foresee.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from tunekeeper.core.errors import Busy, ConfigError, NotFound, UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.opinions import opinion_by
from tunekeeper.data.reviewpace import Pace, pace
from tunekeeper.data.sources import answer_text, asked_messages, offered_tools
from tunekeeper.store.ledgers.reviews import find_reviews, load_review, save_review
from tunekeeper.store.transactions import Read
from tunekeeper.workspace import Workspace

LOCK_MINUTES = 15
"""Minutes that an item stays with the reviewer who opened it, unless renewed."""
SKIP_HOURS = 12
"""Hours after which a skipped item is offered again to whoever skipped it."""
MOST_DONE = 5000
"""Newest finished items by which a reviewer's count and pace are told."""
GOLD_SHARE = 0.05
"""Part of the items a reviewer gets that have a known answer, as long as there are some they have not met."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One item in front of one reviewer."""

    item: ReviewItem
    """The item as this reviewer may see it: with their own opinion and remarks only."""
    messages: tuple[dict[str, Any], ...]
    """What was asked, system message included."""
    answer: str
    """What was served; of a pair, answer A."""
    tools: tuple[dict[str, Any], ...] = ()
    """Tools that the answer could call."""
    other: str | None
    """Of a pair, answer B: the order is decided by the item's id and says nothing."""
    reasons: tuple[str, ...]
    """Why the item was chosen."""
    facts: dict[str, str]
    """What else is known: when, segments, confidence, latency, the user's feedback; of an answer, its version."""
    draft_text: str | None
    """The text this reviewer left unfinished, else their earlier correction."""
    chosen: Literal["a", "b", "tie"] | None
    """Of a pair, what this reviewer chose before."""
    open_items: int
    """Items that wait for this reviewer, this one included."""
    done_by_me: int
    """Items this reviewer has judged, of the newest MOST_DONE."""
    pace: Pace
    """How fast this reviewer is."""


def open_next(
    ws: Workspace,
    model: str,
    *,
    by: str,
    kinds: tuple[str, ...] = (),
    gold_share: float = GOLD_SHARE,
    but: Collection[str] = (),
) -> Opened | None:
    """The next item that `by` may judge, locked to them for LOCK_MINUTES: the one they hold already, else one in which they left
    a text unfinished, else one that others have judged and that wants one more opinion, else the oldest. None when nothing waits
    for them.

    `kinds`: `answer`, `pair`, or why an item was chosen; empty: any. `gold_share`: part of gold items, 0 to 1. `but`: items that
    the reviewer has just passed over. An item whose request is no longer in the log leaves the queue. Raises UserError.
    """
    if not by.strip():
        raise UserError("who reviews?", fix="--by NAME")
    if not 0 <= gold_share <= 1:
        raise ConfigError(f"data.gold_share: {gold_share} is no part between 0 and 1", fix="write e.g. 0.05 in the model file")
    while True:
        with ws.state.write(by=by) as tx:
            now = ws.clock.utc()
            items = _queue(tx, model)
            wanted = next_item([item for item in items if item.id not in but], by, now, kinds, gold_share)
            if wanted is None:
                return None
            held = save_review(tx, replace(wanted, held=(by, now + timedelta(minutes=LOCK_MINUTES))))
            items = [held if each.id == held.id else each for each in items]
        shown = _shown(ws, held, items, by, waiting(items, by, now, kinds, gold_share))
        if shown is not None:
            return shown
        _give_up(ws, held)


def open_item(ws: Workspace, item: str, *, by: str, kinds: tuple[str, ...] = (), gold_share: float = GOLD_SHARE) -> Opened:
    """Open one item by its id, to go back to what one said: a new judgment takes the place of one's own. Locks it as `open_next`.

    `kinds` and `gold_share`, as there, for the count of what waits. Raises NotFound (also for an item whose request is no longer
    in the log), Busy, UserError.
    """
    if not by.strip():
        raise UserError("who reviews?", fix="--by NAME")
    with ws.state.write(by=by) as tx:
        now = ws.clock.utc()
        found = load_review(tx, item)
        other = holder(found, now)
        if other is not None and other != by:
            raise Busy(f"item {item} is open with {other}", fix="take another, or wait")
        held = save_review(tx, replace(found, held=(by, now + timedelta(minutes=LOCK_MINUTES))))
        items = _queue(tx, held.model)
    shown = _shown(ws, held, items, by, waiting(items, by, now, kinds, gold_share))
    if shown is None:
        raise NotFound(
            f"item {item}: the log no longer holds {held.request_id}", fix=f"tunekeeper data review --model {held.model}"
        )
    return shown


def last_judged(ws: Workspace, model: str, *, by: str) -> str | None:
    """The item of `model` that `by` judged last; None when there is none."""
    with ws.state.read() as tx:
        said = [(opinion_by(item, by), item.id) for item in find_reviews(tx, model=model)]
    return max(((o.at, id) for o, id in said if o is not None and o.at is not None), default=(None, None))[1]


def _queue(tx: Read, model: str) -> list[ReviewItem]:
    """Everything that waits, and the newest of what is done."""
    done = find_reviews(tx, model=model, state="done", limit=MOST_DONE, newest_first=True)
    return [*reversed(done), *find_reviews(tx, model=model, state=("open", "gold"))]


def holder(item: ReviewItem, now: datetime) -> str | None:
    """Who has the item open; None when nobody, or when their lock ran out, or ends later than any can that was taken by now: the
    clock was ahead then."""
    if item.held is None or not now < item.held[1] <= now + 2 * timedelta(minutes=LOCK_MINUTES):
        return None
    return item.held[0]


def swapped(item: ReviewItem) -> bool:
    """Whether the second answer of a pair is shown as A: a coin thrown once, by the item's id."""
    return digest_json(["order", item.id])[-1] in "13579bdf"


def next_item(
    items: Sequence[ReviewItem], by: str, now: datetime, kinds: tuple[str, ...] = (), gold_share: float = GOLD_SHARE
) -> ReviewItem | None:
    """The item that `by` gets next; None when nothing waits for them. Pure: the same at the same state of the queue."""
    free = [item for item in items if item.state in ("open", "gold") and _may(item, by, now) and _of(item, kinds)]
    begun = [item for item in free if holder(item, now) == by or by in item.texts]
    if begun:
        return max(begun, key=lambda item: holder(item, now) == by)
    usual = [item for item in free if item.state == "open"]
    if not usual:
        return None
    gold = _gold(items, by, now, kinds)
    if gold and _gold_turn(by, _met(items, by), gold_share):
        return gold[0]
    return max(usual, key=lambda item: len(item.opinions))


def waiting(
    items: Sequence[ReviewItem], by: str, now: datetime, kinds: tuple[str, ...] = (), gold_share: float = GOLD_SHARE
) -> int:
    """How many items `by` will get until nothing is left for them: the gold ones that will come among them count as well."""
    usual = sum(item.state == "open" and _may(item, by, now) and _of(item, kinds) for item in items)
    gold, met, total = len(_gold(items, by, now, kinds)), _met(items, by), 0
    while usual:
        if gold and _gold_turn(by, met, gold_share):
            gold -= 1
        else:
            usual -= 1
        met, total = met + 1, total + 1
    return total


def _may(item: ReviewItem, by: str, now: datetime) -> bool:
    """Whether the item is one that `by` can be given."""
    left = item.skipped.get(by)
    return (
        holder(item, now) in (None, by)
        and (left is None or not now - timedelta(hours=SKIP_HOURS) < left <= now + timedelta(hours=1))
        and opinion_by(item, by) is None
    )


def _of(item: ReviewItem, kinds: tuple[str, ...]) -> bool:
    return not kinds or item.kind in kinds or item.why in kinds


def _gold(items: Sequence[ReviewItem], by: str, now: datetime, kinds: tuple[str, ...]) -> list[ReviewItem]:
    """Gold items that `by` has not met, in an order of their own."""
    if kinds and "answer" not in kinds:
        return []
    found = [item for item in items if item.state == "gold" and _may(item, by, now)]
    return sorted(found, key=lambda item: digest_json([by, item.id]))


def _met(items: Sequence[ReviewItem], by: str) -> int:
    """Items that `by` judged or skipped so far."""
    return sum(by in item.skipped or opinion_by(item, by) is not None for item in items)


def _gold_turn(by: str, met: int, share: float) -> bool:
    """Whether the next item is a gold one: a coin per reviewer and place, so that nobody can foresee it and all can repeat it."""
    thrown = hashlib.blake2b(f"{by}/{met}".encode(), digest_size=8).digest()
    return int.from_bytes(thrown, "big") < share * 2**64


def _shown(ws: Workspace, item: ReviewItem, items: Sequence[ReviewItem], by: str, open_items: int) -> Opened | None:
    """What the reviewer sees; None where the log has lost the request or its bodies."""
    inference = _logged(ws, item)
    messages = item.shown.get("messages") or (asked_messages(inference) if inference else None)
    answer = item.shown.get("answer") if "answer" in item.shown else (answer_text(inference) if inference else None)
    if messages is None or answer is None:
        return None
    other = item.shown.get("other") if item.kind == "pair" else None
    if other is not None and swapped(item):
        answer, other = other, answer
    why, reasons, told = item.why, item.reasons, inference
    if item.state == "gold":
        why, reasons, told = _like_others(ws, item, items, inference)
    mine = opinion_by(item, by)
    return Opened(
        item=replace(seen(item, by), why=why),
        messages=tuple(messages),
        answer=answer,
        tools=tuple(item.shown.get("tools") or (offered_tools(inference) if inference else ())),
        other=other,
        reasons=reasons,
        facts=_facts(ws, told, blind=item.kind == "pair", own=told is inference),
        draft_text=item.texts.get(by, mine.answer if mine else None),
        chosen=chosen(item, by),
        open_items=open_items,
        done_by_me=sum(opinion_by(each, by) is not None for each in items),
        pace=pace(items, by=by),
    )


def seen(item: ReviewItem, by: str) -> ReviewItem:
    """The item without what others said and without what it is: of a gold one nothing stays that tells it."""
    mine = opinion_by(item, by)
    return replace(
        item,
        state="done" if mine else "open",
        verdict=cast(Any, mine.verdict) if mine and item.kind == "answer" else None,
        answer=mine.answer if mine else None,
        by=by if mine else None,
        seconds=mine.seconds if mine else None,
        done_at=mine.at if mine else None,
        created=None,
        unit=None,
        reasons=(),
        weight=1.0,
        wants=1,
        opinions=(),
        skipped={},
        texts={},
        remarks=tuple(remark for remark in item.remarks if remark["by"] == by),
        shown={},
        known=None,
        better=None,
        rev=0,
    )


def chosen(item: ReviewItem, by: str) -> Literal["a", "b", "tie"] | None:
    """Which answer of a pair `by` preferred, as it is shown to them; None when they did not say."""
    mine = opinion_by(item, by)
    if item.kind != "pair" or mine is None:
        return None
    if mine.verdict == "tie":
        return "tie"
    return "a" if (mine.verdict == "first") != swapped(item) else "b"


def _like_others(
    ws: Workspace, item: ReviewItem, items: Sequence[ReviewItem], own: Inference | None
) -> tuple[str, tuple[str, ...], Inference | None]:
    """Why, reasons, and facts where it has none, of another item of the queue: a gold item without them would stand out."""
    usual = [each for each in items if each.state != "gold" and each.kind == "answer" and each.request_id]
    likely = sorted(usual, key=lambda each: (each.why != "sample", digest_json([item.id, each.id])))
    if not likely:
        return "sample", (), own
    told = own or next((found for each in likely[:5] if (found := _logged(ws, each)) is not None), None)
    return likely[0].why, likely[0].reasons, told


def _logged(ws: Workspace, item: ReviewItem) -> Inference | None:
    try:
        return ws.log.load(item.request_id) if item.request_id else None
    except NotFound:
        return None


def _facts(ws: Workspace, inference: Inference | None, *, blind: bool, own: bool) -> dict[str, str]:
    if inference is None:
        return {}
    facts = {"asked": f"{inference.timestamp:%Y-%m-%d %H:%M} UTC"}
    facts |= {} if blind or inference.version is None else {"version": inference.version}
    facts |= {f"segment {name}": value for name, value in sorted(inference.segments.items())}
    facts |= {} if inference.confidence is None else {"confidence": f"{inference.confidence:.2f}"}
    facts |= {} if inference.latency_ms is None else {"latency": f"{inference.latency_ms:.0f} ms"}
    said = ws.log.feedback(since=inference.timestamp, request_ids=[inference.request_id]) if own and not blind else []
    return facts | {f"feedback, {each.kind}": _said(each) for each in said}


def _said(feedback: Feedback) -> str:
    value = feedback.value if isinstance(feedback.value, str) else json.dumps(feedback.value, ensure_ascii=False)
    return f"{value} (by {feedback.by})" if feedback.by else value


def _give_up(ws: Workspace, item: ReviewItem) -> None:
    """Take an item out of the queue whose request the log no longer holds."""
    gone = {"kind": "note", "text": "its request is no longer in the log", "by": "data", "at": ws.clock.utc().isoformat()}
    with ws.state.write(by="data") as tx:
        save_review(tx, replace(load_review(tx, item.id), state="skipped", held=None, remarks=(*item.remarks, gone)))
