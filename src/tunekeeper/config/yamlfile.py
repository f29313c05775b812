"""YAML that a person wrote: read safely, every value with the line it stands on.

Refused, each with file and line: tags that build objects, aliases (a nine-line file of them can fill the memory), keys that
stand twice, keys that are not text (YAML reads a bare `on` or `no` as true or false), several documents, more than a megabyte,
nesting past 60.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from tunekeeper.core.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 60
_SCIENTIFIC = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]{1,3}")
_MISFITS = (ValueError, AttributeError, LookupError)
"""What PyYAML raises beside its own errors where a value does not fit its tag: `!!bool maybe`, `2026-13-45`, 5,000 digits."""
Keys = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class YamlFile:
    """A file's mapping and where each value stands."""

    name: str
    """How messages name the file: relative to the project where it can be."""
    values: dict[str, Any]
    """Plain dictionaries, lists, text, numbers, booleans and None."""
    lines: dict[Keys, int] = field(default_factory=dict)
    """Path of keys and indices → line, counted from 1."""

    def line(self, keys: Keys) -> int:
        """The line of a value, or of the nearest thing around it."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1)

    def at(self, keys: Keys) -> str:
        """`file:line` of a value; the name alone for values that stand in no file."""
        return f"{self.name}:{self.line(keys)}" if self.lines else self.name


def read_yaml(path: Path, *, name: str | None = None) -> YamlFile:
    """Read one mapping. Raises ConfigError naming `name` (default: the path) and the line."""
    name = str(path) if name is None else name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}", fix="name a YAML file that you may read") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name}: {len(data):,} bytes are too many for a configuration file (at most {MAX_BYTES:,})")
    return parse_yaml(data, name)


def parse_yaml(data: bytes, name: str) -> YamlFile:
    """As `read_yaml`, of bytes."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name}:{line}: not UTF-8", fix="save the file as UTF-8") from None
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        what = error.problem or error.context or ""
        raise ConfigError(f"{name}:{_line(error)}: {what}", fix=_way_out(what)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {str(error).splitlines()[0]}", fix="save it as plain text in UTF-8") from None
    finally:
        if loader is not None:
            loader.dispose()
    if node is None:
        return YamlFile(name=name, values={})
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{name}:{node.start_mark.line + 1}: expected keys and values", fix="write lines such as `key: value`")
    lines: dict[Keys, int] = {}
    values = _Builder(name, loader, lines).build(node, ())
    return YamlFile(name=name, values=values, lines=lines)


def parse_scalar(text: str) -> Any:
    """A value as YAML reads it, for environment variables and flags: `8080`, `true`, `[a, b]`. Raises ConfigError."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, *_MISFITS, RecursionError):
        raise ConfigError(f"{text[:100]!r} is not a value", fix="put text in quotes") from None
    return text if isinstance(value, date | bytes) or _huge(value) else value


def _huge(value: Any) -> bool:
    """Whether a number has more digits than Python prints and than a float holds."""
    return isinstance(value, int) and value.bit_length() > 1000


def _way_out(problem: str) -> str | None:
    """What mends a text that is no YAML; None where the problem says so itself."""
    if "\\t" in problem:
        return "indent it with blanks, a tab is none"
    if problem.startswith(("aliases", "nested")):
        return None
    return "close what that line or one before it opens, or put the value in quotes"


def _line(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return 1 if mark is None else mark.line + 1


class _Loader(yaml.SafeLoader):
    """The safe loader, minus aliases, with a limit of depth."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not allowed; write the value out", problem_mark=event.start_mark
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Builder:
    """Turns nodes into plain values and notes their lines."""

    def __init__(self, name: str, loader: _Loader, lines: dict[Keys, int]) -> None:
        self.name = name
        self.loader = loader
        self.lines = lines

    def build(self, node: Any, keys: Keys) -> Any:
        self.lines.setdefault(keys, node.start_mark.line + 1)
        if not isinstance(node, yaml.ScalarNode) and not node.tag.endswith((":map", ":seq")):
            raise ConfigError(f"{self.name}:{node.start_mark.line + 1}: the tag {node.tag} is not allowed", fix="remove it")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*keys, index)) for index, item in enumerate(node.value)]
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, *_MISFITS):
            said = f"{node.value[:100]!r} cannot be read as {node.tag}"
            raise ConfigError(f"{self.name}:{node.start_mark.line + 1}: {said}", fix="put text in quotes") from None
        if _huge(value):
            raise ConfigError(f"{self.name}:{node.start_mark.line + 1}: a number of {len(node.value)} digits", fix="write less")
        if isinstance(value, str) and node.style is None and _SCIENTIFIC.fullmatch(value):
            return float(value)  # 2e-5 is a number to people and to YAML 1.2, and text to PyYAML
        if isinstance(value, date | bytes):
            # A date is text to us everywhere: 2026-01-05 unquoted must not turn into another type.
            return str(node.value)
        return value

    def _mapping(self, node: Any, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self.build_key(key_node)
            if key in found:
                first = self.lines[(*keys, key)]
                raise ConfigError(f"{self.name}:{line}: key {key!r} stands twice, first in line {first}", fix="keep one of them")
            self.lines[(*keys, key)] = line
            found[key] = self.build(value_node, (*keys, key))
        return found

    def build_key(self, node: Any) -> str:
        """A key as text; numbers are taken as they are written."""
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith((":bool", ":null", ":merge")):
            shown = node.value if isinstance(node, yaml.ScalarNode) else node.id
            raise ConfigError(f"{self.name}:{line}: key {shown!r} is not text", fix="put it in quotes")
        return str(node.value)
