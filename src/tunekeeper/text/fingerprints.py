"""Fingerprints: when two conversations are the same, and when two prompts ask the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunekeeper.core.ids import digest_json

_KEPT = ("role", "content", "name", "tool_calls", "tool_call_id")
_SPACES = re.compile(r"\s+")


def fingerprint(messages: Iterable[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
    """`sha256:<64 hex digits>` of a conversation: role, content, name and tool calls of each message, and the tool definitions.

    Line ends and outer white space of a text do not count; letters, case and inner spaces do.
    """
    canonical: dict[str, Any] = {"messages": [_canonical(message) for message in messages]}
    if tools:
        canonical["tools"] = [dict(tool) for tool in tools]
    return digest_json(canonical)


def _canonical(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: message[key] for key in _KEPT if message.get(key) is not None}
    if isinstance(kept.get("content"), str):
        kept["content"] = unicodedata.normalize("NFC", kept["content"].replace("\r\n", "\n")).strip()
    return kept


def normalise(text: str) -> str:
    """The text as a reader compares it: compatibility forms, case and runs of white space do not count, nor do outer marks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _SPACES.sub(" ", folded).strip(" .!?,;:-\"'")


def text_of(content: Any) -> str:
    """The plain text of a message's content: a string as it is, the text parts of a list joined by line ends, else empty."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""


def attachments_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of a message that are no text: pictures, sounds, files."""
    content = message.get("content")
    return [p for p in content if isinstance(p, dict) and "text" not in p] if isinstance(content, list) else []


def answer_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last message where it is the assistant's, else empty."""
    if not messages or messages[-1].get("role") != "assistant":
        return ""
    return text_of(messages[-1].get("content"))


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """What was asked: the texts before the last answer, without system messages, joined by line ends."""
    before = messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages
    return "\n".join(text_of(m.get("content")) for m in before if m.get("role") not in ("system", "developer"))


def prompt_key(messages: Sequence[Mapping[str, Any]]) -> str:
    """The normalised prompt: rows that share it ask the same question, about the same pictures where it has any."""
    asked, shown = normalise(prompt_of(messages)), attached(messages)
    return f"{asked}\x00{shown}" if shown else asked


def attached(messages: Sequence[Mapping[str, Any]]) -> str:
    """A digest of what is asked besides words: pictures, sounds, files; empty when there are none."""
    listed = [message for message in messages if isinstance(message.get("content"), list)]
    if not listed:
        return ""
    asked = [part for message in listed if message.get("role") != "assistant" for part in message["content"]]
    parts = [part for part in asked if isinstance(part, dict) and not isinstance(part.get("text"), str)]
    return digest_json(parts) if parts else ""
