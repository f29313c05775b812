"""What people said about answers, weighed per request: what becomes an example, what a person must look at first. Pure.

A review outweighs everything. Else a right answer makes an example; else a complaint puts the answer before a reviewer, since a
bad answer is nothing to learn from; else praise makes an example of the answer as it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from tunekeeper.core.nouns.data import Example, ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.opinions import UNDONE, taken_back
from tunekeeper.data.sources import right_answer

Kind = Literal["corrected", "flagged", "thumbs", "escalated", "tagged", "sample"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be collected, the most telling first."""
COMPLAINTS: dict[str, Kind] = {"escalation": "escalated", "thumb": "thumbs", "outcome": "flagged", "score": "flagged"}
"""Kinds of feedback that can say that an answer was bad, the gravest first → the kind under which they are collected."""
BAD_SCORE = 0.5
"""Scores below it say that the answer was bad."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What was said about some requests, weighed."""

    corrected: frozenset[str] = frozenset()
    """Requests whose right answer somebody gave, or a reviewer confirmed."""
    approved: dict[str, Feedback] = field(default_factory=dict)
    """Request → who praised the answer as it was; nobody said otherwise."""
    queue: dict[str, str] = field(default_factory=dict)
    """Request → the gravest complaint, of those whose right answer nobody gave."""
    withdrawn: dict[str, str] = field(default_factory=dict)
    """Request → why an example that was made of it holds no longer."""
    rejected: frozenset[str] = frozenset()
    """Those of them that a reviewer rejected: whatever their example was made of, it leaves."""
    taken_back: dict[str, str] = field(default_factory=dict)
    """Review item → why an example that was made of it holds no longer."""


def weigh(
    feedback: Sequence[Feedback],
    reviews: Sequence[ReviewItem],
    kinds: Sequence[str] = KINDS,
    requests: Collection[str] | None = None,
) -> Heard:
    """What `feedback` and finished `reviews` come to. All that was said about a request belongs in; `kinds`: what is wanted;
    `requests`: None weighs all of them."""
    said: dict[str, list[Feedback]] = defaultdict(list)
    for word in sorted(feedback, key=lambda f: (f.timestamp, f.id)):
        said[word.request_id].append(word)
    judged = {item.request_id: item for item in reviews if item.state == "done" and item.verdict is not None}
    corrected, approved, queue, withdrawn = set(), {}, {}, {}
    gold = {item.request_id for item in reviews if item.state == "gold"}  # what measures reviewers is never learned
    for request in dict.fromkeys((*judged, *said)):
        if request in gold or (requests is not None and request not in requests):
            continue
        item, words = judged.get(request), said[request]
        if item is not None:
            if item.verdict == "excluded" or (item.verdict == "bad" and item.answer is None):
                withdrawn[request] = f"{item.by or 'a reviewer'} called it {item.verdict}"
            elif "corrected" in kinds:
                corrected.add(request)
            continue
        if any(right_answer(word) is not None for word in words):
            corrected |= {request} if "corrected" in kinds else set()
            continue
        complaint = next((kind for kind in COMPLAINTS if COMPLAINTS[kind] in kinds and _complains(words, kind)), None)
        if complaint is not None:
            queue[request] = complaint
            withdrawn[request] = f"a user complained about the answer ({complaint})"
        elif "thumbs" in kinds and (praise := _praise(words)) is not None:
            approved[request] = praise
    return Heard(
        corrected=frozenset(corrected),
        approved=approved,
        queue=queue,
        withdrawn=withdrawn,
        rejected=frozenset(request for request in withdrawn if request in judged),
        taken_back=taken_back(reviews),
    )


def settled_at(item: ReviewItem) -> tuple[str, datetime] | None:
    """What reviewers last did to an answer, and when: judged it (`review`), or took that back (`undone`); None while neither."""
    if item.state == "done" and item.verdict is not None and item.done_at is not None:
        return "review", item.done_at
    undone = [datetime.fromisoformat(remark["at"]) for remark in item.remarks if remark["kind"] == UNDONE]
    return (UNDONE, max(undone)) if undone and item.state != "done" and item.kind == "answer" else None


def fallen(row: Example, back: Mapping[str, str]) -> str:
    """Why a row that reviewers made holds no longer; empty where it does. `back`: `opinions.taken_back`."""
    return back.get(str(row.metadata.get("review")), "") if back and row.metadata.get("said_as") == "review" else ""


def _complains(words: Sequence[Feedback], kind: str) -> bool:
    """Whether the last word of a kind says that the answer was bad."""
    last = next((word.value for word in reversed(words) if word.kind == kind), None)
    if kind == "score":
        return isinstance(last, int | float) and last < BAD_SCORE
    return last in {"escalation": (True,), "thumb": ("down",), "outcome": ("failure",)}[kind]


def _praise(words: Sequence[Feedback]) -> Feedback | None:
    """The last thumb, when it is up and nothing else was said against the answer."""
    if any(_complains(words, kind) for kind in COMPLAINTS):
        return None
    return next((word for word in reversed(words) if word.kind == "thumb" and word.value == "up"), None)


def tags_of(inference: Inference) -> frozenset[str]:
    """The tags of a request: `tags` (a list, or a text with commas) and `tag` of its metadata and of its segments."""
    return frozenset(tag for known in (inference.metadata, inference.segments) for tag in _tags(known))


def _tags(known: Mapping[str, Any]) -> list[str]:
    found = []
    for key in ("tags", "tag"):
        value = known.get(key)
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else ()
        found += [part.strip() for part in parts if isinstance(part, str) and part.strip()]
    return found


def origin_of(example: Example) -> str | None:
    """The user or session out of whose requests an example was made; None for what a reviewer judged, for requests that name
    nobody, and for rows from elsewhere."""
    known = example.metadata
    if not example.source.startswith("inference:") or known.get("said_as") == "review":
        return None
    return next(
        (f"{name} {known[key]}" for key, name in (("user_id", "user"), ("session_id", "session")) if known.get(key)), None
    )
