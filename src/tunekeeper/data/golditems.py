"""Gold items: answers whose right answer is known, mixed in unseen, so that it can be said how good each reviewer is.

They are measured and nothing else: no example, no figure of the model's accuracy and no evaluation case is made of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.ids import request_id as new_request_id
from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.examples import comparable, parsed
from tunekeeper.data.opinions import opinions_of
from tunekeeper.data.sources import answer_text, asked_messages
from tunekeeper.stats.intervals import wilson
from tunekeeper.store.ledgers.reviews import find_reviews, load_review, save_review
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldScore:
    """How one reviewer did on gold items."""

    met: int
    """Gold items they judged."""
    right: int
    """Of them, judged right: good where the served answer was right, else bad or, best, corrected to the known answer."""
    missed: int
    """Wrong answers they let pass."""
    blamed: int
    """Right answers they did not accept."""
    low: float
    """Lower end of the 95 % interval of the part that was right, 0 to 1."""
    high: float
    """Upper end."""


def add_gold(
    ws: Workspace,
    model: str,
    *,
    answer: str,
    by: str,
    request_id: str | None = None,
    messages: Sequence[Mapping[str, Any]] = (),
    served: str | None = None,
    system: str | None = None,
    redactor: Redactor | None = None,
    dry_run: bool = False,
) -> ReviewItem:
    """Mix an item with a known `answer` into the queue: a request of the log, or `messages`.

    `served`: the answer shown; without it the logged one, and for messages the known one, which a reviewer should then find good.
    `system`: put before messages that have no system message. `redactor`: what personal data is taken out of given messages. An
    item of the same request becomes this one. `dry_run`: say what it would be. Raises NotFound, UserError.
    """
    if (request_id is None) == (not messages):
        raise UserError("a gold item needs a request of the log or messages", fix="give one of them")
    if not answer.strip():
        raise UserError("a gold item needs its right answer", fix="give answer")
    unit = None
    if request_id is not None:
        inference = ws.log.load(request_id)
        unit = inference.unit
        asked, shown = asked_messages(inference), served or answer_text(inference)
        if inference.model_id != model or asked is None or not shown:
            raise UserError(f"request {request_id} has no messages and answer of {model} in the log")
    else:
        own = [dict(m) for m in messages]
        if system and not any(m.get("role") in ("system", "developer") for m in own):
            own.insert(0, {"role": "system", "content": system})
        asked, shown = _clean(redactor, own), _clean(redactor, served or answer)
        answer = _clean(redactor, answer)
    found = _found(ws, model, request_id, asked)
    gold = replace(
        found,
        state="gold",
        unit=unit,
        known=answer,
        shown={"messages": asked, "answer": str(shown)},
        opinions=opinions_of(found),
        held=None,
        verdict=None,
        answer=None,
        by=None,
        seconds=None,
        done_at=None,
    )
    if dry_run:
        return gold
    with ws.state.write(by=by) as tx:
        return save_review(tx, gold)


def _clean(redactor: Redactor | None, value: Any) -> Any:
    return value if redactor is None else redactor.redact_json(value)[0]


def _found(ws: Workspace, model: str, request_id: str | None, asked: list[dict[str, Any]]) -> ReviewItem:
    """The item of this request, or a new one."""
    # What no request stands behind gets an id all the same: without one it would be known by that.
    key = request_id or digest_json(["gold", asked])
    id = f"rev_{digest_json([model, key])[7:33]}"
    with ws.state.read() as tx:
        try:
            return load_review(tx, id)
        except NotFound:
            own = request_id or new_request_id(ws.clock.utc(), ws.request_key())
            return ReviewItem(id=id, model=model, request_id=own, why="sample")


def retire_gold(ws: Workspace, item: str, *, by: str) -> ReviewItem:
    """Take a gold item out of the queue for good; what was said about it is kept. Raises NotFound, UserError."""
    with ws.state.write(by=by) as tx:
        found = load_review(tx, item)
        if found.state != "gold":
            raise UserError(f"item {item} is no gold item", fix="tunekeeper data queue skip ITEM --by NAME leaves it to others")
        return save_review(tx, replace(found, state="skipped", held=None))


def read_gold(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file: `answer`, and `request_id` or `messages` (or `prompt`), perhaps `served`. Raises DataError."""
    from tunekeeper.data.pairs import read_lines

    rows = []
    for line, row in read_lines(path):
        unknown = set(row) - {"answer", "request_id", "messages", "prompt", "served"}
        if unknown:
            raise DataError(
                f"{path.name}:{line}: unknown key {min(unknown)!r}", fix="answer, request_id, messages, prompt, served"
            )
        if isinstance(row.get("prompt"), str):
            row = {**{k: v for k, v in row.items() if k != "prompt"}, "messages": [{"role": "user", "content": row["prompt"]}]}
        if not isinstance(row.get("answer"), str) or not row["answer"].strip():
            raise DataError(f"{path.name}:{line}: no answer", fix="give the right answer as text")
        if ("request_id" in row) == ("messages" in row):
            raise DataError(f"{path.name}:{line}: either request_id or messages", fix="give one of them")
        rows.append(row)
    return rows


def gold_scores(ws: Workspace, model: str) -> dict[str, GoldScore]:
    """Reviewer → how they did on the gold items of `model`."""
    with ws.state.read() as tx:
        gold = [item for item in find_reviews(tx, model=model) if item.known is not None]
    people = sorted({opinion.by for item in gold for opinion in item.opinions})
    return {name: _score([(item, o) for item in gold for o in item.opinions if o.by == name]) for name in people}


def _score(said: Sequence[tuple[ReviewItem, Opinion]]) -> GoldScore:
    right = sum(judged_right(item, opinion) for item, opinion in said)
    missed = sum(not _served_right(item) and opinion.verdict == "good" for item, opinion in said)
    blamed = sum(_served_right(item) and opinion.verdict != "good" for item, opinion in said)
    low, high = wilson(right, len(said))
    return GoldScore(met=len(said), right=right, missed=missed, blamed=blamed, low=low, high=high)


def judged_right(item: ReviewItem, opinion: Opinion) -> bool:
    """Whether an opinion about a gold item is right. An edit of JSON has to say what is known; of prose any edit will do, as no
    two people write the same words."""
    if _served_right(item):
        return opinion.verdict == "good" or (opinion.verdict == "edited" and _is_known(item, opinion.answer))
    if opinion.verdict == "bad":
        return True
    structured = parsed(item.known or "") is not None
    return opinion.verdict == "edited" and (not structured or _is_known(item, opinion.answer))


def _served_right(item: ReviewItem) -> bool:
    return _is_known(item, item.shown.get("answer"))


def _is_known(item: ReviewItem, answer: str | None) -> bool:
    return answer is not None and comparable(answer) == comparable(item.known or "")
