"""The review queue: which answers people should look at, what they said, and what comes of it. The verbs of every face of it."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tunekeeper.core.errors import UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data import versions
from tunekeeper.data.complaints import breach, complaints
from tunekeeper.data.golditems import GoldScore, add_gold, gold_scores, read_gold, retire_gold
from tunekeeper.data.opening import (
    GOLD_SHARE,
    LOCK_MINUTES,
    SKIP_HOURS,
    Opened,
    chosen,
    last_judged,
    open_item,
    open_next,
    seen,
)
from tunekeeper.data.opinions import opinions_of
from tunekeeper.data.pairs import pairs_from_file, pairs_from_log
from tunekeeper.data.reviewagreement import Agreement, agreement
from tunekeeper.data.reviewed import Cases, export_cases
from tunekeeper.data.reviewing import (
    Choice,
    Verdict,
    flag,
    judge,
    keep,
    label,
    note,
    prefer,
    release,
    save_text,
    skip,
    undo,
    unlabel,
)
from tunekeeper.data.reviewpace import Budget, BusFactor, Pace, bus_factor, pace, time_budget
from tunekeeper.data.sampling import choose, contradicted, known_shingles
from tunekeeper.data.sources import answer_text
from tunekeeper.store.ledgers.reviews import find_reviews, load_review, save_review
from tunekeeper.workspace import Workspace

__all__ = [
    "GOLD_SHARE",
    "LOCK_MINUTES",
    "MOST",
    "SKIP_HOURS",
    "STATES",
    "Agreement",
    "Budget",
    "BusFactor",
    "Cases",
    "Choice",
    "GoldScore",
    "Opened",
    "Pace",
    "Verdict",
    "add_gold",
    "agreement",
    "answered",
    "breach",
    "bus_factor",
    "chosen",
    "complaints",
    "enqueue",
    "export_cases",
    "fill",
    "find",
    "flag",
    "get",
    "gold_scores",
    "item_id",
    "judge",
    "keep",
    "label",
    "last_judged",
    "listed",
    "note",
    "open_item",
    "open_next",
    "pace",
    "pairs_from_file",
    "pairs_from_log",
    "prefer",
    "read_gold",
    "release",
    "retire_gold",
    "sample",
    "save_text",
    "seen",
    "skip",
    "time_budget",
    "undo",
    "unlabel",
]

STATES = ("open", "done", "skipped", "gold")
"""All that an item can be."""
_UNSEEN = frozenset(("shown", "known", "texts", "verdict", "better", "answer", "by", "seconds", "done_at", "rev"))
MOST = 20_000
"""Requests of a window, spread evenly over it, that a sample is drawn from."""
RARE = 20
"""Requests with one value of a segment, up to which all of them are looked at as well; and such values of one segment."""
MOST_VALUES = 200
"""Values of a segment above which none of them counts as rare."""


def sample(
    ws: Workspace,
    model: str,
    since: datetime,
    until: datetime,
    *,
    share: float | None = None,
    n: int | None = None,
    seed: int = 0,
    opinions: int = 1,
) -> list[ReviewItem]:
    """Put answers of a window into the queue, spread as `sampling` says, until so many of the window were queued.

    `share`: part of the window's answers, 0 to 1, or `n`: how many; what is queued already counts. The same window and seed
    choose the same. `opinions`: people wanted for each. Returns the new items.
    """
    if (share is None) == (n is None):
        raise UserError("say how much to sample: either a share or a number")
    found, fresh = _window(ws, model, since, until)
    wanted = n if n is not None else math.ceil((share or 0.0) * len(found))
    missing = wanted - (len(found) - len(fresh))
    return _saved(ws, model, _chosen(ws, model, since, found, fresh, missing, seed, opinions), by="data")


def fill(
    ws: Workspace,
    model: str,
    since: datetime,
    until: datetime,
    n: int,
    *,
    seed: int = 0,
    opinions: int = 1,
    version: str | None = None,
    dry_run: bool = False,
) -> list[ReviewItem]:
    """As `sample`, `n` more whatever is queued already. `version`: name of the one whose answers are meant; None: any. `dry_run`:
    say which, queue none."""
    found, fresh = _window(ws, model, since, until, version)
    items = _chosen(ws, model, since, found, fresh, n, seed, opinions)
    return items if dry_run else _saved(ws, model, items, by="data")


def _window(
    ws: Workspace, model: str, since: datetime, until: datetime, version: str | None = None
) -> tuple[list[Inference], list[Inference]]:
    """Answered requests of a window, and those of them that were never queued."""
    with ws.state.read() as tx:
        queued = {item.request_id for item in find_reviews(tx, model=model) if item.kind == "answer"}
    found = answered(ws, model, since, until, version, more=len(queued))
    return found, [inference for inference in found if inference.request_id not in queued]


def answered(
    ws: Workspace, model: str, since: datetime, until: datetime, version: str | None = None, *, more: int = 0
) -> list[Inference]:
    """The answered requests of a window that a sample is drawn from: all of them, or MOST spread evenly over the window and those
    of rare segments, the same ones each time. `more`: how many of those were looked at already, in whose place come others."""
    most = MOST + min(more, MOST)
    window = ws.log.sample(model, since, until, most, 0, status="ok", version=version)
    if len(window) == most:
        window += _of_rare_segments(ws, model, since, until, version, window)
    return [inference for inference in window if answer_text(inference)]


def _of_rare_segments(
    ws: Workspace, model: str, since: datetime, until: datetime, version: str | None, drawn: Sequence[Inference]
) -> list[Inference]:
    """Requests of a window, besides those drawn of it, whose value of some segment at most RARE others share: drawing may well
    pass over all of them. Of a segment at most the rarest RARE values; one with hundreds of values names users or the like."""
    drawn_values = defaultdict[str, set[str]](set)
    for inference in drawn:
        for name, value in inference.segments.items():
            drawn_values[name].add(value)
    ids: list[str] = []
    for name in sorted(name for name, values in drawn_values.items() if len(values) <= MOST_VALUES):
        hours: dict[str, dict[datetime, int]] = defaultdict(dict)
        for row in ws.log.window(model, since, until, by=(f"segment:{name}", "hour")):
            if (named := row.key[f"segment:{name}"]) is not None:
                hours[named][datetime.fromisoformat(f"{row.key['hour']}:00").replace(tzinfo=UTC)] = row.requests
        counted = sorted((sum(found.values()), value) for value, found in hours.items())
        rare = {value for count, value in counted[:RARE] if count <= RARE}
        for hour in sorted({hour for value in rare for hour in hours[value]}):
            low, high = max(since, hour), min(until, hour + timedelta(hours=1))
            there = ws.log.find(model=model, since=low, until=high, version=version, status="ok", bodies=False)
            ids += [each.request_id for each in there if each.segments.get(name) in rare]
    missing = {*ids} - {inference.request_id for inference in drawn}
    return ws.log.find(model=model, request_ids=sorted(missing)) if missing else []


def _chosen(
    ws: Workspace,
    model: str,
    since: datetime,
    found: Sequence[Inference],
    fresh: Sequence[Inference],
    n: int,
    seed: int,
    opinions: int,
) -> list[ReviewItem]:
    if n <= 0 or not fresh:
        return []
    shadows = ws.log.find(model=model, since=since, purpose=("shadow",), status="ok", limit=MOST, newest_first=True)
    against = contradicted(found, shadows, ws.log.feedback(model=model, since=since))
    newest = versions.latest(ws, model)
    chosen = choose(
        fresh,
        n,
        random.Random(f"{seed}/{model}"),
        known=None if newest is None else known_shingles(versions.read_examples(ws, newest)),
        against=against,
        dataset=newest.id if newest else "",
    )
    return [
        replace(_item(model, c.inference.request_id, c.why, c.reasons, opinions), unit=c.inference.unit, weight=c.weight)
        for c in chosen
    ]


def enqueue(
    ws: Workspace,
    model: str,
    request_ids: Sequence[str],
    *,
    why: str,
    by: str = "data",
    reasons: tuple[str, ...] = (),
    opinions: int = 1,
) -> list[ReviewItem]:
    """Put inferences into the queue, each once however often it is asked for. Returns the new items.

    `why`: a word; `reasons`: the same in words; `opinions`: people wanted for each.
    """
    ids = list(dict.fromkeys(request_ids))
    units = {each.request_id: each.unit for each in ws.log.find(model=model, request_ids=ids, bodies=False)} if ids else {}
    return _saved(ws, model, [replace(_item(model, id, why, reasons, opinions), unit=units.get(id)) for id in ids], by=by)


def _saved(ws: Workspace, model: str, items: Sequence[ReviewItem], *, by: str) -> list[ReviewItem]:
    if not items:
        return []
    with ws.state.write(by=by) as tx:
        known = {item.id for item in find_reviews(tx, model=model)}
        return [save_review(tx, item) for item in items if item.id not in known]


def _item(model: str, request_id: str, why: str, reasons: tuple[str, ...], opinions: int) -> ReviewItem:
    if opinions < 1:
        raise UserError(f"{opinions} opinions", fix="want at least one")
    return ReviewItem(id=item_id(model, request_id), model=model, request_id=request_id, why=why, reasons=reasons, wants=opinions)


def item_id(model: str, request_id: str) -> str:
    """Made from what is reviewed: an answer has one item, whoever queues it."""
    return f"rev_{digest_json([model, request_id])[7:33]}"


def get(ws: Workspace, item: str) -> ReviewItem:
    """One item by its id, with all that was said about it. Raises NotFound."""
    with ws.state.read() as tx:
        return load_review(tx, item)


def find(ws: Workspace, model: str, *, state: str | tuple[str, ...] | None = None, limit: int | None = None) -> list[ReviewItem]:
    """Items of `model`, oldest first; gold ones, which nobody should know, only where `state` asks for them."""
    with ws.state.read() as tx:
        found = find_reviews(tx, model=model, state=state, limit=limit)
    return found if state is not None else [item for item in found if item.state != "gold"]


def listed(item: ReviewItem) -> dict[str, Any]:
    """What a list says of an item, to those too who have yet to judge it: why it is there and who judged, flagged or holds it.
    Nothing of what they said, of the answers, or of where those of a pair come from."""
    told = {field.name: getattr(item, field.name) for field in fields(item) if field.name not in _UNSEEN}
    flags = [remark for remark in item.remarks if remark["kind"] == "flag"]
    return told | {"remarks": flags, "opinions": [{"by": opinion.by, "at": opinion.at} for opinion in opinions_of(item)]}
