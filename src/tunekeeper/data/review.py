"""The review queue: which answers a person should look at, and what they said."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from tunekeeper.core.errors import UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data.examples import parsed
from tunekeeper.data.sources import served_answer
from tunekeeper.store.ledgers.reviews import find_reviews, load_review, save_review
from tunekeeper.workspace import Workspace

Verdict = Literal["good", "bad", "edited", "excluded"]
MOST = 20_000
"""Newest inferences of a window that a sample is drawn from."""


def sample(
    ws: Workspace,
    model: str,
    since: datetime,
    until: datetime,
    *,
    share: float | None = None,
    n: int | None = None,
    seed: int = 0,
) -> list[ReviewItem]:
    """Put answers of a window into the queue, spread over segments and answers rather than plainly at random.

    `share`: part of the window's answers, 0 to 1, or `n`: how many. The same window and seed choose the same; what is queued
    already counts and is not queued twice. Returns the new items.
    """
    if (share is None) == (n is None):
        raise UserError("say how much to sample: either a share or a number")
    window = ws.log.find(model=model, since=since, until=until, status="ok", limit=MOST, newest_first=True)
    answered = [inference for inference in window if served_answer(inference)]
    wanted = n if n is not None else math.ceil((share or 0.0) * len(answered))
    queued = {item.request_id for item in find(ws, model)}
    fresh = [inference for inference in answered if inference.request_id not in queued]
    missing = wanted - (len(answered) - len(fresh))
    chosen = choose(fresh, missing, random.Random(f"{seed}/{model}/{since.isoformat()}"))
    return enqueue(ws, model, [i.request_id for i in chosen], why="sample")


def choose(inferences: Sequence[Inference], n: int, rng: random.Random) -> list[Inference]:
    """`n` inferences, one stratum after the other in turn, so that rare ones are seen as well (DATA-27)."""
    strata: dict[str, list[Inference]] = defaultdict(list)
    for inference in sorted(inferences, key=lambda i: i.request_id):
        strata[_stratum(inference)].append(inference)
    queues = [strata[name] for name in sorted(strata)]
    for queue in queues:
        rng.shuffle(queue)
    rng.shuffle(queues)
    chosen: list[Inference] = []
    while len(chosen) < n and any(queues):
        for queue in queues:
            if queue and len(chosen) < n:
                chosen.append(queue.pop())
    return chosen


def _stratum(inference: Inference) -> str:
    """Segments, the first field of a JSON answer, and a rough length of the answer."""
    answer = served_answer(inference) or ""
    value = parsed(answer)
    label = str(next(iter(value.values()), "")) if isinstance(value, dict) and value else ""
    segments = ",".join(f"{k}={v}" for k, v in sorted(inference.segments.items()))
    return f"{segments}|{label}|{len(answer).bit_length()}"


def enqueue(ws: Workspace, model: str, request_ids: Sequence[str], *, why: str, by: str = "data") -> list[ReviewItem]:
    """Put inferences into the queue, each once however often it is asked for. Returns the new items."""
    if not request_ids:
        return []
    with ws.state.write(by=by) as tx:
        known = {item.request_id for item in find_reviews(tx, model=model)}
        fresh = [id for id in dict.fromkeys(request_ids) if id not in known]
        return [save_review(tx, ReviewItem(id=_item_id(model, id), model=model, request_id=id, why=why)) for id in fresh]


def _item_id(model: str, request_id: str) -> str:
    """Made from what is reviewed: an answer has one item, whoever queues it."""
    return f"rev_{digest_json([model, request_id])[7:33]}"


def judge(
    ws: Workspace, item: str, verdict: Verdict, *, answer: str | None = None, by: str, seconds: float | None = None
) -> ReviewItem:
    """What `by` says about an item. `edited` needs the corrected `answer`; `seconds`: how long it took.

    Raises NotFound, UserError.
    """
    if verdict not in ("good", "bad", "edited", "excluded"):
        raise UserError(f"no verdict is called {verdict!r}", fix="good, bad, edited or excluded")
    if (verdict == "edited") != bool(answer and answer.strip()) and verdict != "bad":
        raise UserError(f"item {item}: an edited answer and the verdict `edited` belong together", fix="give both or neither")
    if not by:
        raise UserError(f"item {item}: who says so?", fix="name the reviewer")
    if seconds is not None and not 0 <= seconds < math.inf:
        raise UserError(f"item {item}: {seconds} is no number of seconds")
    with ws.state.write(by=by) as tx:
        found = load_review(tx, item)
        done = replace(found, state="done", verdict=verdict, answer=answer, by=by, seconds=seconds, done_at=ws.clock.utc())
        return save_review(tx, done)


def skip(ws: Workspace, item: str, *, by: str) -> ReviewItem:
    """Leave an item unjudged and out of the queue. Raises NotFound."""
    with ws.state.write(by=by) as tx:
        return save_review(tx, replace(load_review(tx, item), state="skipped", by=by, done_at=ws.clock.utc()))


def find(ws: Workspace, model: str, *, state: str | tuple[str, ...] | None = None, limit: int | None = None) -> list[ReviewItem]:
    """Items of `model`, oldest first."""
    with ws.state.read() as tx:
        return find_reviews(tx, model=model, state=state, limit=limit)


def pace(items: Sequence[ReviewItem]) -> dict[str, float | int | None]:
    """Judged items, minutes per item and items an hour (DATA-08, DATA-09); None where nobody measured the time."""
    times = [item.seconds for item in items if item.state == "done" and item.seconds is not None]
    total = sum(times)
    return {
        "judged": sum(item.state == "done" for item in items),
        "minutes_each": total / 60 / len(times) if times else None,
        "an_hour": len(times) / (total / 3600) if total > 0 else None,
    }
