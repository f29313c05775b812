"""Shapes of a row: what the ecosystem writes, turned into chat messages.

OpenAI chat (`messages`), Alpaca (`instruction`, `output`), ShareGPT (data/sharegpt.py), preferences (data/preferences.py),
exports of other tools (data/outside.py), and flat rows with a column per role. A shape is recognised by its keys, row by row.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import DataError, UserError

ROLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "user": ("user", "prompt", "question", "input", "ticket", "request", "instruction", "query", "message", "text"),
    "assistant": ("assistant", "answer", "completion", "output", "response", "reply", "target", "label", "expected_output"),
    "system": ("system", "system_prompt"),
    "id": ("id", "row_id", "ticket_id", "request_id", "uuid"),
    "created": ("created", "created_at", "date", "timestamp", "time"),
    "category": ("category", "topic", "intent"),
    "said_by": ("said_by", "edited_by", "corrected_by", "reviewed_by", "reviewer", "annotator"),
    "said_at": ("said_at", "edited_at", "corrected_at", "reviewed_at"),
}
"""Role → column names that are taken for it, in this order, when no mapping says otherwise."""
MESSAGE_ROLES = ("user", "assistant", "system")
MAX_DEPTH = 64
"""Levels of lists and objects in one row."""
_NESTED = (
    "messages",
    "conversations",
    "conversation",
    "tools",
    "metadata",
    "history",
    "input",
    "output",
    "request",
    "response",
    "choices",
)
"""Cells of a table that may hold JSON text."""


class Unreadable(DataError):
    """A row that cannot become a conversation. Internal to the room: it ends as a finding of kind `broken`."""


class NotJson(Unreadable):
    """A text that is no JSON."""


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
    shape: str = ""
    """Name of the shape it was recognised by: openai, sharegpt, alpaca, preference, columns, or a tool's export."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role → column, of a flat row."""


def resolve_columns(columns: Sequence[str], mapping: Mapping[str, str], where: str) -> dict[str, str]:
    """Role → column of a flat file. `mapping` wins, then names of `ROLE_COLUMNS` in any case.

    Raises DataError naming the column that is missing and the columns that are there, and where several columns could be the
    question or the answer: a guess is only made where it is sure.
    """
    chosen, open_ = guess_columns(columns, mapping, where)
    if not open_:
        return chosen
    role, names = next(iter(open_.items()))
    there = ", ".join(columns) or "none"
    if not names:
        usual = ", ".join(ROLE_COLUMNS[role][:4])
        raise DataError(f"{where}: no column for {role!r} (such as {usual}); columns are: {there}", fix=f"--map {role}=COLUMN")
    line = " ".join(f"--map {role}={names[0] if names else 'COLUMN'}" for role, names in open_.items())
    raise DataError(f"{where}: more than one column could be {role!r}: {', '.join(names)}", fix=line)


