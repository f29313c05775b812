"""A conversation as a row says it, and what every shape of a row is read with: JSON within bounds, tools, metadata."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data.calls import modern

MAX_DEPTH = 64
"""Levels of lists and objects in one row."""
MAX_PRINTED = 1 << 20
"""Characters of a list that Python printed."""
_PRINTED = re.compile(r"\s*\[\s*\{\s*'(?:role|content|from|value|type)'\s*:")
_APART = re.compile(r"\}[ \t\r]*\n\s*\{")
_NESTED = (
    "messages",
    "conversations",
    "conversation",
    "tools",
    "metadata",
    "history",
    "request",
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
    split: str = ""
    """The split that the row says it is of; empty where it does not, or says so in its metadata."""


def unpacked(row: Mapping[str, Any], keys: Sequence[str] = _NESTED) -> dict[str, Any]:
    """The row with lists and objects in place of the JSON text in `keys`; other texts stay. Raises Unreadable for a bomb."""
    made = dict(row)
    for key in keys:
        if key in made:
            made[key] = opened(made[key])
    return made


def opened(value: Any) -> Any:
    """The list or object of a JSON text; anything else as it is. Raises Unreadable for a bomb."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return parse_json(value)
    except NotJson:
        return _printed(value)


def _printed(text: str) -> Any:
    """A list of objects as Python prints it, as pandas writes one into a CSV; the text where it is none."""
    if _PRINTED.match(text) is None or len(text) > MAX_PRINTED:
        return text
    try:
        made = ast.literal_eval(_APART.sub("}, {", text.strip()))  # numpy prints no commas between them
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return made if isinstance(made, list) and all(isinstance(each, dict) for each in made) else text


def by_row(value: Any) -> Any:
    """A list of objects that is written field by field (`Sequence` of Hugging Face), one object an element; else as it is."""
    lists = list(value.values()) if isinstance(value, dict) else []
    if not lists or not all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
        return value
    return [dict(zip(value, fields, strict=True)) for fields in zip(*lists, strict=True)]


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises Unreadable for a bomb, a NUL or a lone surrogate, NotJson for what is no JSON.

    A number beyond 64 bits is none: no JSON that we write could hold it.
    """
    if "\x00" in text:
        raise Unreadable(f"a NUL character at column {text.index(chr(0)) + 1}")
    if depth_of(text) > MAX_DEPTH:
        raise Unreadable(f"lists and objects are nested more than {MAX_DEPTH} deep")
    try:
        value = _JSON.decode(text)
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


_JSON = json.JSONDecoder(parse_constant=_no_constant, parse_int=_small_integer)

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


def cell_of(row: Mapping[str, Any], column: str) -> str:
    parts = [column] if column in row else column.split(",")
    if len(parts) > 1:
        return json.dumps({part: row.get(part) for part in parts}, ensure_ascii=False)
    value = row.get(column)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def earlier(history: Any) -> list[dict[str, Any]]:
    """The messages of what was said before: such, or pairs of question and answer. Raises Unreadable."""
    if isinstance(history, list) and history and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in history):
        return history
    if not isinstance(history, list | tuple) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in history):
        raise Unreadable("`history` must be a list of pairs of question and answer")
    return [{"role": role, "content": text} for pair in history for role, text in zip(("user", "assistant"), pair, strict=True)]


def conversation_from(row: dict[str, Any], messages: list[dict[str, Any]], used: Sequence[str], shape: str) -> Conversation:
    """The conversation of `messages`, what else the row holds as metadata; `used`: keys that the messages were made of. Raises
    Unreadable."""
    refuse_bad(row)
    metadata = row.get("metadata") if isinstance(row.get("metadata"), dict) else {}
    ours = ("fingerprint", "source") if "fingerprint" in row else ()  # elsewhere a source may say that a machine made the row up
    used = (*used, "metadata", "tools", "weight", "split", *ours)
    old = row.get("functions") if not row.get("tools") else None  # OpenAI's, before there were tools
    functions = old if isinstance(old, list) and all(isinstance(each, dict) and "name" in each for each in old) else ()
    others = {k: v for k, v in row.items() if k not in used and not (functions and k == "functions")}
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise Unreadable(f"`weight` must be a number from 0 to 1, not {weight!r}")
    return Conversation(
        messages=tuple(modern([refusing(message) if "refusal" in message else message for message in messages])),
        metadata={**others, **(metadata or {})},
        tools=as_tools(row.get("tools") or functions),
        weight=float(weight),
        shape=shape,
        split=row["split"] if isinstance(row.get("split"), str) else "",
    )


def refuse_bad(row: Mapping[str, Any]) -> None:
    """Raise Unreadable for an answer that somebody judged to be bad, as sets for KTO say it."""
    for key in ("label", "kto_tag"):
        if key in row and str(row[key]).strip().casefold() == "false":
            raise Unreadable(f"the answer was marked as a bad one (`{key}` is false)")


def refusing(message: dict[str, Any]) -> dict[str, Any]:
    """A message that says under `refusal` alone what it refuses, with that as its content; any other as it is."""
    refused = message.get("refusal")
    return {**message, "content": refused} if isinstance(refused, str) and refused and not message.get("content") else message


def as_tools(tools: Any) -> tuple[dict[str, Any], ...]:
    """Tool definitions in OpenAI form; JSON text and bare functions (`name`, `parameters`) are taken too. Raises Unreadable."""
    found = opened(tools)
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
