"""The part of Go's text/template that Ollama's chat templates are written in: parsed and rendered, or refused.

Known: text, `{{- … -}}`, comments, if / else if / else / with / range / end, variables, fields, `eq ne lt le gt ge and or not len
index slice json`, constants, pipes and parentheses. What is rendered here is what Ollama renders; anything else is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import ArtifactError

MAX_TEMPLATE = 256 << 10
MAX_ACTIONS = 1_000
MAX_STEPS = 20_000
"""Pieces that are written for one conversation; ranges inside ranges multiply."""
_WORD = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<variable>\$\w*)|(?P<field>\.\w+)'
    r"|(?P<mark>:=|=|\||\(|\)|,|\.)|(?P<name>[A-Za-z_]\w*))"
)
_ACTION = re.compile(
    r'\{\{(?P<left>- )?(?P<body>/\*.*?\*/|(?:(?>"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\}).))*?)(?P<right> -)?\}\}', re.DOTALL
)


@dataclass(slots=True)
class Node:
    """One piece of a template."""

    kind: str
    """text, show, if, with, range or set."""
    text: str = ""
    """Literal text, or the variable that is set."""
    code: list[Any] = field(default_factory=list)
    """Its expression, parsed."""
    names: tuple[str, ...] = ()
    """Variables that a range declares."""
    declares: bool = False
    """Whether `:=` makes a new variable."""
    body: list[Node] = field(default_factory=list)
    """What stands inside."""
    other: list[Node] = field(default_factory=list)
    """What stands after else."""


class _Scope:
    """Variables, innermost block last."""

    def __init__(self, root: Any) -> None:
        self.blocks: list[dict[str, Any]] = [{"$": root}]
        self.steps = 0

    def find(self, name: str) -> dict[str, Any]:
        """The block that holds a variable."""
        found: dict[str, Any] | None = next((block for block in reversed(self.blocks) if name in block), None)
        if found is not None:
            return found
        raise ArtifactError(f"template: undefined variable {name!r}")


def parse(template: str) -> list[Node]:
    """The pieces of a Go template. Raises ArtifactError naming what is wrong or not known."""
    if len(template) > MAX_TEMPLATE:
        raise ArtifactError(f"template of {len(template)} characters; {MAX_TEMPLATE} are allowed")
    if template.count("{{") > MAX_ACTIONS:
        raise ArtifactError(f"template of {template.count('{{')} actions; {MAX_ACTIONS} are allowed")
    tokens = list(_split(template))
    nodes, rest = _block(tokens, 0, top=True)
    if rest != len(tokens):
        raise ArtifactError(f"template: unexpected {tokens[rest][1]!r}")
    return nodes


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template. `values`: what `.` holds, e.g. Messages, System. Raises ArtifactError."""
    out: list[str] = []
    _run(parse(template), dict(values), _Scope(dict(values)), out)
    return "".join(out)


def chat(template: str, messages: list[dict[str, Any]]) -> str:
    """The prompt that Ollama makes of a conversation: neighbours of one role are joined first. Raises ArtifactError."""
    joined: list[dict[str, str]] = []
    for message in messages:
        role, content = str(message["role"]), str(message.get("content") or "")
        if joined and joined[-1]["Role"] == role and role != "tool":
            joined[-1]["Content"] += "\n\n" + content
        else:
            joined.append({"Role": role, "Content": content})
    system = "\n\n".join(m["Content"] for m in joined if m["Role"] == "system")
    prompt = next((m["Content"] for m in reversed(joined) if m["Role"] == "user"), "")
    return render(template, {"Messages": joined, "System": system, "Prompt": prompt, "Response": "", "Tools": []})


def literal(text: str) -> str:
    """`text` as it must stand in a template to be written as it is."""
    if "{{" in text or text.endswith("{") or '"""' in text:
        return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"
    return text