def guess_columns(columns: Sequence[str], mapping: Mapping[str, str], where: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Role → column as told and as guessed, and what stays open: question or answer → the columns that could be it, likeliest
    first. Raises DataError for a told column that is missing."""
    chosen = _told(columns, {column.strip().casefold(): column for column in reversed(columns)}, mapping, where)
    present = {_joined(column): column for column in reversed(columns)}
    taken = set(chosen.values())
    open_: dict[str, list[str]] = {}
    for role, names in ROLE_COLUMNS.items():
        found = [present[name] for name in map(_joined, names) if name in present and present[name] not in taken]
        if role in chosen:
            continue
        if role in ("user", "assistant") and (not found or (len(found) > 1 and found[0].strip().casefold() != role)):
            open_[role] = found
        if found:
            chosen[role] = found[0]
            taken.add(found[0])
    return chosen, open_


def _joined(column: str) -> str:
    """The name of a column without what joins its words: `Created At`, `created_at` and `createdAt` are one."""
    return re.sub(r"[\s_-]+", "", column.casefold())


def _told(columns: Sequence[str], present: Mapping[str, str], mapping: Mapping[str, str], where: str) -> dict[str, str]:
    told: dict[str, str] = {}
    for role, wanted in mapping.items():
        for part in wanted.split(","):
            if part.strip().casefold() not in present:
                near = [present[name] for name in difflib.get_close_matches(part.strip().casefold(), present, 1)]
                meant = f", did you mean {near[0]!r}?" if near else ";"
                raise DataError(
                    f"{where}: no column {part.strip()!r} for {role!r}{meant} columns are: {', '.join(columns) or 'none'}",
                    fix=f"--map {role}={near[0] if near else 'COLUMN'}",
                )
        told[role] = ",".join(present[part.strip().casefold()] for part in wanted.split(","))
    return told


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Raise UserError for a field that no row has, with the near name."""
    for role in mapping:
        if role not in ROLE_COLUMNS:
            near = difflib.get_close_matches(role, ROLE_COLUMNS, 1)
            raise UserError(
                f"no field is called {role!r}; fields are: {', '.join(ROLE_COLUMNS)}",
                fix=f"--map {near[0] if near else 'user'}={mapping[role]}",
            )


def parse_row(row: Any, mapping: Mapping[str, str]) -> Conversation:
    """A JSON row as a conversation. Raises Unreadable with one sentence."""
    if not isinstance(row, dict):
        raise Unreadable(f"a row must be an object, not {type(row).__name__}")
    if _told_columns(mapping).isdisjoint(row):
        shaped = _shaped(row)
        if shaped is not None:
            return shaped
    try:
        columns = resolve_columns([str(key) for key in row], mapping, "row")
    except DataError as error:
        meant = f": {error.fix}" if error.fix and "could be" in error.message else ""
        raise Unreadable(error.message.removeprefix("row: ") + meant) from None
    return flat_row(row, columns)


def _shaped(row: dict[str, Any]) -> Conversation | None:
    """The conversation of a row with a shape of its own; None for a flat one."""
    from tunekeeper.data import outside, preferences, sharegpt  # here, since they build on this module's values

    found = outside.recognise(row)
    if found is not None:
        return found[1](row)
    if preferences.holds(row):
        return preferences.conversation_of(row)
    if preferences.is_completion(row):
        return preferences.completion_of(row)
    if "messages" in row:
        return _openai(unpacked(row, ("messages", "tools", "metadata")))
    if "conversations" in row or "conversation" in row:
        return sharegpt.conversation_of(row)
    if "instruction" in row and "output" in row:
        return _alpaca(row)
    return None


def is_shaped(columns: Sequence[str], mapping: Mapping[str, str]) -> bool:
    """Whether the header of a table names the fields of a shape: its cells hold JSON text, no column is to be guessed."""
    from tunekeeper.data import outside, preferences

    if not _told_columns(mapping).isdisjoint(columns):
        return False
    known = not {"messages", "conversations", "conversation"}.isdisjoint(columns) or {"instruction", "output"} <= set(columns)
    return known or preferences.holds(columns) or outside.recognise(dict.fromkeys(columns, "")) is not None


def is_flat(row: Mapping[str, Any], mapping: Mapping[str, str]) -> bool:
    """Whether a row has no shape of its own, so that its columns have to be told apart."""
    from tunekeeper.data import outside

    return not is_shaped(list(row), mapping) and (not _told_columns(mapping).isdisjoint(row) or outside.recognise(row) is None)


def _told_columns(mapping: Mapping[str, str]) -> set[str]:
    return {part.strip() for columns in mapping.values() for part in columns.split(",")}


def unpacked(row: Mapping[str, Any], keys: Sequence[str] = _NESTED) -> dict[str, Any]:
    """The row with lists and objects in place of the JSON text in `keys`; other texts stay. Raises Unreadable for a bomb."""
    made = dict(row)
    for key in keys:
        value = made.get(key)
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                made[key] = parse_json(value)
            except NotJson:
                continue
    return made


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises Unreadable for a bomb, a NUL or a lone surrogate, NotJson for what is no JSON.

    A number beyond 64 bits is none: no JSON that we write could hold it.
    """
    if "\x00" in text:
        raise Unreadable(f"a NUL character at column {text.index(chr(0)) + 1}")
    if depth_of(text) > MAX_DEPTH:
        raise Unreadable(f"lists and objects are nested more than {MAX_DEPTH} deep")
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=_small_integer)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
        if "\\u0000" in text and "\\u0000" in json.dumps(value).replace("\\\\", ""):
            raise Unreadable("a NUL character in a text, written \\u0000")
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON at column {error.pos + 1}: {error.msg}") from None
    except UnicodeEncodeError:
        raise Unreadable("half of a surrogate pair: the text cannot be written as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise NotJson(f"not JSON: {error}") from None
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _small_integer(digits: str) -> int:
    if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 64:
        raise ValueError(f"an integer of {len(digits)} digits, at most 64 bits are read")
    return int(digits)


# A string without an end matches to the end of the text: every quote inside it would be tried as a beginning otherwise.
_STRUCTURE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def depth_of(text: str) -> int:
    """Deepest nesting outside strings; counted before parsing, so that a bomb is never built."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for match in _STRUCTURE.finditer(text):
        first = match[0][0]
        if first != '"':
            depth += 1 if first in "[{" else -1
            deepest = max(deepest, depth)
    return deepest


def flat_row(row: Mapping[str, Any], columns: Mapping[str, str]) -> Conversation:
    """A row with a column per role. Several columns for the answer (`category,priority`) become one JSON object."""
    told = {role: _cell(row, columns[role]) for role in MESSAGE_ROLES if role in columns}
    earlier = _earlier(row["history"]) if isinstance(row.get("history"), list) else []
    said = [{"role": role, "content": told[role]} for role in ("user", "assistant") if role in told]
    messages = [*([{"role": "system", "content": told["system"]}] if told.get("system") else []), *earlier, *said]
    used = {column for role in MESSAGE_ROLES for column in columns.get(role, "").split(",")} | ({"history"} if earlier else set())
    metadata = {str(key): value for key, value in row.items() if key not in used and key is not None and value not in (None, "")}
    named = ("id", "created", "category", "said_by", "said_at")
    metadata |= {role: row[columns[role]] for role in named if role in columns and row.get(columns[role])}
    renamed = ({columns.get(role) for role in named if role != "category"} - set(named)) - {"request_id"}
    metadata = {key: value for key, value in metadata.items() if key not in renamed}
    return Conversation(messages=tuple(messages), metadata=metadata, shape="columns", columns=columns)


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
    shape = "openpipe" if row.get("split") in ("TRAIN", "TEST") else "openai"
    system, used = row.get("system"), ["messages", "rejected_message"]
    if isinstance(system, str) and system and messages and messages[0].get("role") not in ("system", "developer"):
        messages, used = [{"role": "system", "content": system}, *messages], [*used, "system"]
    made = conversation_from(row, messages, used, shape)
    rejected = row.get("rejected_message")
    if isinstance(rejected, dict) and rejected.get("content"):
        made.metadata["rejected"] = rejected["content"]
    return made


def _alpaca(row: dict[str, Any]) -> Conversation:
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    messages += _earlier(row.get("history") or ())
    question = "\n".join(_cell(row, key) for key in ("instruction", "input") if row.get(key))
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]
    return conversation_from(row, messages, ("instruction", "input", "output", "system", "history"), "alpaca")


