"""Shapes of a row: what the ecosystem writes, turned into chat messages.

OpenAI chat (`messages`), Alpaca (`instruction`, `output`), ShareGPT (data/sharegpt.py), preferences (data/preferences.py),
exports of other tools (data/outside.py), records of annotation tools (data/labelled.py), other providers' messages
(data/providers.py), talks under other names or in one text (data/dialogues.py), and flat rows with a column per role. A shape is
recognised by its keys, row by row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
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
    spans,
    threads,
    transcripts,
)
from tunekeeper.data.columns import answers, as_option, named_by, resolve_columns, tells_both
from tunekeeper.data.conversations import Conversation, Unreadable, by_row, cell_of, conversation_from, earlier, opened, unpacked
from tunekeeper.data.exchanges import asked_in, exchange

MESSAGE_ROLES = ("user", "assistant", "system", "context")
"""Fields of a flat row that its messages are made of."""
_NAMED = ("id", "created", "category", "said_by", "said_at")
"""Fields of a flat row that become metadata under these names, whatever their columns are called."""
_BESIDE = ("response", "completion", "output", "answer")
"""Under what an answer stands beside the messages that ask for it."""
_SPEAKING = ("system", "developer", "user", "assistant", "tool", "function")
"""Roles of messages."""

_OF_MESSAGE = frozenset(
    ("role", "content", "parts", "name", "tool_calls", "tool_call_id", "function_call", "weight", "refusal", "from", "value")
)
"""All that a message may hold."""
_CHOICE = re.compile(r"(?:option|choice|answer|op)?[\s_-]*([a-j])", re.IGNORECASE)
"""Names of columns with a choice each."""
_LETTER = re.compile(r"[(\[]?([A-Ja-j])[)\].]?")
"""An answer that is the letter of a choice."""


def parse_row(row: Any, mapping: Mapping[str, str]) -> Conversation:
    """A JSON row as a conversation. Raises Unreadable with one sentence."""
    if isinstance(row, list) and row and all(map(is_message, row)):
        row = {"conversations" if "from" in row[0] else "messages": row}
    if isinstance(row, list) and len(row) > 1 and all(isinstance(cell, str) for cell in row):
        row = {str(place): cell for place, cell in enumerate(row, 1)}
        if not mapping and _is_pair(row.values()):
            return flat_row(row, {"user": "1", "assistant": "2"})
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
        if is_message(row):
            raise Unreadable("one message, and nothing says of which conversation, such as `conversation_id`") from None
        if spans.is_one(row):
            raise Unreadable("a span that holds no messages of a model") from None
        meant = f": {error.fix}" if error.fix and error.fix.startswith("--map ") and "=COLUMN" not in error.fix else ""
        raise Unreadable(error.message.removeprefix("row: ") + meant) from None
    return flat_row(row, columns)


def _is_pair(cells: Collection[str]) -> bool:
    """Whether a row without names is a question and its answer: two texts, and not the names of columns."""
    return len(cells) == 2 and all(cell.strip() for cell in cells) and not tells_both(cells, {})


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
    told["assistant"] = _one_answer(row, columns, told)
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
    rest = {str(key): value for key, value in row.items() if key not in used and key is not None and value not in (None, "")}
    shown = pictures.shown(messages, rest)
    metadata = {key: value for key, value in rest.items() if key not in shown} if shown else dict(rest)
    metadata |= {role: row[columns[role]] for role in _NAMED if role in columns and row.get(columns[role])}
    asked = pictures.pictured(messages, rest)
    return Conversation(messages=tuple(asked), metadata=metadata, shape="columns", columns=columns)


def _one_answer(row: Mapping[str, Any], columns: Mapping[str, str], told: Mapping[str, str]) -> str:
    """The answer of a row: the first of several as good ones (OpenAI's evals). Raises Unreadable for the place or the letter of a
    choice that nobody is asked about."""
    value = row.get(columns["assistant"])
    if columns["assistant"].strip().casefold() == "ideal" and isinstance(value, list) and value and isinstance(value[0], str):
        return value[0]
    letter = _LETTER.fullmatch(value.strip()) if isinstance(value, str) else None
    if letter is None and not isinstance(value, int):
        return told["assistant"]
    choices = {key: row[key] for key in ("choices", "options") if isinstance(row.get(key), list | dict)}
    if letter is not None and not choices:
        named = {key: match[1].casefold() for key in row if (match := _CHOICE.fullmatch(str(key))) and row[key] not in (None, "")}
        choices = {key: row[key] for key in named} if {"a", "b", letter[1].casefold()} <= set(named.values()) else {}
    asked = _asks(told.get("user", ""), choices, "" if letter is None else letter[1])
    if choices and not asked and not named_by([columns["user"]]).issuperset(choices):
        line = as_option("user", ",".join(map(str, (columns["user"], *choices))))
        raise Unreadable(f"the answer {value!r} stands for a choice, and the choices are not asked: {line}")
    return told["assistant"]


def _asks(question: str, choices: Mapping[str, Any], letter: str) -> bool:
    """Whether a question names each of the choices, with their letters where a `letter` answers."""
    found = [text for value in choices.values() for text in _texts(value)]
    marks = {"A", "B", letter.upper()} if letter else ()
    marked = all(re.search(rf"(?<![A-Za-z]){mark}(?![A-Za-z])", question, re.IGNORECASE) for mark in marks)
    return bool(found) and marked and all(text in question for text in found)


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | dict):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in _texts(each)]
    return [str(value)]


def _talk_in(cell: Any) -> list[dict[str, Any]] | None:
    """The messages that a cell holds in place of a question, as a list or as JSON text; None for any other."""
    listed = opened(cell)
    return asked_in(listed) if isinstance(listed, list) and listed and all(map(_is_turn, listed)) else None


def _is_turn(value: Any) -> bool:
    """Whether a value is a message, also one that an API wrote with more beside it."""
    return is_message(value) or (isinstance(value, dict) and "content" in value and value.get("role") in _SPEAKING)


def _openai(row: dict[str, Any]) -> Conversation:
    messages = by_row(row["messages"])
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Unreadable("`messages` must be a list of objects")
    beside = next((key for key in _BESIDE if row.get(key)), None)
    if beside is not None and messages and messages[-1].get("role") in ("user", "tool"):
        answer = exchange("", [], row[beside], metadata={}, tools=()).messages
        row, messages = {key: value for key, value in row.items() if key != beside}, [*messages, *answer]
    shape = "openpipe" if row.get("split") in ("TRAIN", "TEST") else "openai"
    used = ["messages", "rejected_message", "rejected_messages", "rejected_response"]
    key = "system"
    if providers.is_foreign(messages):
        key = "context" if any("author" in message for message in messages) else key  # Vertex, before Gemini
        messages = providers.messages_of(messages)
    system = providers.instruction_text(row.get(key))
    if system and messages and messages[0].get("role") not in ("system", "developer"):
        messages, used = [{"role": "system", "content": system}, *messages], [*used, key]
    made = conversation_from(row, pictures.pictured(messages, row), [*used, *pictures.shown(messages, row)], shape)
    rejected = row.get("rejected_message") or row.get("rejected_messages") or row.get("rejected_response")
    rejected = rejected[-1] if isinstance(rejected, list) and rejected else rejected
    rejected = preferences.rejected_in(rejected) if isinstance(rejected, dict) else rejected
    if isinstance(rejected, str) and rejected:
        made.metadata["rejected"] = rejected
    return made