def _split(template: str) -> Iterator[tuple[str, str]]:
    """`("text", …)` and `("code", …)` in order, with white space already trimmed where marks ask for it."""
    at, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[at : match.start()]
        text = text.lstrip(" \t\r\n") if trim else text
        yield "text", text.rstrip(" \t\r\n") if match["left"] else text
        if not match["body"].startswith("/*"):
            yield "code", match["body"].strip()
        at, trim = match.end(), bool(match["right"])
    rest = template[at:].lstrip(" \t\r\n") if trim else template[at:]
    if "{{" in rest:
        raise ArtifactError("template: an action that is not closed")
    yield "text", rest


def _block(tokens: list[tuple[str, str]], at: int, *, top: bool = False) -> tuple[list[Node], int]:
    """Nodes up to `else` or `end`, and where that stands."""
    nodes: list[Node] = []
    while at < len(tokens):
        kind, text = tokens[at]
        if kind == "text":
            nodes += [Node(kind="text", text=text)] if text else []
            at += 1
            continue
        word = text.split(maxsplit=1)[0] if text else ""
        if word in ("else", "end"):
            return nodes, at
        if word in ("if", "with", "range"):
            node, at = _branch(tokens, at, word, text[len(word) :])
            nodes.append(node)
            continue
        nodes.append(_plain(text))
        at += 1
    if not top:
        raise ArtifactError("template: unexpected end: an if, with or range is not closed")
    return nodes, at


def _branch(tokens: list[tuple[str, str]], at: int, word: str, code: str) -> tuple[Node, int]:
    node = Node(kind=word)
    words = _words(code)
    marks = [index for index, (kind, text) in enumerate(words) if (kind, text) == ("mark", ":=")]
    if marks:
        node.names = tuple(text for kind, text in words[: marks[0]] if kind == "variable")
        words = words[marks[0] + 1 :]
    node.code = _expression(words)
    node.body, at = _block(tokens, at + 1)
    following = tokens[at][1]
    if following == "end":
        return node, at + 1
    tail = following[len("else") :].strip()
    if tail.startswith(("if ", "with ")):
        kind = tail.split(maxsplit=1)[0]
        inner, at = _branch(tokens, at, kind, tail[len(kind) :])
        node.other = [inner]
        return node, at
    if tail:
        raise ArtifactError(f"template: unexpected {following!r}")
    node.other, at = _block(tokens, at + 1)
    if tokens[at][1] != "end":
        raise ArtifactError(f"template: unexpected {tokens[at][1]!r}")
    return node, at + 1


def _plain(text: str) -> Node:
    words = _words(text)
    if len(words) > 2 and words[0][0] == "variable" and words[1] in (("mark", ":="), ("mark", "=")):
        return Node(kind="set", text=words[0][1], code=_expression(words[2:]), declares=words[1][1] == ":=")
    return Node(kind="show", code=_expression(words))


def _words(code: str) -> list[tuple[str, str]]:
    found, at = [], 0
    code = code.rstrip()
    while at < len(code):
        match = _WORD.match(code, at)
        if match is None or match.end() == at:
            raise ArtifactError(f"template: {code[at:].strip()[:40]!r} is not understood")
        kind = str(match.lastgroup)
        # A space before a field begins a new argument: `index .A .B`; without one it belongs to what stands before it.
        found.append(("chain" if kind == "field" and at and not code[at].isspace() else kind, match[kind]))
        at = match.end()
    return found


def _expression(words: list[tuple[str, str]]) -> list[Any]:
    """A pipeline as a list of commands, each a list of operands."""
    commands, rest = _pipeline(words, 0)
    if rest != len(words) or not all(commands):
        raise ArtifactError(f"template: {' '.join(text for _, text in words)[:40]!r} is not understood")
    return commands


def _pipeline(words: list[tuple[str, str]], at: int) -> tuple[list[Any], int]:
    commands: list[list[Any]] = [[]]
    while at < len(words):
        kind, text = words[at]
        if (kind, text) == ("mark", ")"):
            break
        if (kind, text) == ("mark", "|"):
            commands.append([])
        elif (kind, text) == ("mark", "("):
            inner, at = _pipeline(words, at + 1)
            if at >= len(words):
                raise ArtifactError("template: a parenthesis is not closed")
            commands[-1].append(("pipe", inner))
        elif kind == "chain" and commands[-1]:
            commands[-1][-1] = ("of", (commands[-1][-1], text[1:]))
        else:
            commands[-1].append((kind, text))
        at += 1
    return commands, at


