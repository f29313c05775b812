"""Talks as help desks and chat programs export them: Zendesk's and Freshdesk's tickets, Intercom's conversations, the
`conversations.json` of ChatGPT and of Claude.

What was said inside the desk alone (private comments, notes) is no part of a talk. What one side says in several pieces is one
message, and what nobody answered any more is left away.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tunekeeper.data.conversations import Conversation, Unreadable, unpacked
from tunekeeper.data.dialogues import joined
from tunekeeper.data.exchanges import mapping_of, present, renamed
from tunekeeper.data.providers import ROLES

Turn = tuple[str, str]
"""Role and text."""
_SAID = ("comment", "open", "close")
"""Parts of an Intercom conversation that both sides see."""
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|li|tr|h[1-6]|blockquote)>", re.IGNORECASE)
_TAG = re.compile(r"<(?:/?[a-zA-Z][^<>]*|!--.*?--)>", re.DOTALL)


def recognise(row: Mapping[str, Any]) -> tuple[str, Callable[[dict[str, Any]], Conversation]] | None:
    """The program's name and the reader of its rows, by the row's keys; None for a row of another kind."""
    if "comments" in row and not {"requester_id", "requester"}.isdisjoint(row):
        return "zendesk", _zendesk
    described = not {"description", "description_text"}.isdisjoint(row)
    if "requester_id" in row and described and not {"conversations", "notes"}.isdisjoint(row):
        return "freshdesk", _freshdesk
    if "conversation_parts" in row and "source" in row:
        return "intercom", _intercom
    if "mapping" in row and "current_node" in row:
        return "chatgpt", _chatgpt
    if "chat_messages" in row:
        return "claude", _claude
    return None


def _zendesk(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("comments", "requester", "tags"))
    asking = row.get("requester_id") or mapping_of(row.get("requester")).get("id")
    turns = [
        ("user" if _author(comment) == asking else "assistant", _first_text(comment, "plain_body", "body", "html_body"))
        for comment in _objects(row["comments"], "comments")
        if comment.get("public", True)
    ]
    known = renamed(row, id=("id",), created=("created_at",), subject=("subject",), status=("status",), tags=("tags",))
    return _talk("zendesk", turns, {**known, "user_id": asking})


def _author(comment: Mapping[str, Any]) -> Any:
    return comment.get("author_id") or mapping_of(comment.get("author")).get("id")


def _freshdesk(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("conversations", "notes", "tags"))
    said = row["conversations"] if "conversations" in row else row["notes"]
    turns = [("user", _first_text(row, "description_text", "description", "description_html"))]
    turns += [
        ("user" if reply.get("incoming") else "assistant", _first_text(reply, "body_text", "body", "body_html"))
        for reply in _objects(said or [], "conversations")
        if not reply.get("private")
    ]
    known = renamed(
        row, id=("id", "display_id"), created=("created_at",), subject=("subject",), status=("status",), tags=("tags",)
    )
    return _talk("freshdesk", turns, {**known, "user_id": row.get("requester_id")})


def _intercom(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("source", "conversation_parts", "tags"))
    source, parts = mapping_of(row["source"]), row["conversation_parts"]
    parts = parts.get("conversation_parts") if isinstance(parts, dict) else parts
    said = [source, *(part for part in _objects(parts or [], "conversation_parts") if part.get("part_type") in _SAID)]
    turns = [("user" if _asks(part) else "assistant", _first_text(part, "body")) for part in said]
    known = renamed(row, id=("id",), created=("created_at",), subject=("title",), status=("state",))
    return _talk("intercom", turns, {**known, "user_id": mapping_of(source.get("author")).get("id")})


def _asks(part: Mapping[str, Any]) -> bool:
    return mapping_of(part.get("author")).get("type") in ("user", "lead", "contact")


def _chatgpt(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("mapping",))
    nodes, at = mapping_of(row["mapping"]), row["current_node"]
    path: list[dict[str, Any]] = []
    while isinstance(at, str) and isinstance(nodes.get(at), dict) and len(path) < len(nodes):
        path.append(mapping_of(nodes[at].get("message")))
        at = nodes[at].get("parent")
    turns = [turn for message in reversed(path) for turn in _of_chatgpt(message)]
    known = renamed(row, id=("conversation_id", "id"), created=("create_time",), subject=("title",))
    return _talk("chatgpt", turns, known)


def _of_chatgpt(message: Mapping[str, Any]) -> Iterator[Turn]:
    """What a message of the path says; nothing for calls of tools, thoughts and what nobody sees."""
    role, content = mapping_of(message.get("author")).get("role"), mapping_of(message.get("content"))
    hidden = mapping_of(message.get("metadata")).get("is_visually_hidden_from_conversation")
    if role not in ("user", "assistant") or hidden or message.get("recipient") not in (None, "all"):
        return
    if content.get("content_type") not in ("text", "multimodal_text"):
        return
    parts = content.get("parts") or []
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise Unreadable("a talk about a picture or a recording that the export does not hold")
    yield role, "\n".join(parts)


def _claude(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("chat_messages",))
    turns = []
    for message in _objects(row["chat_messages"], "chat_messages"):
        blocks, files = _listed(message.get("content")), _listed(message.get("attachments"))
        texts = [str(block.get("text") or "") for block in blocks if block.get("type") == "text"]
        texts = texts or [str(message.get("text") or "")]
        texts += [str(each["extracted_content"]) for each in files if each.get("extracted_content")]
        sender = str(message.get("sender")).casefold()
        turns.append((ROLES.get(sender, sender), "\n".join(texts)))
    known = renamed(row, id=("uuid",), created=("created_at",), subject=("name",))
    return _talk("claude", turns, known)


def _talk(shape: str, turns: Iterable[Turn], metadata: Mapping[str, Any]) -> Conversation:
    """The conversation of turns. Raises Unreadable for one that nobody answered."""
    messages = joined([{"role": role, "content": text} for role, text in turns])
    if not messages:
        raise Unreadable("a talk that nobody answered")
    return Conversation(messages=tuple(messages), metadata=present(metadata), shape=shape)


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Unreadable(f"`{name}` must be a list of objects")
    return value


def _listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none of anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _first_text(said: Mapping[str, Any], *keys: str) -> str:
    """The first of the texts that is there, as plain text."""
    return plain(next((said[key] for key in keys if isinstance(said.get(key), str) and said[key]), ""))


def plain(text: str) -> str:
    """A text without the tags of HTML."""
    if not _TAG.search(text):
        return text.strip()
    bare = html.unescape(_TAG.sub("", _BREAK.sub("\n", text))).replace("\xa0", " ")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in bare.splitlines())).strip()
