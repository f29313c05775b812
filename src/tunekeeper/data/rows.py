"""Shapes of a row: what the ecosystem writes, turned into chat messages.

OpenAI chat (`messages`), Alpaca (`instruction`, `output`), ShareGPT (data/sharegpt.py), preferences (data/preferences.py),
exports of other tools (data/outside.py), other providers' messages (data/providers.py), one text of marked turns
(data/transcripts.py), and flat rows with a column per role. A shape is recognised by its keys, row by row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data.columns import answers, resolve_columns

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
    "contents",
    "systemInstruction",
    "system_instruction",
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
    from tunekeeper.data import outside, preferences, sharegpt, transcripts  # here, since they build on this module's values

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
    if is_transcript(row) and (turns := transcripts.turns_of(row["text"])) is not None:
        return conversation_from(row, turns, ("text",), "transcript")
    return None


def is_transcript(row: Mapping[str, Any]) -> bool:
    """Whether all that a row can say is in its `text`: it has no column for an answer."""
    return isinstance(row.get("text"), str) and not answers(map(str, row))


def is_shaped(columns: Sequence[str], mapping: Mapping[str, str]) -> bool:
    """Whether the header of a table names the fields of a shape: its cells hold JSON text, no column is to be guessed."""
    from tunekeeper.data import outside, preferences

    if not _told_columns(mapping).isdisjoint(columns):
        return False
    known = not {"messages", "conversations", "conversation"}.isdisjoint(columns) or {"instruction", "output"} <= set(columns)
    known = known or is_transcript(dict.fromkeys(columns, ""))
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
    from tunekeeper.data import providers

    shape = "openpipe" if row.get("split") in ("TRAIN", "TEST") else "openai"
    used = ["messages", "rejected_message"]
    key = "system"
    if providers.is_foreign(messages):
        key = "context" if any("author" in message for message in messages) else key  # Vertex, before Gemini
        messages = providers.messages_of(messages)
    system = providers.instruction_text(row.get(key))
    if system and messages and messages[0].get("role") not in ("system", "developer"):
        messages, used = [{"role": "system", "content": system}, *messages], [*used, key]
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
    return tuple(made for tool in found for made in _defined(tool))


def _defined(tool: dict[str, Any]) -> list[dict[str, Any]]:
    """A definition in OpenAI's form; of Gemini's `functionDeclarations` all of them."""
    declared = tool.get("functionDeclarations", tool.get("function_declarations"))
    if isinstance(declared, list):
        return [made for each in declared if isinstance(each, dict) for made in _defined(each)]
    bare = tool["toolSpec"] if isinstance(tool.get("toolSpec"), dict) else tool
    if "name" not in bare or "function" in bare:
        return [tool]
    function = {key: bare[key] for key in ("name", "description", "strict") if bare.get(key) is not None}
    schema = next((bare[key] for key in ("parameters", "input_schema", "inputSchema") if bare.get(key) is not None), None)
    if schema is not None:
        function["parameters"] = schema["json"] if isinstance(schema, dict) and "json" in schema else schema
    return [{"type": "function", "function": function}]
