"""Files with a message a row, as chat programs export them and tables of talks have it: brought together as conversations.

Slack, Discord, Telegram, Teams, WhatsApp (data/whatsapp.py), OpenAssistant's messages, any table with who speaks, what, and in
which talk. A row is of the talk it names, else of that of the message it answers, else of the one before it, until an hour of
silence ends that. Who of the people is the assistant has to be told, unless the speakers are called so.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data import providers
from tunekeeper.data.columns import answers, named_by
from tunekeeper.data.conversations import Conversation, Unreadable
from tunekeeper.data.dialogues import joined
from tunekeeper.data.helpdesks import plain

_OURS = "\n"
"""How the name of a talk begins that no message names."""
SHAPE = "message"
"""Shape of a row that is one message, before its talk is brought together."""
MOST = 200_000
"""Messages of one file, or of the files of one folder."""
NOBODY = "nobody is known as the assistant; who speaks: "
"""What is said of a talk in which no speaker is called the assistant."""
GAP = 3600.0
"""Seconds of silence that end a talk whose messages do not say to which one they belong."""
_TALKS = (
    *("conversation_id", "conversationid", "chat_id", "thread_id", "thread_ts", "dialogue_id", "dialog_id", "session_id"),
    *("chatid", "ticket_id", "message_tree_id", "conversation", "thread", "session"),
)
_WHO = ("role", "sender", "speaker", "author", "from", "username", "sender_name", "sender_type", "author_id")
_CALLED = ("role", "name", "display_name", "displayName", "real_name", "nickname", "id")
_SAID = ("content", "text", "message", "body_text", "body", "utterance")
_WHEN = ("ts", "timestamp", "date", "created_at", "created_date", "createddatetime", "sent_at", "time", "created")
_ID = ("message_id", "tweet_id", "id", "ts")
_ANSWERS = ("parent_id", "in_response_to_tweet_id", "reply_to_message_id", "reply_to", "replytoid", "in_reply_to")
_INBOUND = ("is_inbound", "incoming", "inbound")
_UTTERED = (None, "", "bot_message", "thread_broadcast", "me_message", "file_share", "message", "Default", "Reply")
"""Kinds of messages that somebody said: others tell who joined or what was pinned."""
_KNOWN = frozenset(("user", "assistant", "system", "developer", "tool", "function", "None"))
_ROLES = {**providers.ROLES, "prompter": "user", "user": "user", "assistant": "assistant", "system": "system"}


@dataclass(kw_only=True, slots=True, eq=False)
class _Message:
    """One row."""

    line: int
    file: str
    names: list[str]
    text: str
    talk: str | None
    id: str | None
    answers: str | None
    at: float | None
    rank: Any
    parent: _Message | None = None
    answered_by: list[_Message] = field(default_factory=list)


def holds(row: Mapping[str, Any], mapping: Mapping[str, str]) -> bool:
    """Whether a row, or the header of a table, is one message of a talk. `mapping`: role → column, as told."""
    if not named_by(mapping.values()).isdisjoint(row) or answers(map(str, row)):
        return False
    keys = {str(key).strip().casefold() for key in row}
    speaks = not keys.isdisjoint((*_WHO, *_INBOUND)) or {"user", "ts"} <= keys
    placed = not keys.isdisjoint((*_TALKS, *_WHEN, *_ANSWERS))
    return speaks and placed and not keys.isdisjoint(_SAID)


def exported(document: Mapping[str, Any]) -> list[Any] | None:
    """The messages of a channel that Discord or Telegram exported as one document; None for any other."""
    messages = document.get("messages")
    known = {"guild", "channel"} <= document.keys() or {"name", "type", "id"} <= document.keys()
    return messages if known and isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages) else None


def piece_of(row: Mapping[str, Any]) -> Conversation:
    """One message as the piece of a conversation that it is."""
    return Conversation(messages=(), metadata={str(key).strip().casefold(): value for key, value in row.items()}, shape=SHAPE)


def gathered(file: str, rows: Iterable[tuple[int, str, Conversation]]) -> Iterator[tuple[int, str, Conversation | str]]:
    """Line and file of the first message of each talk, and its conversation or why it is none. `rows`: line, file
    and piece of each message of one file or folder, called `file`. Raises DataError for too many."""
    messages: list[_Message] = []
    for line, name, piece in rows:
        if len(messages) >= MOST:
            why = f"{file}: more than {MOST} messages, a row each"
            raise DataError(why, fix="import them in parts, each with whole conversations")
        if (message := _message(line, name, piece.metadata)) is not None:
            messages.append(message)
    for id, talk in _talks(messages).items():
        yield talk[0].line, talk[0].file, _conversation(id, talk)


def sided(conversation: Conversation, assistants: frozenset[str]) -> Conversation:
    """The conversation with a role for everybody who is called by a name. `assistants`: names, in small letters, of who answers.
    Raises Unreadable where there are names and nobody is known to answer; of turns, one person beside an assistant asks."""
    roles = [str(message.get("role")) for message in conversation.messages]
    if _KNOWN.issuperset(roles):
        return conversation
    named = [role for role in roles if role not in _KNOWN]
    chosen = {name for name in named if not assistants.isdisjoint(_aliases(name))}
    one_asks = conversation.shape == "sharegpt" and "assistant" in roles and "user" not in roles and len(set(named)) == 1
    if not chosen and not one_asks:
        if "assistant" in roles and not assistants:
            return conversation
        listed = ", ".join(repr(name.split("\n")[0]) for name in dict.fromkeys(named))
        raise Unreadable(f"{NOBODY}{listed[:200]}")
    asking = set(named) - chosen
    if conversation.shape == "messages" and "conversation_id" not in conversation.metadata and len(asking) > 1:
        raise Unreadable(
            f"{len(asking)} people ask here and no message says which it answers: whom the answers are for cannot be told"
        )
    made: list[dict[str, Any]] = []
    for message, role in zip(conversation.messages, roles, strict=True):
        made.append({**message, "role": ("assistant" if role in chosen else "user") if role in named else role})
    return replace(conversation, messages=tuple(joined(made)))


def _aliases(name: str) -> set[str]:
    return {each.strip().lstrip("@").casefold() for each in name.split("\n")}


def _message(line: int, file: str, row: Mapping[str, Any]) -> _Message | None:
    """A row as a message; None for one that nobody said."""
    told_of = row.get("subtype") not in _UTTERED or row.get("messagetype") not in _UTTERED or row.get("type") == "service"
    if told_of or str(row.get("deleted")).casefold() == "true":
        return None
    text = _text(_first(row, _SAID))
    text = html.unescape(text) if "ts" in row else text  # Slack writes three signs as HTML does; elsewhere they are what was said
    if not text.strip() or str(row.get("private")).casefold() == "true":
        return None
    reference = row.get("reference")
    parent = reference.get("messageId") if isinstance(reference, dict) else _first(row, _ANSWERS)
    return _Message(
        line=line,
        file=file,
        names=_names(row),
        text=text,
        talk=_word(_first(row, _TALKS)),
        id=_word(_first(row, _ID)),
        answers=_word(parent),
        at=_time(_first(row, _WHEN)),
        rank=row.get("rank"),
    )


def _first(row: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _text(said: Any) -> str:
    """What was said; Telegram's pieces as one text, what Teams wrote as HTML without it."""
    if isinstance(said, dict) and isinstance(said.get("content"), str):
        return plain(said["content"]) if said.get("contentType") == "html" else str(said["content"])
    pieces = said if isinstance(said, list) else [said]
    texts = [piece.get("text") if isinstance(piece, dict) else piece for piece in pieces]
    return "".join(str(text) for text in texts if text is not None)


