"""Shapes of a row: what the ecosystem writes, turned into chat messages.

OpenAI chat (`messages`), ShareGPT (`conversations`), Alpaca (`instruction`, `output`), preference rows (`input`,
`preferred_output`), and flat rows with a column per role. A shape is recognised by its keys, row by row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import DataError

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
ROLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "user": ("user", "prompt", "question", "input", "ticket", "request", "instruction", "query", "message", "text"),
    "assistant": ("assistant", "answer", "completion", "output", "response", "reply", "target", "label"),
    "system": ("system", "system_prompt"),
    "id": ("id", "row_id", "ticket_id", "request_id", "uuid"),
    "created": ("created", "created_at", "date", "timestamp", "time"),
    "category": ("category", "topic", "intent"),
}
"""Role → column names that are taken for it, in this order, when no mapping says otherwise."""
MESSAGE_ROLES = ("user", "assistant", "system")


class Unreadable(DataError):
    """A row that cannot become a conversation. Internal to the room: it ends as a finding of kind `broken`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """What a row says, before redaction and checks."""

    messages: tuple[dict[str, Any], ...]
    """Chat messages in order."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """id, created, category and every other column."""
    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions."""
    weight: float = 1.0
    """Sampling weight."""


def resolve_columns(columns: Sequence[str], mapping: Mapping[str, str], where: str) -> dict[str, str]:
    """Role → column of a flat file. `mapping` wins, then names of `ROLE_COLUMNS` in any case.

    Raises DataError naming the column that is missing and the columns that are there.
    """
    present = {column.strip().casefold(): column for column in columns}
    there = ", ".join(columns) or "none"
    chosen: dict[str, str] = {}
    for role, wanted in mapping.items():
        for part in wanted.split(","):
            if part.strip().casefold() not in present:
                raise DataError(
                    f"{where}: no column {part.strip()!r} for {role!r}; columns are: {there}", fix=f"--map {role}=COLUMN"
                )
        chosen[role] = ",".join(present[part.strip().casefold()] for part in wanted.split(","))
    taken = set(chosen.values())
    for role, names in ROLE_COLUMNS.items():
        found = next((present[n] for n in names if n in present and present[n] not in taken), None)
        if role not in chosen and found is not None:
            chosen[role] = found
            taken.add(found)
    for role in ("user", "assistant"):
        if role not in chosen:
            usual = ", ".join(ROLE_COLUMNS[role][:4])
            raise DataError(
                f"{where}: no column for {role!r} (such as {usual}); columns are: {there}", fix=f"--map {role}=COLUMN"
            )
    return chosen


def parse_row(row: Any, mapping: Mapping[str, str]) -> Conversation:
    """A JSON row as a conversation. Raises Unreadable with one sentence."""
    if not isinstance(row, dict):
        raise Unreadable(f"a row must be an object, not {type(row).__name__}")
    if not mapping:
        if "messages" in row:
            return _openai(row)
        if "conversations" in row:
            return _sharegpt(row)
        if "preferred_output" in row:
            return _preference(row)
        if "instruction" in row and "output" in row:
            return _alpaca(row)
    try:
        columns = resolve_columns([str(key) for key in row], mapping, "row")
    except DataError as error:
        raise Unreadable(error.message.removeprefix("row: ")) from None
    return flat_row(row, columns)


def flat_row(row: Mapping[str, Any], columns: Mapping[str, str]) -> Conversation:
    """A row with a column per role. Several columns for the answer (`category,priority`) become one JSON object."""
    messages = []
    for role in ("system", "user", "assistant"):
        if role in columns:
            value = _cell(row, columns[role])
            if role != "system" or value:
                messages.append({"role": role, "content": value})
    used = {column for role in MESSAGE_ROLES for column in columns.get(role, "").split(",")}
    metadata = {str(key): value for key, value in row.items() if key not in used and key is not None and value not in (None, "")}
    metadata |= {role: row[columns[role]] for role in ("id", "created", "category") if role in columns and row.get(columns[role])}
    metadata = {
        key: value
        for key, value in metadata.items()
        if key not in {columns.get(r) for r in ("id", "created")} - {"id", "created"}
    }
    return Conversation(messages=tuple(messages), metadata=metadata)


def _cell(row: Mapping[str, Any], column: str) -> str:
    parts = column.split(",")
    if len(parts) > 1:
        return json.dumps({part: row.get(part) for part in parts}, ensure_ascii=False)
    value = row.get(column)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _openai(row: dict[str, Any]) -> Conversation:
    messages = row["messages"]
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Unreadable("`messages` must be a list of objects")
    return _conversation(row, messages, ("messages",))


def _sharegpt(row: dict[str, Any]) -> Conversation:
    turns = row["conversations"]
    if not isinstance(turns, list) or not all(isinstance(t, dict) for t in turns):
        raise Unreadable("`conversations` must be a list of objects")
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for turn in turns:
        role = SHAREGPT_ROLES.get(str(turn.get("from", turn.get("role"))))
        if role is None:
            raise Unreadable(f"no role is called {turn.get('from')!r}; known: {', '.join(SHAREGPT_ROLES)}")
        messages.append({"role": role, "content": turn.get("value", turn.get("content"))})
    return _conversation(row, messages, ("conversations", "system"))


def _alpaca(row: dict[str, Any]) -> Conversation:
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for pair in row.get("history") or ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Unreadable("`history` must be a list of pairs of question and answer")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]
    return _conversation(row, messages, ("instruction", "input", "output", "system", "history"))


def _preference(row: dict[str, Any]) -> Conversation:
    given, good, bad = row.get("input"), row["preferred_output"], row.get("non_preferred_output")
    asked = given.get("messages") if isinstance(given, dict) else given
    if not isinstance(asked, list) or not isinstance(good, list) or not good:
        raise Unreadable("`input.messages` and `preferred_output` must be lists of messages")
    kept = dict(row)
    if isinstance(given, dict) and given.get("tools"):
        kept["tools"] = given["tools"]
    conversation = _conversation(kept, [*asked, *good], ("input", "preferred_output", "non_preferred_output"))
    if isinstance(bad, list) and bad and isinstance(bad[-1], dict):
        conversation.metadata["rejected"] = bad[-1].get("content")
    return conversation


def _conversation(row: dict[str, Any], messages: list[dict[str, Any]], used: tuple[str, ...]) -> Conversation:
    metadata = row.get("metadata") if isinstance(row.get("metadata"), dict) else {}
    others = {k: v for k, v in row.items() if k not in (*used, "metadata", "tools", "weight", "fingerprint", "source", "split")}
    tools, weight = row.get("tools") or (), row.get("weight", 1.0)
    if not isinstance(tools, list | tuple) or not all(isinstance(t, dict) for t in tools):
        raise Unreadable("`tools` must be a list of objects")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise Unreadable(f"`weight` must be a number from 0 to 1, not {weight!r}")
    return Conversation(
        messages=tuple(messages), metadata={**others, **(metadata or {})}, tools=tuple(tools), weight=float(weight)
    )
