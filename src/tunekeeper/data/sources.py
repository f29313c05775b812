"""Sources besides files: the inference log with its feedback, and what reviewers said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunekeeper.core.nouns.data import Example, ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.examples import comparable, make_example
from tunekeeper.data.rows import Conversation
from tunekeeper.text.redaction import Redactor

CORRECTING = ("edit", "correction", "label")
"""Kinds of feedback that say what the answer should have been."""
PLAIN = ("id", "created", "request_id", "said_at")
"""Metadata that is never redacted: digits of an id or a date are no card and no phone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """What an answer should have been, by whom, and what was served instead."""

    example: Example
    """The request with the right answer, redacted; `metadata.rejected` holds the served one."""
    served: str
    """The answer that was given."""
    at: datetime
    """When the request came."""

    @property
    def changed(self) -> bool:
        """Whether the right answer is another one than the served (a reviewer may have confirmed it)."""
        return "rejected" in self.example.metadata


def redacted_example(
    conversation: Conversation, source: str, system: str | None, redactor: Redactor
) -> tuple[Example, dict[str, int]]:
    """The example of a conversation after redaction, and kind → pieces replaced. Ids and dates stay as they are."""
    messages, counts = redactor.redact_json(list(conversation.messages))
    kept = {key: value for key, value in conversation.metadata.items() if key in PLAIN}
    metadata, more = redactor.redact_json({k: v for k, v in conversation.metadata.items() if k not in kept})
    clean = Conversation(
        messages=tuple(messages), metadata={**kept, **metadata}, tools=conversation.tools, weight=conversation.weight
    )
    return make_example(clean, source=source, system=system), dict(Counter(counts) + Counter(more))


def served_answer(inference: Inference) -> str | None:
    """The text that was answered; None when the body was not kept or holds no text."""
    try:
        content = inference.response["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return None
    return content if isinstance(content, str) else None


def asked_messages(inference: Inference) -> list[dict[str, Any]] | None:
    """The messages of the request; None when the body was not kept or holds none."""
    messages = inference.request.get("messages") if isinstance(inference.request, Mapping) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return None
    return messages


def corrections(
    inferences: Iterable[Inference],
    feedback: Sequence[Feedback],
    reviews: Sequence[ReviewItem],
    *,
    system: str | None,
    redactor: Redactor,
) -> list[Correction]:
    """Every inference of which somebody said what the answer should have been, oldest first; the last word counts.

    A review outweighs feedback. `system`: put first where the request had no system message.
    """
    said: dict[str, _Word] = {}
    for word in sorted(feedback, key=lambda f: f.timestamp):
        right = _as_text(word.value) if word.kind in CORRECTING else None
        if right is not None:
            said[word.request_id] = _Word(answer=right, by=word.by, kind=word.kind, at=word.timestamp)
    judged = {item.request_id: item for item in reviews if item.state == "done"}
    found = []
    for inference in sorted(inferences, key=lambda i: (i.timestamp, i.request_id)):
        verdict = _verdict(inference, judged.get(inference.request_id), said.get(inference.request_id))
        if verdict is not None:
            made = _correction(inference, verdict, system, redactor)
            found += [made] if made is not None else []
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Word:
    """What somebody said the answer should have been."""

    answer: str
    """The right answer."""
    by: str | None
    """Who said so; None when nobody is named."""
    kind: str
    """Kind of the feedback, or `review`."""
    at: datetime | None
    """When; None when it was not kept."""


def _verdict(inference: Inference, item: ReviewItem | None, said: _Word | None) -> _Word | None:
    if item is None or item.verdict is None:
        return said
    if item.verdict == "excluded" or (item.verdict == "bad" and item.answer is None):
        return None
    answer = served_answer(inference) if item.verdict == "good" else item.answer
    return None if answer is None else _Word(answer=answer, by=item.by, kind="review", at=item.done_at)


def _correction(inference: Inference, word: _Word, system: str | None, redactor: Redactor) -> Correction | None:
    asked, served, right = asked_messages(inference), served_answer(inference), word.answer
    if asked is None or served is None or not right.strip():
        return None
    metadata: dict[str, Any] = {"id": inference.request_id, "created": inference.timestamp.isoformat(), "said_as": word.kind}
    metadata |= {"said_by": word.by} if word.by else {}
    metadata |= {"said_at": word.at.isoformat()} if word.at else {}
    metadata |= {"version": inference.version} if inference.version else {}
    metadata |= {"rejected": served} if comparable(served) != comparable(right) else {}
    tools = inference.request.get("tools") or ()
    talk = Conversation(messages=(*asked, {"role": "assistant", "content": right}), metadata=metadata, tools=tuple(tools))
    example, _ = redacted_example(talk, f"inference:{inference.request_id}", system, redactor)
    return Correction(example=example, served=redactor.redact(served)[0], at=inference.timestamp)


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else None