def _names(row: Mapping[str, Any]) -> list[str]:
    """What the speaker of a message is called, the role first where it tells one."""
    inbound = next((row[key] for key in _INBOUND if row.get(key) is not None), None)
    if inbound is not None and str(inbound).casefold() in ("true", "false", "0", "1"):
        return ["user" if str(inbound).casefold() in ("true", "1") else "assistant"]
    found: list[Any] = [row.get(key) for key in (*_WHO, "user", "bot_id", "from_id")]
    people = [each for each in (*found, row.get("user_profile"), row.get("bot_profile")) if isinstance(each, dict)]
    people += [each for person in people for each in person.values() if isinstance(each, dict)]  # Teams: a user, an application
    found += [person.get(key) for person in people for key in _CALLED]
    return [str(each) for each in found if each not in (None, "") and not isinstance(each, dict | list)] or ["?"]


def _time(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _talks(messages: list[_Message]) -> dict[str, list[_Message]]:
    """Name → messages of each talk, in their order."""
    by_id = {message.id: message for message in messages if message.id is not None}
    for message in messages:
        parent = by_id.get(message.answers) if message.answers is not None else None
        if parent is not None and parent is not message:
            message.parent = parent
            parent.answered_by.append(message)
        if message.talk is not None and message.talk in by_id:  # Slack: a thread is called as the message that began it
            by_id[message.talk].talk = message.talk
    last: _Message | None = None
    for message in messages:
        if message.talk is None and message.parent is None:
            begun = last is None or message.answered_by or _silent(last, message)
            message.talk = f"{_OURS}{message.file}:{message.line}" if last is None or begun else last.talk
            last = None if message.answered_by else message
    talks: dict[str, list[_Message]] = {}
    for message in messages:
        talks.setdefault(_up(message)[-1].talk or "", []).append(message)
    return {name: _ordered(talk) for name, talk in talks.items()}


def _silent(last: _Message, message: _Message) -> bool:
    """Whether a message begins another talk than the one before it."""
    return message.at is None or last.at is None or abs(message.at - last.at) > GAP


def _up(message: _Message) -> list[_Message]:
    """A message and what it answers, and so on to where the talk is named."""
    way = [message]
    while way[-1].talk is None and (parent := way[-1].parent) is not None and parent not in way:
        way.append(parent)
    return way


def _ordered(talk: list[_Message]) -> list[_Message]:
    """The messages of a talk as they were said; of replies that were ranked the best ones."""
    if any(message.rank not in (None, "") for message in talk):
        at: _Message | None = next((m for m in talk if m.answers is None), talk[0])
        way: list[_Message] = []
        while at is not None and len(way) < len(talk):
            way.append(at)
            at = min(at.answered_by, key=_rank, default=None)
        return way
    if all(message.at is not None for message in talk):
        return sorted(talk, key=lambda message: message.at or 0.0)
    return sorted(talk, key=lambda message: len(_up(message)))


def _rank(message: _Message) -> float:
    try:
        return float(message.rank)
    except (TypeError, ValueError):
        return float("inf")


def _conversation(name: str, talk: list[_Message]) -> Conversation | str:
    turns = []
    for message in talk:
        known = next((_ROLES[each.casefold()] for each in message.names if each.casefold() in _ROLES), None)
        turns.append({"role": known or "\n".join(dict.fromkeys(message.names)), "content": message.text})
    if {"user", "assistant"} >= {turn["role"] for turn in turns}:
        turns = joined(turns)
        if not turns:
            return "a talk that nobody answered"
    told = {} if name.startswith(_OURS) else {"conversation_id": name}
    return Conversation(messages=tuple(turns), metadata=told, shape="messages")
