"""From a mapping with lines to a frozen dataclass: unknown keys with the near one, wrong types with file, line and field."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import msgspec

from tunekeeper.config.yamlfile import Keys, YamlFile
from tunekeeper.core.errors import ConfigError, TunekeeperError

T = TypeVar("T")
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_KINDS = {
    "float": "write a number without quotes",
    "int": "write a whole number without quotes",
    "bool": "write true or false without quotes",
    "array": "write a list, such as [a, b]",
    "object": "write its keys and values below it, indented",
}
"""Kind that msgspec expects → how it is written."""


def build(kind: type[T], values: Any, file: YamlFile, keys: Keys = ()) -> T:
    """`values` (standing at `keys` of `file`) as a `kind`. Raises ConfigError with file, line, field and what was expected."""
    if not isinstance(values, dict):
        found, last = "nothing" if values is None else type(values).__name__, next(reversed(keys), "key")
        fix = f"write {last}: on a line of its own, its keys indented below it, or leave it out"
        raise ConfigError(f"{file.at(keys)}: {dotted(keys) or 'the file'}: expected keys and values, got {found}", fix=fix)
    refuse_unknown(kind, values, file, keys)
    try:
        return msgspec.convert(values, kind, strict=True)
    except TunekeeperError as error:  # a section's own check of its values
        raise ConfigError(f"{file.at(keys)}: {error.message}", fix=error.fix) from None
    except msgspec.ValidationError as error:
        what, here, inner = _located(error, kind, values, keys)
        raise ConfigError(f"{file.at(here)}: {dotted(here)}: {_lower(what)}", fix=_as_kind(what) or _near(inner, what)) from None


def _located(error: msgspec.ValidationError, kind: Any, values: Any, keys: Keys) -> tuple[str, Keys, Any]:
    """What is wrong, where, and the type that stands there: msgspec does not name the keys of a mapping, so that the part that it
    refuses is looked for."""
    for inner, value, inside in _inside(kind, values, keys):
        try:
            msgspec.convert(value, inner, strict=True)
        except msgspec.ValidationError as deeper:
            return _located(deeper, inner, value, inside)
        except TunekeeperError:
            continue  # that part's own check, which was not what was refused
    match = _WHERE.match(str(error))
    path = (match["path"] if match else "") or ""
    return (match["what"] if match else str(error)).replace("`", ""), (*keys, *steps(path)), kind


def _near(kind: Any, what: str) -> str | None:
    """For a word that is none of those that may stand there: the nearest of them, or all."""
    words = [word for option in _options(kind) if typing.get_origin(option) is Literal for word in typing.get_args(option)]
    given = re.fullmatch(r"Invalid enum value '(.*)'", what)
    if given is None or not words:
        return None
    near = difflib.get_close_matches(given[1], words, 1)
    return f"write {near[0]!r}" if near else f"known: {', '.join(map(str, words))}"


def refuse_unknown(kind: Any, values: Any, file: YamlFile, keys: Keys) -> None:
    """Raise ConfigError for the first key that the dataclass behind `kind` has no field for, naming the nearest."""
    for inner, value, path in _inside(kind, values, keys):
        refuse_unknown(inner, value, file, path)
    target = _dataclass_of(kind)
    if target is None or not isinstance(values, dict):
        return
    names = [each.name for each in dataclasses.fields(target)]
    for key in values:
        if key not in names:
            raise unknown_key(key, names, file, (*keys, key))


def unknown_key(key: str, names: list[str], file: YamlFile, keys: Keys) -> ConfigError:
    """The error for a key that is not among `names`."""
    near = difflib.get_close_matches(key, names, 1)
    where = dotted(keys[:-1])
    fix = f"write {near[0]!r}" if near else f"known: {', '.join(names)}"
    return ConfigError(f"{file.at(keys)}: unknown key {key!r}{f' in {where}' if where else ''}", fix=fix)


def steps(path: str) -> Keys:
    """msgspec's `$.phases[0].percent` as keys; stops where msgspec does not name a key."""
    found: list[str | int] = []
    for match in _STEP.finditer(path.removeprefix("$").partition("[...]")[0]):
        found.append(match[1] if match[1] is not None else int(match[2]))
    return tuple(found)


def dotted(keys: Keys) -> str:
    """`("rollout", "phases", 0)` as `rollout.phases[0]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every plain value inside a dataclass, with its path; tuples and mappings count as one value."""
    if not dataclasses.is_dataclass(value):
        yield keys, value
        return
    for each in dataclasses.fields(value):
        yield from leaves(getattr(value, each.name), (*keys, each.name))


def _inside(kind: Any, values: Any, keys: Keys) -> Iterator[tuple[Any, Any, Keys]]:
    """The parts of `values` whose own type is known from `kind`."""
    target = _dataclass_of(kind)
    if target is not None and isinstance(values, dict):
        hints = typing.get_type_hints(target)
        yield from ((hints[key], value, (*keys, key)) for key, value in values.items() if key in hints)
        return
    for option in _options(kind):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if origin in (tuple, list) and isinstance(values, list) and arguments:
            yield from ((arguments[0], item, (*keys, index)) for index, item in enumerate(values))
        elif origin is dict and isinstance(values, dict) and len(arguments) == 2:
            yield from ((arguments[1], item, (*keys, key)) for key, item in values.items())


def _options(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _dataclass_of(kind: Any) -> type | None:
    for option in _options(kind):
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return option
    return None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _as_kind(what: str) -> str | None:
    """How a value of the expected kind is written; None where one kind is not expected."""
    wanted = re.match(r"Expected (\w+)(?: \| null)?, got (\w+)", what)
    if wanted is None:
        return None
    if wanted[1] == "str":
        return None if wanted[2] in ("object", "array", "null") else "put the value in quotes"
    return _KINDS.get(wanted[1])
