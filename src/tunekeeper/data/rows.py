"""Shapes of a row: what the ecosystem writes, turned into chat messages.

OpenAI chat (`messages`), Alpaca (`instruction`, `output`), ShareGPT (data/sharegpt.py), preferences (data/preferences.py),
exports of other tools (data/outside.py), records of annotation tools (data/labelled.py), other providers' messages
(data/providers.py), talks under other names or in one text (data/dialogues.py), and flat rows with a column per role. A shape is
recognised by its keys, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data import (
    alpaca,
    batches,
    dialogues,
    labelled,
    outside,
    pictures,
    preferences,
    providers,
    sharegpt,
    threads,
    transcripts,
)
from tunekeeper.data.columns import answers, named_by, resolve_columns
from tunekeeper.data.conversations import Conversation, Unreadable, by_row, cell_of, conversation_from, earlier, opened, unpacked
from tunekeeper.data.exchanges import asked_in, exchange

MESSAGE_ROLES = ("user", "assistant", "system", "context")
"""Fields of a flat row that its messages are made of."""
_NAMED = ("id", "created", "category", "said_by", "said_at")
"""Fields of a flat row that become metadata under these names, whatever their columns are called."""
_BESIDE = ("response", "completion", "output", "answer")
"""Under what an answer stands beside the messages that ask for it."""

_OF_MESSAGE = frozenset(
    ("role", "content", "parts", "name", "tool_calls", "tool_call_id", "function_call", "weight", "refusal", "from", "value")
)
"""All that a message may hold."""


def parse_row(row: Any, mapping: Mapping[str, str]) -> Conversation:
    """A JSON row as a conversation. Raises Unreadable with one sentence."""
    if isinstance(row, list) and row and all(map(is_message, row)):
        row = {"conversations" if "from" in row[0] else "messages": row}
    if not isinstance(row, dict):
        raise Unreadable(f"a row must be an object, not {type(row).__name__}")
    if (tool := labelled.tool_of(row)) is not None:
        return replace(parse_row(labelled.flattened(row), mapping), shape=tool)
    if _told_columns(mapping).isdisjoint(row):
        shaped = _shaped(row)
        if shaped is not None:
            return shaped
    try:
        columns = resolve_columns([str(key) for key in row], mapping, "row")
    except DataError as error:
        if threads.holds(row, mapping):
            return threads.piece_of(row)
        meant = f": {error.fix}" if error.fix and "could be" in error.message else ""
        raise Unreadable(error.message.removeprefix("row: ") + meant) from None
    return flat_row(row, columns)


def is_message(value: Any) -> bool:
    """Whether a value is one message and nothing more: who speaks, and what."""
    if not isinstance(value, dict) or not value.keys() <= _OF_MESSAGE:
        return False
    said = not value.keys().isdisjoint(("content", "parts", "tool_calls"))
    return ("role" in value and said) or {"from", "value"} <= value.keys()


def _shaped(row: dict[str, Any]) -> Conversation | None:
    """The conversation of a row with a shape of its own; None for a flat one."""
    found = outside.recognise(row)
    if found is not None:
        return found[1](row)
    if preferences.holds(row):
        return preferences.conversation_of(row)
    if preferences.is_completion(row):
        return preferences.completion_of(row)
    if "messages" in row:
        return _openai(unpacked(row, ("messages", "tools", "metadata")))
    if (key := transcript_in(row)) is not None and (turns := dialogues.said_in(row[key])) is not None:
        return conversation_from(row, turns, (key,), "transcript")
    if "conversations" in row or "conversation" in row:
        return sharegpt.conversation_of(row)
    if alpaca.holds(row):
        return alpaca.conversation_of(row)
    return dialogues.conversation_of(row)


def transcript_in(row: Mapping[str, Any]) -> str | None:
    """The field with a text in which all stands that a row can say; None where there is none, or a column for an answer."""
    key = next((key for key in dialogues.TEXTS if isinstance(row.get(key), str)), None)
    return None if key is None or answers(map(str, row)) else key


def is_shaped(columns: Sequence[str], mapping: Mapping[str, str]) -> bool:
    """Whether the header of a table names the fields of a shape: its cells hold JSON text, no column is to be guessed."""
    if not _told_columns(mapping).isdisjoint(columns):
        return False
    known = not {"messages", "conversations", "conversation"}.isdisjoint(columns) or alpaca.holds(columns)
    blank = dict.fromkeys(columns, "")
    known = known or transcript_in(blank) is not None or threads.holds(blank, mapping)
    return known or preferences.holds(columns) or outside.recognise(dict.fromkeys(columns, "")) is not None


def is_flat(row: Mapping[str, Any], mapping: Mapping[str, str]) -> bool:
    """Whether a row has no shape of its own, so that its columns have to be told apart."""
    if labelled.tool_of(row) is not None or batches.asked_in(row) is not None:
        return False
    return not is_shaped(list(row), mapping) and (not _told_columns(mapping).isdisjoint(row) or outside.recognise(row) is None)


def _told_columns(mapping: Mapping[str, str]) -> set[str]:
    return named_by(mapping.values())


def flat_row(row: Mapping[str, Any], columns: Mapping[str, str]) -> Conversation:
    """A row with a column per role. Several columns for the answer (`category,priority`) become one JSON object; what the
    question is about (`context`) stands below it, as in Alpaca."""
    told = {role: cell_of(row, columns[role]) for role in MESSAGE_ROLES if role in columns}
    told["assistant"] = _one_answer(row, columns["assistant"], told["assistant"])
    before = earlier(row["history"]) if isinstance(row.get("history"), list) else []
    if (talk := _talk_in(row.get(columns["user"]))) is not None:
        before, told = [*before, *talk], {role: text for role, text in told.items() if role != "user"}
    if "user" in told and (plain := transcripts.rendered(told["user"], told["assistant"])) is not None:
        before, told = [*before, *plain[0][:-1]], {**told, "user": plain[0][-1]["content"], "assistant": plain[1]}
    beside = told.pop("context", "")
    passages = row.get(columns.get("context", ""))
    if isinstance(passages, list) and all(isinstance(each, str) for each in passages):
        beside = "\n".join(passages)
    if beside and "user" in told:
        told["user"] = f"{told['user']}\n{beside}"
    said = [{"role": role, "content": told[role]} for role in ("user", "assistant") if role in told]
    messages = [*([{"role": "system", "content": told["system"]}] if told.get("system") else []), *before, *said]
    roles = MESSAGE_ROLES if talk is None else MESSAGE_ROLES[:3]
    used = named_by(columns[role] for role in roles if role in columns) | ({"history"} if before else set())
    used |= {columns[role] for role in _NAMED if role in columns and role != "category"} - {*_NAMED, "request_id"}
    metadata = {str(key): value for key, value in row.items() if key not in used and key is not None and value not in (None, "")}
    metadata |= {role: row[columns[role]] for role in _NAMED if role in columns and row.get(columns[role])}
    return Conversation(messages=tuple(messages), metadata=metadata, shape="columns", columns=columns)


def _one_answer(row: Mapping[str, Any], column: str, told: str) -> str:
    """The answer of a row: the first of several as good ones (OpenAI's evals). Raises Unreadable for the place of a choice."""
    value = row.get(column)
    if isinstance(value, str):
        return told
    if column.strip().casefold() == "ideal" and isinstance(value, list) and value and isinstance(value[0], str):
        return value[0]
    choices = next((key for key in ("choices", "options") if isinstance(row.get(key), list)), None)
    if choices is not None and isinstance(value, int):
        raise Unreadable(
            f"the answer {value} is a place in `{choices}`, not a text: write the question with its choices, and the answer"
        )
    return told


def _talk_in(cell: Any) -> list[dict[str, Any]] | None:
    """The messages that a cell holds in place of a question, as a list or as JSON text; None for any other."""
    listed = opened(cell)
    return asked_in(listed) if isinstance(listed, list) and listed and all(map(is_message, listed)) else None


def _openai(row: dict[str, Any]) -> Conversation:
    messages = by_row(row["messages"])
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Unreadable("`messages` must be a list of objects")
    beside = next((key for key in _BESIDE if row.get(key)), None)
    if beside is not None and messages and messages[-1].get("role") in ("user", "tool"):
        answer = exchange("", [], row[beside], metadata={}, tools=()).messages
        row, messages = {key: value for key, value in row.items() if key != beside}, [*messages, *answer]
    shape = "openpipe" if row.get("split") in ("TRAIN", "TEST") else "openai"
    used = ["messages", "rejected_message", "rejected_response"]
    key = "system"
    if providers.is_foreign(messages):
        key = "context" if any("author" in message for message in messages) else key  # Vertex, before Gemini
        messages = providers.messages_of(messages)
    system = providers.instruction_text(row.get(key))
    if system and messages and messages[0].get("role") not in ("system", "developer"):
        messages, used = [{"role": "system", "content": system}, *messages], [*used, key]
    made = conversation_from(row, pictures.pictured(messages, row), [*used, *pictures.shown(messages, row)], shape)
    rejected = row.get("rejected_message") or row.get("rejected_response")
    rejected = preferences.rejected_in(rejected) if isinstance(rejected, dict) else rejected
    if isinstance(rejected, str) and rejected:
        made.metadata["rejected"] = rejected
    return made
