"""Rows that hold a talk in a way of its own: lists of turns, texts of marked lines, trees of replies, two talks of which one won.

* Turns under `dialogue`, `dialog`, `turns`, `chat` or `transcript`, or under any name in a row without a question or an answer of
  its own; UltraChat's list of texts that take turns (`data`).
* A text whose lines say who speaks (`Customer: …`, `Agent: …`), under one of these names or `conversation`.
* OpenAssistant's trees (`prompt` with its `replies`): the way of the best replies, the next best last one as rejected.
* Two talks that somebody judged (`conversation_a`, `conversation_b`, `winner`): the winner's, the other answer as rejected.
"""

from __future__ import annotations

import re
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.columns import tells_either
from tunekeeper.data.conversations import Conversation, Unreadable, conversation_from, unpacked
from tunekeeper.data.transcripts import turns_of

NAMES = ("dialogue", "dialog", "turns", "chat", "transcript")
"""Under what the turns of a talk stand."""
TEXTS = ("text", "conversation", *NAMES)
"""Under what a talk stands as one text."""
_MARK = re.compile(r"^[ \t]*(?:[\[(][^\])\n]{1,40}[\])][ \t]*)?(?P<who>[^\W\d][\w -]{0,30}?)[ \t]*:(?=\s|$)", re.MULTILINE)
_ROLES = {**providers.ROLES, "user": "user", "assistant": "assistant", "ai assistant": "assistant", "caller": "user"}


def conversation_of(row: dict[str, Any]) -> Conversation | None:
    """The conversation of such a row; None for any other. Raises Unreadable."""
    prompt = row.get("prompt")
    if isinstance(prompt, dict) and "replies" in prompt:
        return _tree(row, prompt)
    if "conversation_a" in row and "conversation_b" in row and "winner" in row:
        return _judged(unpacked(row, ("conversation_a", "conversation_b")))
    if row.keys() <= {"id", "data"} and _are_texts(row.get("data")):
        turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(row["data"])]
        return conversation_from(row, turns, ("data",), "ultrachat")
    named = not row.keys().isdisjoint(NAMES)
    row = unpacked(row, NAMES) if named else row
    key = (next((key for key in NAMES if _are_turns(row.get(key))), None) if named else None) or _only_talk(row)
    if key is not None:
        return conversation_from(row, joined(_answering(providers.messages_of(row[key]))), (key,), "turns")
    return None


def _only_talk(row: dict[str, Any]) -> str | None:
    """The one field that holds messages of both sides; None where there are more, or a question or an answer beside them."""
    listed = [key for key, value in row.items() if isinstance(value, list) and _are_turns(value)]
    if len(listed) != 1 or tells_either(row.keys() - set(listed)):
        return None
    roles = {str(turn.get("role")) for turn in row[listed[0]]}
    return listed[0] if {"user", "assistant"} <= roles else None


def said_in(text: str) -> list[dict[str, Any]] | None:
    """The chat messages of a text with marked turns, or whose lines say who speaks; None where only one side speaks."""
    return turns_of(text) or _lines(text)


def _lines(text: str) -> list[dict[str, Any]] | None:
    marks = [mark for mark in _MARK.finditer(text) if mark["who"].casefold() in _ROLES]
    if not marks or text[: marks[0].start()].strip():
        return None
    turns: list[dict[str, Any]] = []
    for mark, after in zip(marks, [*(each.start() for each in marks[1:]), len(text)], strict=True):
        turns.append({"role": _ROLES[mark["who"].casefold()], "content": text[mark.end() : after].strip()})
    return joined(turns) if {"user", "assistant"} <= {turn["role"] for turn in turns} else None


def joined(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns with what one side says in several pieces as one message, and without what nobody answered any more."""
    made: list[dict[str, Any]] = []
    for turn in turns:
        plain = turn["role"] in ("user", "assistant") and turn.keys() == {"role", "content"}
        if plain and not str(turn["content"] or "").strip():
            continue
        if plain and made and made[-1].keys() == {"role", "content"} and made[-1]["role"] == turn["role"]:
            made[-1] = {**made[-1], "content": f"{made[-1]['content']}\n\n{turn['content']}"}
        else:
            made.append(turn)
    while made and made[-1]["role"] == "user":
        made.pop()
    return made


def _answering(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns with the system as the assistant where it is what answers, as sets of dialogue systems call it."""
    roles = [turn["role"] for turn in turns]
    answers = "assistant" not in roles and "user" in roles and "system" in roles[roles.index("user") :]
    return [{**turn, "role": "assistant"} if answers and turn["role"] == "system" else turn for turn in turns]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(each, str) for each in value)


def _are_turns(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(each, dict) and providers.speaker_of(each) for each in value)
    )


def _tree(row: dict[str, Any], prompt: dict[str, Any]) -> Conversation:
    """The way from the prompt along the replies that people ranked best, the first where nobody did."""
    turns: list[dict[str, Any]] = []
    rejected, at = None, prompt
    while True:
        role = "assistant" if at.get("role") == "assistant" else "user"
        turns.append({"role": role, "content": at.get("text")})
        replies = [each for each in at.get("replies") or () if isinstance(each, dict) and not each.get("deleted")]
        replies.sort(key=lambda each: each["rank"] if isinstance(each.get("rank"), int) else 1 << 30)
        if not replies:
            break
        if replies[0].get("role") == "assistant":
            rejected = replies[1].get("text") if len(replies) > 1 else None
        at = replies[0]
    turns = joined(turns)
    if not turns:
        raise Unreadable("a talk that nobody answered")
    kept = {"id": row.get("message_tree_id"), "lang": prompt.get("lang"), "rejected": rejected}
    return Conversation(
        messages=tuple(turns), metadata={key: value for key, value in kept.items() if value is not None}, shape="oasst"
    )


def _judged(row: dict[str, Any]) -> Conversation:
    sides = {"model_a": "conversation_a", "model_b": "conversation_b"}
    won = sides.get(str(row["winner"]))
    if won is None:
        raise Unreadable(f"nobody won (`winner` is {row['winner']!r}): neither answer is the better one")
    other = "conversation_b" if won == "conversation_a" else "conversation_a"
    if not all(_are_turns(row[key]) for key in sides.values()):
        raise Unreadable("`conversation_a` and `conversation_b` must be lists of messages")
    good, bad = (providers.messages_of(row[key]) for key in (won, other))
    made = conversation_from(row, good, tuple(sides.values()), "preference")
    if good[:-1] == bad[:-1]:
        made.metadata["rejected"] = bad[-1].get("content")
    return made
