"""The order of a conversation: who speaks when, which tools answer whom, what is learned, and that somebody says something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunekeeper.text.figures import is_json
from tunekeeper.text.fingerprints import text_of

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_INSTRUCTIONS = ("system", "developer")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e"))
PLACEHOLDERS = (
    *("undefined", "[object object]", "nan", "null", "(null)", "<null>", "...", "…", "tbd", "todo", "[deleted]", "[removed]"),
    *("#ref!", "#n/a", "#value!", "#name?", "#div/0!", "#num!", "#null!", "#nv", "#bezug!", "#wert!", "#zahl!"),
    *("-", "--", "—", "–", '""', "''", "``````"),
)
"""What an export writes where it had nothing to say; a spreadsheet in English or German."""
_SQUEEZED = frozenset("".join(each.split()) for each in PLACEHOLDERS)

Messages = Sequence[dict[str, Any]]


def bad_roles(messages: Messages) -> str:
    """What is wrong with the order of roles or with the calls of tools; empty when nothing is."""
    roles = [message.get("role") for message in messages]
    for place, role in enumerate(roles):
        if role not in _ROLES:
            return f"message {place + 1} has no known role: {role!r}"
        if role in _INSTRUCTIONS and place > 0 and roles[place - 1] not in _INSTRUCTIONS:
            return f"message {place + 1}: a system message after the conversation began"
        if place and role == roles[place - 1] and role in ("user", "assistant"):
            return f"messages {place} and {place + 1} are both of the {role}"
        if role in ("tool", "function") and "assistant" not in roles[:place]:
            return f"message {place + 1}: a tool answers before anybody called it"
    if "user" not in roles:
        return "no message of the user"
    if roles[-1] != "assistant":
        return f"the last message is of the {roles[-1]}, not of the assistant"
    first = next(role for role in roles if role not in _INSTRUCTIONS)
    return _bad_calls(messages) if first == "user" else f"the conversation begins with the {first}"


def _bad_calls(messages: Messages) -> str:
    """A tool that answers a call nobody made, or a call that nobody answers before the talk goes on; empty when neither."""
    waiting: list[str | None] = []
    for place, message in enumerate(messages, 1):
        if message.get("role") in ("tool", "function"):
            id = message.get("tool_call_id")
            if not waiting:
                return f"message {place}: a tool answers and nobody called it"
            if id is None or None in waiting:
                waiting.pop(0)
            elif id in waiting:
                waiting.remove(id)
            else:
                return f"message {place}: a tool answers the call {id!r}, which nobody made"
        elif waiting:
            return f"message {place}: the talk goes on before a tool has answered the call"
        else:
            calls = message.get("tool_calls") or ()
            waiting = [call.get("id") if isinstance(call, dict) else None for call in calls]
            waiting += [None] if message.get("function_call") else []
    return ""


def bad_weights(messages: Messages) -> str:
    """A weight of a message that is none, or a row of which nothing is learned; empty when neither."""
    answers = [m for m in messages if m.get("role") == "assistant"]
    for place, message in enumerate(messages, 1):
        weight = message.get("weight", 1)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            return f"message {place}: its weight is {weight!r}, not from 0 to 1"
    return "every answer has weight 0: nothing is learned" if answers and not any(m.get("weight", 1) for m in answers) else ""


def bad_arguments(messages: Messages) -> str:
    """Which call of a tool has arguments that are no JSON, as those of an answer that was cut off; empty when none."""
    for place, message in enumerate(messages, 1):
        calls = message.get("tool_calls") or ()
        made = [call.get("function") for call in calls if isinstance(call, dict)] + [message.get("function_call")]
        said = [(each.get("name"), each.get("arguments")) for each in made if isinstance(each, dict)]
        odd = [name for name, text in said if isinstance(text, str) and text.strip() and not is_json(text)]
        if odd:
            return f"message {place}: the arguments of its call of {odd[0]!r} are not JSON"
    return ""


def empty(messages: Messages) -> str:
    """Which message of user or assistant says nothing that can be seen; empty when none."""
    for place, message in enumerate(messages, 1):
        speaks = message.get("role") in ("user", "assistant")
        if speaks and not message.get("tool_calls") and not message.get("function_call") and not _seen(message):
            attachments = isinstance(message.get("content"), list) and bool(message["content"])
            if not attachments:
                return f"message {place} of the {message['role']} is empty"
    return ""


def _seen(message: dict[str, Any]) -> bool:
    text = text_of(message.get("content"))
    return bool(text.strip()) and (text.isascii() or bool(text.translate(_INVISIBLE).strip()))


def placeholder(answer: str) -> str:
    """What an export wrote in place of an answer, such as `undefined` or `#REF!`; empty when it is one."""
    text = answer.strip()
    return f"the answer is {text!r}" if len(text) < 20 and "".join(text.casefold().split()) in _SQUEEZED else ""