def _run(nodes: list[Node], dot: Any, scope: _Scope, out: list[str]) -> None:
    for node in nodes:
        scope.steps += 1
        if scope.steps > MAX_STEPS:
            raise ArtifactError(f"template: more than {MAX_STEPS:,} pieces for one conversation")
        if node.kind == "text":
            out.append(node.text)
        elif node.kind == "show":
            out.append(_text(_value(node.code, dot, scope)))
        elif node.kind == "set":
            value = _value(node.code, dot, scope)
            block = scope.blocks[-1] if node.declares else scope.find(node.text)
            block[node.text] = value
        else:
            _choose(node, dot, scope, out)


def _choose(node: Node, dot: Any, scope: _Scope, out: list[str]) -> None:
    value = _value(node.code, dot, scope)
    if node.kind == "range" and value:
        for index, item in enumerate(value):
            given = (item,) if len(node.names) == 1 else (index, item)
            _inside(node.body, item, scope, out, dict(zip(node.names, given, strict=False)))
        return
    if node.kind == "range" or not value:
        _inside(node.other, dot, scope, out, {})
        return
    names = dict.fromkeys(node.names, value)
    _inside(node.body, value if node.kind == "with" else dot, scope, out, names)


def _inside(nodes: list[Node], dot: Any, scope: _Scope, out: list[str], names: dict[str, Any]) -> None:
    scope.blocks.append(names)
    try:
        _run(nodes, dot, scope, out)
    finally:
        scope.blocks.pop()


def _value(commands: list[Any], dot: Any, scope: _Scope) -> Any:
    given: list[Any] = []
    for command in commands:
        given = [_call(command, dot, scope, given)]
    return given[0]


def _call(command: list[Any], dot: Any, scope: _Scope, given: list[Any]) -> Any:
    if not command:
        raise ArtifactError("template: brackets with nothing in them")
    (kind, text), rest = command[0], command[1:]
    if kind == "name" and text in ("and", "or"):
        value: Any = None
        for value in (*(_operand(each, dot, scope) for each in rest), *given):
            if bool(value) == (text == "or"):
                break
        return value
    arguments = [*(_operand(each, dot, scope) for each in rest), *given]
    if kind == "name" and text in _FUNCTIONS:
        try:
            return _FUNCTIONS[text](*arguments)
        except (TypeError, LookupError, ValueError) as error:
            raise ArtifactError(f"template: {text}: {error}") from error
    if arguments:
        raise ArtifactError(f"template: {text!r} is not a function")
    return _operand(command[0], dot, scope)


def _operand(operand: Any, dot: Any, scope: _Scope) -> Any:
    kind, what = operand
    if kind == "pipe":
        return _value(what, dot, scope)
    if kind == "of":
        return _field(_operand(what[0], dot, scope), what[1])
    if kind in ("field", "chain"):
        return _field(dot, what[1:])
    if kind == "variable":
        return scope.find(what)[what]
    if kind == "text":
        return what[1:-1] if what[0] == "`" else json.loads(what, strict=False)
    if kind == "number":
        return float(what) if "." in what else int(what)
    if (kind, what) == ("mark", "."):
        return dot
    if kind == "name" and what in _CONSTANTS:
        return _CONSTANTS[what]
    raise ArtifactError(f"template: function {what!r} is not defined")


def _field(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ArtifactError(f"template: no field {name} in {type(value).__name__}")
    return value.get(name, "")


def _text(value: Any) -> str:
    if value is None:
        return "<no value>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds)] if len(bounds) == 2 else value[bounds[0] if bounds else 0 :]


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(key, int) and not 0 <= key < len(value):
            raise IndexError(f"index out of range: {key}")
        value = value[key]
    return value


_CONSTANTS = {"true": True, "false": False, "nil": None}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "not": lambda a: not a,
    "len": len,
    "index": _index,
    "slice": _slice,
    "json": lambda value: json.dumps(value, ensure_ascii=False),
}
