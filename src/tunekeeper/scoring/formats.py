"""What a well-formed answer looks like: the `format` of `models/<name>.yaml`.

format: {kind: text}                                     anything but empty
format: {kind: regex, pattern: "REF-[0-9]{6}"}           the whole answer matches, linear time
format: {kind: json, fields: {category: [billing, refund], note: []}, extra: false}
                                                         one JSON object; a listed field is there and among its values ([]: any)
format: {kind: schema, schema: {type: object, …}}        any JSON value that fits a JSON Schema (scoring/schemas.py)
"""

from __future__ import annotations

import difflib
import functools
import json
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.scoring import schemas
from tunekeeper.scoring.patterns import asked_for, searchable

KEYS = {"text": {"kind"}, "regex": {"kind", "pattern"}, "json": {"kind", "fields", "extra"}, "schema": {"kind", "schema"}}


def validate(spec: dict[str, Any], where: str = "format") -> None:
    """Raise ConfigError, naming `where`, for an unknown kind or key, a pattern that is none, or fields that are no lists."""
    kind = spec.get("kind", "text")
    if not isinstance(kind, str) or kind not in KEYS:
        raise ConfigError(f"{where}: kind {kind!r} is none of {', '.join(sorted(KEYS))}", fix=_near(str(kind), KEYS))
    for key in spec:
        if key not in KEYS[kind]:
            raise ConfigError(f"{where}: unknown key {key!r} for kind {kind}", fix=_near(str(key), KEYS[kind]))
    if kind == "regex":
        _pattern(str(spec.get("pattern", "")), where)
    if kind == "schema":
        schemas.validate(spec.get("schema"), f"{where}.schema")
    fields = spec.get("fields", {})
    if not isinstance(fields, dict) or any(not isinstance(v, list | tuple | None) for v in fields.values()):
        raise ConfigError(
            f"{where}: fields must map each field to the list of its values", fix="write e.g. {category: [billing, refund]}"
        )


def check(answer: str, spec: dict[str, Any]) -> tuple[bool, str]:
    """Whether `answer` has the format, and why not (empty when it has). Raises ConfigError for a spec that is none."""
    kind = spec.get("kind", "text")
    if not answer.strip():
        return False, "empty answer"
    if kind == "text":
        return True, ""
    if kind == "regex":
        matched = _pattern(str(spec.get("pattern", "")), "format").fullmatch(searchable(answer).strip()) is not None
        return matched, "" if matched else "does not match the pattern"
    if kind == "json":
        return _check_json(answer, spec)
    if kind == "schema":
        value, problem = parse_value(answer)
        try:
            problem = problem or schemas.violation(value, _schema(json.dumps(spec.get("schema"), sort_keys=True, default=str)))
        except RecursionError:
            problem = f"the schema is more than {schemas.DEEPEST} levels and references deep"
        return not problem, problem
    raise ConfigError(f"format: kind {kind!r} is none of {', '.join(sorted(KEYS))}", fix=_near(str(kind), KEYS))


@functools.lru_cache(maxsize=16)
def _schema(text: str) -> Any:
    """The schema in a JSON text, validated once: one with a keyword that is none would accept everything."""
    schema = json.loads(text)
    schemas.validate(schema, "format.schema")
    return schema


def _check_json(answer: str, spec: dict[str, Any]) -> tuple[bool, str]:
    value, problem = parse_object(answer)
    if value is None:
        return False, problem
    fields: dict[str, Any] = spec.get("fields") or {}
    for name, allowed in fields.items():
        if name not in value:
            return False, f"field {name} is missing"
        if allowed and value[name] not in allowed:
            return False, f"{name} is {_short(value[name])}, not one of {', '.join(map(str, allowed))}"
    extra = [name for name in value if name not in fields]
    if fields and extra and not spec.get("extra", False):
        return False, f"field {extra[0]} is not in the format"
    return True, ""


def parse_object(answer: str) -> tuple[dict[str, Any] | None, str]:
    """The JSON object that the whole answer is, or None and why: prose around it, a repeated key or NaN make it no JSON."""
    value, problem = parse_value(answer)
    if problem or isinstance(value, dict):
        return value, problem
    return None, f"JSON, but {type(value).__name__} instead of an object"


def parse_value(answer: str) -> tuple[Any, str]:
    """The JSON value that the whole answer is, and why it is none (empty when it is one)."""
    try:
        return json.loads(answer.strip(), object_pairs_hook=_unique, parse_constant=_no_constant), ""
    except RecursionError:
        return None, "not JSON: nested too deeply"
    except ValueError as error:
        return None, f"not JSON: {error}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is repeated")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _pattern(pattern: str, where: str) -> Any:
    if not pattern:
        raise ConfigError(f"{where}: kind regex needs a pattern", fix='write pattern: "…"')
    return asked_for(pattern, where)


def _near(word: str, known: Any) -> str | None:
    found = difflib.get_close_matches(word, known, 1)
    return f"write {found[0]!r}" if found else None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
