"""Sources besides files: the inference log with its feedback, and what reviewers said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tunekeeper.core.nouns.data import Example, ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.examples import GROUP_KEYS, comparable, make_example
from tunekeeper.text.answers import called_in, written
from tunekeeper.text.redaction import Redactor
from tunekeeper.text.seals import is_box, joined

CORRECTING = ("edit", "correction", "label")
"""Kinds of feedback that say what the answer should have been."""
PLAIN = ("id", "created", "request_id", "said_at", "key_id", "review")
"""Metadata of which only addresses and keys are redacted: digits of an id or a date are no card and no phone."""
ADDRESSES = frozenset(("email", "key"))
"""What is redacted there."""
NAMING = frozenset((*PLAIN, *GROUP_KEYS))
"""Metadata that says whose a row is, and of which conversation: redacted, two names stay two."""
_GROUPS = {"user": "user_id", "unit": "user_id", "session": "session_id"}
"""What a request's traffic was shared out by → the metadata under which rows of one user or session are kept together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """What an answer should have been, by whom, and what was served instead."""

    example: Example
    """The request with the right answer, redacted; `metadata.rejected` holds the served one."""
    served: str
    """The answer that was given."""
    at: datetime
    """When the request came."""
    redacted: dict[str, int] = field(default_factory=dict)
    """Kind of personal data → pieces replaced by placeholders."""
    other_calls: bool = False
    """Whether it calls tools otherwise than the served one did."""

    @property
    def changed(self) -> bool:
        """Whether the right answer is another one than the served (a reviewer may have confirmed it)."""
        return self.other_calls or "rejected" in self.example.metadata


def redacted_example(
    conversation: Conversation, source: str, system: str | None, redactor: Redactor
) -> tuple[Example, dict[str, int]]:
    """The example of a conversation after redaction, and kind → pieces replaced. Ids and dates stay as they are; what was taken
    out lies sealed in `metadata.sealed`, where the redactor has a seal."""
    metadata = conversation.metadata
    rest = {key: value for key, value in metadata.items() if key not in NAMING}
    parts = [list(conversation.messages), list(conversation.tools), rest]
    (messages, tools, rest), counts, box = redactor.sealed_json(parts)
    rest = rest if box is None else {**rest, "sealed": joined(rest.get("sealed"), box)}
    named, more = _named({key: value for key, value in metadata.items() if key in NAMING}, redactor)
    clean = Conversation(messages=tuple(messages), metadata={**named, **rest}, tools=tuple(tools), weight=conversation.weight)
    return make_example(clean, source=source, system=system), dict(Counter(counts) + Counter(more))


def _named(metadata: dict[str, Any], redactor: Redactor) -> tuple[dict[str, Any], dict[str, int]]:
    """Metadata that names rows, people and conversations, each name still its own; and kind → names replaced."""
    if not redactor.may_hold("\n".join(map(str, metadata.values())).encode("utf-8", "surrogatepass")):
        return metadata, {}  # as nearly always, and one look is cheaper than one for each
    named, counts = {}, Counter[str]()
    for key, value in metadata.items():
        clean, found = redactor.alias(value) if isinstance(value, str) else redactor.redact_json(value)
        plain = key in PLAIN and not ADDRESSES & found.keys()
        named[key] = value if plain else clean
        counts.update({} if plain else found)
    return named, dict(counts)


def served_answer(inference: Inference) -> str | None:
    """The text that was answered; None when the body was not kept or holds no text."""
    try:
        content = inference.response["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return None
    return content if isinstance(content, str) else None


def served_calls(inference: Inference) -> tuple[dict[str, Any], ...]:
    """The tool calls that were answered, in OpenAI's shape; empty when there are none, or one is no function call."""
    calls = _calls(inference)
    whole = all(isinstance(each, dict) and isinstance(each.get("function"), dict) for each in calls)
    return tuple(calls) if whole else ()


def _calls(inference: Inference) -> list[Any]:
    try:
        calls = inference.response["choices"][0]["message"]["tool_calls"]
    except (TypeError, KeyError, IndexError):
        return []
    return calls if isinstance(calls, list) else []


def answer_text(inference: Inference) -> str | None:
    """What was answered, as a person reads and edits it: its text, beneath it its tool calls as JSON; None without either."""
    text, calls = served_answer(inference), _calls(inference)
    return written(text, calls) if calls else text


def offered_tools(inference: Inference) -> tuple[dict[str, Any], ...]:
    """The tools that the request offered; empty when the body was not kept or names none."""
    tools = inference.request.get("tools") if isinstance(inference.request, Mapping) else None
    return tuple(each for each in tools if isinstance(each, dict)) if isinstance(tools, list) else ()


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
    approved: Mapping[str, Feedback] | None = None,
) -> list[Correction]:
    """Every inference of which somebody said what the answer should have been, oldest first; the last word counts.

    A review outweighs feedback. `system`: put first where the request had no system message. `approved`: request → who said that
    the answer was good as it was; counts where nobody said more.
    """
    served = {i.request_id: i for i in inferences}
    praised = ((id, _praised(served.get(id), praise)) for id, praise in (approved or {}).items())
    said = {id: good for id, good in praised if good is not None}
    for word in sorted(feedback, key=lambda f: f.timestamp):
        right = right_answer(word)
        if right is not None:
            said[word.request_id] = _Word(answer=right, by=word.by, kind=word.kind, at=word.timestamp)
    judged = {item.request_id: item for item in reviews if item.state == "done" and item.verdict is not None}
    gold = {item.request_id for item in reviews if item.state == "gold"}  # what measures reviewers is never learned
    found = []
    for inference in sorted((i for id, i in served.items() if id not in gold), key=lambda i: (i.timestamp, i.request_id)):
        verdict = _verdict(inference, judged.get(inference.request_id), said.get(inference.request_id))
        if verdict is not None:
            made = _correction(inference, verdict, system, redactor)
            found += [made] if made is not None else []
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Word:
    """What somebody said the answer should have been."""

    answer: str
    """The right answer; empty where it is nothing but `calls`."""
    by: str | None
    """Who said so; None when nobody is named."""
    kind: str
    """Kind of the feedback, or `review`."""
    at: datetime | None
    """When; None when it was not kept."""
    item: str | None = None
    """The review item, where a reviewer said so."""
    labels: tuple[str, ...] = ()
    """What reviewers called it."""
    calls: tuple[dict[str, Any], ...] = ()
    """Its tool calls: of an answer that was right as it was served."""


