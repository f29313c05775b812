"""JSON Schema, the part of it that says what an answer may be: `format: {kind: schema, schema: {…}}` of a model file.

Types, constants, enumerations, bounds, patterns (RE2), properties, items, combinations, and references inside the schema.
Annotations (`title`, `description`, `default`, `examples`, `format`, `$schema`, `$id`, `$comment`) say nothing about validity.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.scoring.patterns import asked_for, searchable

DEEPEST = 64
"""References and levels that are followed; where a schema refers to itself for longer, nothing is said to fit."""
STEPS, STEPS_EACH = 4_000, 16
"""Rules that are looked at for one answer, and for each value in it, before it counts as not fitting: what a schema costs grows
with the answer, however its rules refer to each other. 4,000 are about 20 ms."""
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and (isinstance(v, int) or v.is_integer()),
}
_LEAST: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
    "exclusiveMinimum": ("above", operator.gt),
    "exclusiveMaximum": ("below", operator.lt),
}
_SIZES = {
    "minLength": (str, "characters", False),
    "maxLength": (str, "characters", True),
    "minItems": (list, "items", False),
    "maxItems": (list, "items", True),
    "minProperties": (dict, "properties", False),
    "maxProperties": (dict, "properties", True),
}
_SUBSCHEMAS = ("items", "additionalProperties", "contains", "not", "propertyNames", "if", "then", "else")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_PLAIN = ("type", "const", "enum", "required", "pattern", "multipleOf", "uniqueItems", "$ref")
_SILENT = ("title", "description", "default", "examples", "format", "$schema", "$id", "$comment", "deprecated")
_SHAPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys((*_LEAST, "multipleOf"), (int, float)),
    **dict.fromkeys(_SIZES, int),
    **dict.fromkeys((*_LISTS, "required", "enum"), list),
    **dict.fromkeys(_MAPS, dict),
    **dict.fromkeys(("pattern", "$ref"), str),
    "type": (str, list),
}
"""Keyword → what its value must be."""
KEYWORDS = (*_LEAST, *_SIZES, *_SUBSCHEMAS, *_LISTS, *_MAPS, *_PLAIN, *_SILENT)


def validate(schema: Any, where: str) -> None:
    """Raise ConfigError, naming the place in the schema, for a keyword or a type that is none, or a pattern or reference that
    leads nowhere: what would silently accept everything."""
    parts = list(_parts(schema, where))
    known = {id(part) for _, part in parts}
    for place, part in parts:
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict):
            raise ConfigError(f"{place}: a schema is an object, not {type(part).__name__}", fix="write e.g. {type: string}")
        for key in part:
            if key not in KEYWORDS:
                near = difflib.get_close_matches(str(key), KEYWORDS, 1)
                raise ConfigError(f"{place}: no keyword is called {key!r}", fix=f"write {near[0]!r}" if near else None)
        for key, kinds in _SHAPES.items():
            if key in part and (not isinstance(part[key], kinds) or isinstance(part[key], bool)):
                raise ConfigError(f"{place}.{key}: {_short(part[key])} is no value for it", fix="see JSON Schema, draft 2020-12")
        types = part.get("type", [])
        for name in [types] if isinstance(types, str) else types:
            if not isinstance(name, str) or name not in TYPES:
                raise ConfigError(f"{place}: no type is called {name!r}", fix=f"choose from {', '.join(TYPES)}")
        if not all(isinstance(name, str) for name in part.get("required", ())):
            raise ConfigError(f"{place}.required: {_short(part['required'])} names no fields", fix="write e.g. [category, note]")
        for pattern in [part.get("pattern"), *part.get("patternProperties", {})]:
            if pattern is not None:
                asked_for(str(pattern), place)
        if "$ref" in part and id(_target(schema, str(part["$ref"]))) not in known:
            raise ConfigError(f"{place}: $ref {part['$ref']!r} leads nowhere", fix="refer to #/$defs/NAME of the same schema")


def _parts(schema: Any, where: str) -> Iterator[tuple[str, Any]]:
    waiting = [(where, schema)]
    seen: set[int] = set()
    while waiting:
        place, part = waiting.pop()
        yield place, part
        if isinstance(part, dict) and id(part) not in seen:  # a file can name one part a thousand times
            seen.add(id(part))
            waiting += [(f"{place}.{key}", part[key]) for key in _SUBSCHEMAS if key in part]
            lists = {key: part[key] for key in _LISTS if isinstance(part.get(key), list)}
            waiting += [(f"{place}.{key}[{i}]", each) for key, found in lists.items() for i, each in enumerate(found)]
            maps = {key: part[key] for key in _MAPS if isinstance(part.get(key), dict)}
            waiting += [(f"{place}.{key}.{name}", each) for key, found in maps.items() for name, each in found.items()]


def violation(value: Any, schema: Any) -> str:
    """The first place of a JSON value that breaks the schema, and how: `$.price: is "9", not of type number`; empty when none."""
    try:
        found = next(_violations(value, schema, _Root(schema, STEPS + STEPS_EACH * _values(value)), "$", 0), None)
    except _TooMuchError as error:
        return str(error)
    return "" if found is None else f"{found[0]}: {found[1]}"


Found = Iterator[tuple[str, str]]


class _TooMuchError(Exception):
    """The schema asks for more than one answer is worth: it was not found to fit."""


class _Root:
    """The whole schema, and how many more of its rules may be looked at for this answer."""

    __slots__ = ("left", "schema")

    def __init__(self, schema: Any, steps: int) -> None:
        self.schema, self.left = schema, steps

    def step(self, depth: int, path: str) -> None:
        """Look at one more rule."""
        self.left -= 1
        if self.left < 0:
            raise _TooMuchError("the schema takes too many steps to check")
        if depth > DEEPEST:
            raise _TooMuchError(f"{path[:200]}: more than {DEEPEST} levels and references deep")


def _values(value: Any) -> int:
    """How many values a JSON value holds, itself included."""
    count, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        count += 1
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return count


def _violations(value: Any, schema: Any, root: _Root, path: str, depth: int) -> Found:
    root.step(depth, path)
    if schema is True:
        return
    if schema is False:
        yield path, "nothing is allowed here"
        return
    if "$ref" in schema:
        yield from _violations(value, _target(root.schema, str(schema["$ref"])), root, path, depth + 1)
    yield from _own(value, schema, path)
    if isinstance(value, dict):
        yield from _of_object(value, schema, root, path, depth)
    if isinstance(value, list):
        yield from _of_list(value, schema, root, path, depth)
    yield from _combined(value, schema, root, path, depth)


def _own(value: Any, schema: Mapping[str, Any], path: str) -> Found:
    types = schema.get("type", ())
    names = (types,) if isinstance(types, str) else tuple(types)
    if names and not any(TYPES[name](value) for name in names):
        yield path, f"is {_short(value)}, not of type {' or '.join(names)}"
        return
    if "const" in schema and not _same(value, schema["const"]):
        yield path, f"is {_short(value)}, not {_short(schema['const'])}"
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        yield path, f"is {_short(value)}, not one of {', '.join(map(_short, schema['enum']))}"
    if TYPES["number"](value):
        for key, (words, holds) in _LEAST.items():
            if key in schema and not holds(value, schema[key]):
                yield path, f"is {_short(value)}, must be {words} {schema[key]}"
        step = schema.get("multipleOf")
        if step and not _multiple(value, step):
            yield path, f"is {_short(value)}, must be a multiple of {step}"
    for key, (kind, unit, most) in _SIZES.items():
        if key in schema and isinstance(value, kind) and (len(value) > schema[key] if most else len(value) < schema[key]):
            yield path, f"has {len(value)} {unit}, {'at most' if most else 'at least'} {schema[key]} are wanted"
    if "pattern" in schema and isinstance(value, str) and not asked_for(schema["pattern"], "format").search(searchable(value)):
        yield path, f"is {_short(value)}, which does not match {schema['pattern']!r}"


def _multiple(value: float, step: float) -> bool:
    """Whether a number is so many steps: to the last digit where both are whole, else but for what floats lose."""
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        return math.isclose(value / step, round(value / step), abs_tol=1e-9)
    except OverflowError:  # one of them is beyond what a float holds, or 1e400
        return False


def _of_object(value: dict[str, Any], schema: Mapping[str, Any], root: _Root, path: str, depth: int) -> Found:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}", "is missing"
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = schema.get("additionalProperties", True)
    for name, each in value.items():
        rules = [named[name]] if name in named else []
        rules += [rule for pattern, rule in patterns.items() if asked_for(pattern, "format").search(searchable(name))]
        if not rules and others is False:
            yield f"{path}.{name}", "is not in the schema"
        for rule in rules or [others]:
            yield from _violations(each, rule, root, f"{path}.{name}", depth + 1)
        if "propertyNames" in schema:
            yield from _violations(name, schema["propertyNames"], root, f"{path}.{name}", depth + 1)


def _of_list(value: list[Any], schema: Mapping[str, Any], root: _Root, path: str, depth: int) -> Found:
    first = schema.get("prefixItems", [])
    for i, each in enumerate(value):
        rule = first[i] if i < len(first) else schema.get("items", True)
        yield from _violations(each, rule, root, f"{path}[{i}]", depth + 1)
    if schema.get("uniqueItems") and len({_key(each) for each in value}) < len(value):
        yield path, "holds an item twice"
    if "contains" in schema and not any(_holds(each, schema["contains"], root, depth) for each in value):
        yield path, "holds no item of the kind that is wanted"


def _combined(value: Any, schema: Mapping[str, Any], root: _Root, path: str, depth: int) -> Found:
    for rule in schema.get("allOf", ()):
        yield from _violations(value, rule, root, path, depth + 1)
    if "anyOf" in schema and not any(_holds(value, rule, root, depth) for rule in schema["anyOf"]):
        yield path, f"is {_short(value)}, which fits none of the {len(schema['anyOf'])} shapes"
    if "oneOf" in schema:
        fits = sum(_holds(value, rule, root, depth) for rule in schema["oneOf"])
        if fits != 1:
            yield path, f"is {_short(value)}, which fits {fits} of the {len(schema['oneOf'])} shapes, not one"
    if "not" in schema and _holds(value, schema["not"], root, depth):
        yield path, f"is {_short(value)}, which is excluded"
    if "if" in schema:
        rule = schema.get("then" if _holds(value, schema["if"], root, depth) else "else", True)
        yield from _violations(value, rule, root, path, depth + 1)


def _holds(value: Any, schema: Any, root: _Root, depth: int) -> bool:
    return next(_violations(value, schema, root, "$", depth + 1), None) is None


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _key(value: Any) -> str:
    """The same for values that are equal as JSON: 1.0 is 1."""
    import json

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: plain(each) for name, each in part.items()}
        if isinstance(part, list):
            return [plain(each) for each in part]
        return int(part) if isinstance(part, float) and part.is_integer() else part

    return json.dumps(plain(value), sort_keys=True)


def _target(root: Any, reference: str) -> Any:
    """What a reference inside the schema means; None when it leads nowhere or outside."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    place = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or name not in place:
            return None
        place = place[name]
    return place


def _short(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