def _earlier(history: Any) -> list[dict[str, Any]]:
    """The messages of what was said before. Raises Unreadable."""
    if not isinstance(history, list | tuple) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in history):
        raise Unreadable("`history` must be a list of pairs of question and answer")
    return [{"role": role, "content": text} for pair in history for role, text in zip(("user", "assistant"), pair, strict=True)]


def conversation_from(row: dict[str, Any], messages: list[dict[str, Any]], used: Sequence[str], shape: str) -> Conversation:
    """The conversation of `messages`, what else the row holds as metadata; `used`: keys that the messages were made of. Raises
    Unreadable."""
    metadata = row.get("metadata") if isinstance(row.get("metadata"), dict) else {}
    others = {k: v for k, v in row.items() if k not in (*used, "metadata", "tools", "weight", "fingerprint", "source", "split")}
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise Unreadable(f"`weight` must be a number from 0 to 1, not {weight!r}")
    return Conversation(
        messages=tuple([refusing(message) if "refusal" in message else message for message in messages]),
        metadata={**others, **(metadata or {})},
        tools=as_tools(row.get("tools") or ()),
        weight=float(weight),
        shape=shape,
    )


def refusing(message: dict[str, Any]) -> dict[str, Any]:
    """A message that says under `refusal` alone what it refuses, with that as its content; any other as it is."""
    refused = message.get("refusal")
    return {**message, "content": refused} if isinstance(refused, str) and refused and not message.get("content") else message


def as_tools(tools: Any) -> tuple[dict[str, Any], ...]:
    """Tool definitions in OpenAI form; JSON text and bare functions (`name`, `parameters`) are taken too. Raises Unreadable."""
    found = unpacked({"tools": tools}, ("tools",))["tools"]
    if not isinstance(found, list | tuple) or not all(isinstance(tool, dict) for tool in found):
        raise Unreadable("`tools` must be a list of objects")
    keys = ("name", "description", "parameters", "strict")
    return tuple(
        {"type": "function", "function": {key: tool[key] for key in keys if tool.get(key) is not None}}
        if "name" in tool and "function" not in tool
        else tool
        for tool in found
    )
