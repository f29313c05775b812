"""An answer as one text: what it says, and beneath that its calls of tools as JSON. So people read and correct it, and so an
answer that was rejected is kept beside the one that is learned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunekeeper.text.fingerprints import text_of


def written(text: str | None, calls: Sequence[Any]) -> str:
    """A text and calls of tools as one text; empty without either."""
    told = json.dumps(list(calls), ensure_ascii=False) if calls else ""
    return f"{text}\n\n{told}" if text and text.strip() and told else told or text or ""


def written_message(message: Mapping[str, Any]) -> str:
    """A message of the assistant as one text."""
    calls = message.get("tool_calls")
    return written(text_of(message.get("content")), calls if isinstance(calls, list | tuple) else ())


def called_in(answer: str) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Text and calls of an answer that is written as `written` writes it; no calls where its end is none."""
    text, mark, end = ("", "", answer) if answer.lstrip().startswith("[") else answer.rpartition("\n\n[")
    calls = _listed(f"[{end}" if mark else end)
    functions = [each.get("function") for each in calls if isinstance(each, dict)]
    named = [f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)]
    if not named or len(named) != len(calls):
        return answer, ()
    return text, tuple({"type": "function", **call, "function": _called(call["function"])} for call in calls)


def as_message(answer: str, *, tools: bool) -> dict[str, Any]:
    """An answer that is written as one text as the assistant's message. `tools`: whether there were any to be called; without
    them JSON is no call."""
    text, calls = called_in(answer) if tools else (answer, ())
    said: dict[str, Any] = {"role": "assistant", "content": text if text.strip() or not calls else None}
    return said | ({"tool_calls": list(calls)} if calls else {})


def _listed(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _called(function: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as the text that models write, also where a person wrote an object."""
    given = function.get("arguments", "{}")
    return {**function, "arguments": given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)}
