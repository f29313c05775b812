"""What comes of the opinions about one item: a majority, or one more opinion. Pure: items in, items out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.examples import comparable, parsed

MOST_OPINIONS = 5
"""Opinions without a majority after which an item is given up: nothing is learned from it."""
UNDONE = "undone"
"""Kind of the remark that says who took a judgment back, and when."""


def opinions_of(item: ReviewItem) -> tuple[Opinion, ...]:
    """The opinions about an item, oldest first; one that an older release wrote down without its own list has one."""
    if item.opinions or item.verdict is None or item.by is None:
        return item.opinions
    return (Opinion(by=item.by, verdict=item.verdict, answer=item.answer, seconds=item.seconds, at=item.done_at),)


def opinion_by(item: ReviewItem, by: str) -> Opinion | None:
    """What `by` said; None when nothing."""
    return next((opinion for opinion in opinions_of(item) if opinion.by == by), None)


def with_opinion(item: ReviewItem, opinion: Opinion) -> ReviewItem:
    """The item with one more opinion, in place of an earlier one of the same person, and with what comes of all of them."""
    others = tuple(each for each in opinions_of(item) if each.by != opinion.by)
    free = without_reviewer(item, opinion.by)
    return settled(replace(free, opinions=(*others, opinion)))


def without_opinion(item: ReviewItem, by: str) -> ReviewItem:
    """The item as if `by` had said nothing."""
    return settled(replace(item, opinions=tuple(each for each in opinions_of(item) if each.by != by)))


def without_reviewer(item: ReviewItem, by: str) -> ReviewItem:
    """The item let go by `by`: no lock, no unfinished text and no skip of theirs."""
    held = None if item.held is not None and item.held[0] == by else item.held
    skipped = {name: at for name, at in item.skipped.items() if name != by}
    return replace(item, held=held, skipped=skipped, texts={name: text for name, text in item.texts.items() if name != by})


def settled(item: ReviewItem) -> ReviewItem:
    """The item with its state by its opinions: open, wanting one more where as many as were asked for disagree, or done.

    A gold item is never done: everybody may meet it.
    """
    if item.state == "gold":
        return item
    said = item.opinions
    agreed = majority(said) if len(said) >= item.wants else None
    if agreed is None and len(said) < MOST_OPINIONS:
        wants = max(item.wants, len(said) + 1) if said else item.wants
        return replace(
            item, state="open", wants=wants, verdict=None, better=None, answer=None, by=None, seconds=None, done_at=None
        )
    last = agreed or said[-1]
    done = replace(item, state="done", by=last.by, seconds=last.seconds, done_at=last.at, answer=last.answer)
    if item.kind == "pair":
        return replace(done, better=cast(Any, last.verdict) if agreed else "tie", answer=None)
    return replace(done, verdict=cast(Any, last.verdict)) if agreed else replace(done, verdict="excluded", answer=None)


def majority(said: tuple[Opinion, ...]) -> Opinion | None:
    """The newest opinion that more than half share; None when there is none.

    Edits are the same where their JSON says the same. Edited prose is never word for word the same: there the newest edit counts.
    """
    if not said:
        return None
    keys = [_key(opinion) for opinion in said]
    key, count = Counter(keys).most_common(1)[0]
    return next(o for o, k in zip(reversed(said), reversed(keys), strict=True) if k == key) if 2 * count > len(said) else None


def taken_back(items: Iterable[ReviewItem]) -> dict[str, str]:
    """Item → why nothing is to be learned of it, and what was learned of it leaves: its judgment was taken back or is disputed,
    reviewers rejected or excluded the answer, or it measures reviewers by now."""
    return {item.id: why for item in items if (why := _not_learned(item))}


def _not_learned(item: ReviewItem) -> str:
    if item.state == "gold":
        return "it measures reviewers now"
    if item.state != "done":
        return "reviewers do not agree on it" if opinions_of(item) else "the judgment was taken back"
    if item.kind == "pair":
        return "" if item.better in ("first", "second") else "reviewers called it a tie"
    rejected = item.verdict == "excluded" or (item.verdict == "bad" and item.answer is None)
    return f"{item.by or 'a reviewer'} called it {item.verdict}" if rejected else ""


def disagree(item: ReviewItem) -> bool:
    """Whether an open item waits for one more opinion because those it has do not agree."""
    said = opinions_of(item)
    return item.state == "open" and len(said) > 1 and majority(said) is None


def blanked(item: ReviewItem) -> ReviewItem:
    """The item without any text of what was asked, answered or said, out of the queue; the item itself where there is none."""
    texts = (item.answer, item.known, item.texts, item.shown, item.remarks, *(opinion.answer for opinion in item.opinions))
    waits = item.state in ("open", "gold")
    if not waits and not any(texts):
        return item
    return replace(
        item,
        unit=None,
        state="skipped" if waits else item.state,
        verdict=None if item.verdict is None else "excluded",
        opinions=tuple(replace(opinion, answer=None) for opinion in item.opinions),
        answer=None,
        known=None,
        texts={},
        shown={},
        remarks=(),
        held=None,
    )


def _key(opinion: Opinion) -> tuple[str, str]:
    edited = opinion.answer if opinion.verdict == "edited" else None
    return opinion.verdict, comparable(edited) if edited and parsed(edited) is not None else ""
