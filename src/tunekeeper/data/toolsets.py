"""Rows of the published sets that teach calls of tools, each with definitions and calls in a form of its own.

* xLAM (`query`, `answers`, `tools`): what is answered are calls; parameters are named without a schema around them.
* Glaive (`system`, `chat`): one text of turns, the definitions in the instructions, calls behind `<functioncall>`.

And tasks with `instances`, as Self-Instruct and Super-NaturalInstructions write them: one row for each.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tunekeeper.data.conversations import Conversation, NotJson, Unreadable, conversation_from, parse_json, unpacked

_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
}
"""Python's name of a type, in small letters → JSON Schema's."""
_LITERAL = 100_000
"""Characters of a text that is read as Python's literal."""
_TURN = re.compile(r"(?:\A|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):")
_END = re.compile(r"<\|endoftext\|>")
_CALL = "<functioncall>"
_QUOTED = re.compile(r"'(\{.*\})'", re.DOTALL)
_ACCESS = re.compile(
    r"\s*(?:You are a helpful assistant with access to the following functions\.?\s*)?Use them if required[\s-]*"
)


def recognise(row: Mapping[str, Any]) -> tuple[str, Callable[[dict[str, Any]], Conversation]] | None:
    """The set's name and the reader of its rows, by the row's keys; None for a row of neither."""
    if "query" in row and "answers" in row and "tools" in row:
        return "xlam", _xlam
    if "system" in row and isinstance(row.get("chat"), str) and ("USER:" in row["chat"] or not row["chat"]):
        return "glaive", _glaive
    return None


def instances_in(row: Mapping[str, Any]) -> list[Any] | None:
    """The rows of a task with its `instances`, each in Alpaca's form; None for any other row."""
    listed = row.get("instances")
    if "instruction" not in row or "output" in row or not isinstance(listed, list) or not listed:
        return None
    if not all(isinstance(each, dict) and "output" in each for each in listed):
        return None
    task = {key: value for key, value in row.items() if key != "instances"}
    return [{**task, **each, **_own_id(row, place)} for place, each in enumerate(listed, 1)]


def _own_id(row: Mapping[str, Any], place: int) -> dict[str, str]:
    return {"id": f"{row['id']}.{place}"} if "id" in row and len(row["instances"]) > 1 else {}


def literal(text: str) -> Any:
    """The value of a text in JSON or, as many sets write it, as Python prints it. Raises Unreadable."""
    try:
        return parse_json(text)
    except NotJson:
        if len(text) > _LITERAL:
            raise
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
        raise


def calls_of(found: Any, before: int) -> list[dict[str, Any]]:
    """Calls of tools, one or a list of them, in OpenAI's form; none when it is something else. `before`: calls made so far."""
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return []
    made = []
    for number, call in enumerate(calls, before + 1):
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        made.append({"id": f"call_{number}", "type": "function", "function": {"name": call["name"], "arguments": text}})
    return made


def _xlam(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("answers", "tools"))
    calls = calls_of(row["answers"], 0)
    if not calls:
        raise Unreadable("`answers` holds no calls of tools")
    tools = [_defined(tool) for tool in row["tools"]] if isinstance(row["tools"], list) else row["tools"]
    asked = {"role": "user", "content": row["query"]}
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    return conversation_from({**row, "tools": tools}, [asked, said], ("query", "answers"), "xlam")


def _defined(tool: Any) -> Any:
    """A definition with a schema around its parameters."""
    parameters = tool.get("parameters") if isinstance(tool, dict) else None
    bare = isinstance(parameters, dict) and "properties" not in parameters
    if parameters is None or not bare or not all(isinstance(told, dict) for told in parameters.values()):
        return tool
    needed = [name for name, told in parameters.items() if "default" not in told and "optional" not in str(told.get("type"))]
    properties = {name: {**told, "type": _type_of(told.get("type"))} for name, told in parameters.items()}
    return {**tool, "parameters": {"type": "object", "properties": properties, **({"required": needed} if needed else {})}}


def _type_of(told: Any) -> str:
    """`str, optional` and `List[int]` in JSON Schema's words; an unknown type as it stands."""
    name = re.split(r"[\s,\[(]", str(told).strip(), maxsplit=1)[0]
    return _TYPES.get(name.casefold(), name or "string")


def _glaive(row: dict[str, Any]) -> Conversation:
    told = str(row["system"] or "").strip().removeprefix("SYSTEM:").strip()
    tools, before = _definitions(told)
    messages: list[dict[str, Any]] = [{"role": "system", "content": before}] if before else []
    marks = list(_TURN.finditer(row["chat"]))
    for mark, after in zip(marks, [*(each.start() for each in marks[1:]), len(row["chat"])], strict=True):
        said = _END.sub("", row["chat"][mark.end() : after]).strip()
        _say(messages, mark[1], said)
    return conversation_from({**row, "tools": tools}, messages, ("system", "chat"), "glaive")


def _definitions(told: str) -> tuple[list[Any], str]:
    """The definitions that instructions hold, one after the other, and what else they say."""
    begin = _ACCESS.search(told)
    if begin is None:
        return [], told
    tools, place, decoder = [], begin.end(), json.JSONDecoder()
    while place < len(told):
        try:
            tool, end = decoder.raw_decode(told, place)
        except (json.JSONDecodeError, RecursionError):
            return [], told  # not what it seemed: everything stays in the instructions
        tools.append(tool)
        place = end + len(told[end:]) - len(told[end:].lstrip())
    return tools, told[: begin.start()].strip()


def _say(messages: list[dict[str, Any]], speaker: str, said: str) -> None:
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    if speaker == "FUNCTION RESPONSE":
        messages.append({"role": "tool", "tool_call_id": calls[-1] if calls else "", "content": said})
        return
    text, mark, call = said.partition(_CALL)
    if speaker == "USER" or not mark:
        messages.append({"role": "user" if speaker == "USER" else "assistant", "content": said})
        return
    made = calls_of(literal(_QUOTED.sub(lambda found: json.dumps(found[1]), call).strip()), len(calls))
    if not made:
        raise Unreadable("a call of a tool that names none")
    messages.append({"role": "assistant", "content": text.strip() or None, "tool_calls": made})