def group_of(unit: str) -> str:
    """How a collected row names the unit of its request: with a letter before it, no digest looks like a card or a phone."""
    return f"u{unit}"


def _praised(inference: Inference | None, praise: Feedback) -> _Word | None:
    if inference is None:
        return None
    answer, calls = served_answer(inference), served_calls(inference)
    if answer is None and not calls:
        return None
    return _Word(answer=answer or "", by=praise.by, kind=praise.kind, at=praise.timestamp, calls=calls)


def _verdict(inference: Inference, item: ReviewItem | None, said: _Word | None) -> _Word | None:
    if item is None or item.verdict is None:
        return said
    if item.verdict == "excluded" or (item.verdict == "bad" and item.answer is None):
        return None
    answer, calls = (served_answer(inference), served_calls(inference)) if item.verdict == "good" else (item.answer, ())
    if answer is None and not calls:
        return None
    word = _Word(answer=answer or "", by=item.by, kind="review", at=item.done_at, item=item.id, labels=labels_of(item))
    return replace(word, calls=calls)


def labels_of(item: ReviewItem) -> tuple[str, ...]:
    """The labels that reviewers gave an item, each once."""
    return tuple(dict.fromkeys(remark["text"] for remark in item.remarks if remark["kind"] == "label"))


def _correction(inference: Inference, word: _Word, system: str | None, redactor: Redactor) -> Correction | None:
    asked, served, called = asked_messages(inference), served_answer(inference), served_calls(inference)
    tools = offered_tools(inference)
    right, calls = (word.answer, word.calls) if word.calls or not (tools or called) else called_in(word.answer)
    if asked is None or (served is None and not called) or not (right.strip() or calls):
        return None
    said: dict[str, Any] = {"role": "assistant", "content": right if right.strip() else None}
    served = served or ""
    other_calls = [_meant(each) for each in calls] != [_meant(each) for each in called]
    changed = other_calls or comparable(served) != comparable(right)
    talk = Conversation(
        messages=(*asked, said | ({"tool_calls": list(calls)} if calls else {})),
        metadata=_provenance(inference, word, written(served, called) if changed else ""),
        tools=tools,
    )
    example, counts = redacted_example(talk, f"inference:{inference.request_id}", system, redactor)
    return Correction(
        example=example,
        served=redactor.redact(served)[0],
        at=inference.timestamp,
        redacted=counts,
        other_calls=other_calls,
    )


def _meant(call: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a call says, whatever its id and the blanks of its arguments."""
    function = call["function"]
    return function.get("name"), comparable(str(function.get("arguments")))


def _provenance(inference: Inference, word: _Word, rejected: str) -> dict[str, Any]:
    """Which request, whose, answered by which version; who said what the answer should have been, how and when. `rejected`: what
    was answered in its place; empty where it was right."""
    known = {
        "id": inference.request_id,
        "request_id": inference.request_id,
        "created": inference.timestamp.isoformat(),
        "said_as": word.kind,
        "said_by": word.by or None,
        "said_at": word.at.isoformat() if word.at else None,
        "review": word.item,
        "labels": list(word.labels) or None,
        "version": inference.version or None,
        "key_id": inference.key_id or None,
        "sealed": box if is_box(box := inference.request.get("sealed")) else None,
        "rejected": rejected or None,
        # What a server cut short was praised as far as it went: the check for truncated answers must see that.
        "finish_reason": inference.finish_reason if word.kind == "thumb" else None,
    }
    group = _GROUPS.get(inference.unit_kind or "")
    if group is not None and inference.unit:
        known[group] = group_of(inference.unit)
    return {key: value for key, value in known.items() if value is not None}


def right_answer(word: Feedback) -> str | None:
    """What the answer should have been, as somebody said; None where they did not say it, or wrote nothing but blanks."""
    if word.kind not in CORRECTING:
        return None
    if isinstance(word.value, str):
        return word.value if word.value.strip() else None
    return json.dumps(word.value, ensure_ascii=False) if isinstance(word.value, dict | list) else None
