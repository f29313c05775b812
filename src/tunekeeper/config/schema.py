"""JSON schemas of the configuration files, made from the dataclasses; descriptions are the docstrings under their fields."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from typing import Any

import msgspec

from tunekeeper.config.project import MODEL_KEYS, ROOMS, SECTIONS, LogConfig, WorkerConfig
from tunekeeper.core.nouns.retraining import Model

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def project_schema() -> dict[str, Any]:
    """The schema of tunekeeper.yaml."""
    sections: dict[str, type] = {
        "gateway": SECTIONS.load("gateway"),
        "notify": SECTIONS.load("notify"),
        "worker": WorkerConfig,
        "log": LogConfig,
    }
    return _file("tunekeeper.yaml", {"project": {"type": "string", "description": "Name of the project."}}, sections)


def model_schema() -> dict[str, Any]:
    """The schema of models/<name>.yaml."""
    _, definitions = msgspec.json.schema_components([Model])
    own = definitions["Model"]["properties"]
    documented = field_docs(Model)
    keys = {key: {**own[field], "description": documented[field]} for key, field in MODEL_KEYS.items()}
    return _file("models/<name>.yaml", keys, {room: SECTIONS.load(room) for room in ROOMS})


@functools.cache
def field_docs(kind: type) -> dict[str, str]:
    """Field of a dataclass → the docstring under it; empty text where there is none."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            text = said.value if isinstance(said, ast.Constant) and isinstance(said.value, str) else ""
            found[node.target.id] = " ".join(text.split())
    return found


def _file(title: str, properties: dict[str, Any], sections: dict[str, type]) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    for name, kind in sections.items():
        # Several sections are called Config: each gets its definitions under its own name.
        (root,), parts = msgspec.json.schema_components([kind], ref_template=f"#/$defs/{name}.{{name}}")
        for part, schema in parts.items():
            definitions[f"{name}.{part}"] = _documented(schema, _inner(kind, part))
        properties[name] = {**root, "description": (inspect.getdoc(kind) or "").partition("\n")[0]}
    return {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _documented(schema: dict[str, Any], kind: type | None) -> dict[str, Any]:
    if "properties" not in schema:
        return schema
    documented = field_docs(kind) if kind is not None else {}
    properties = {name: {**part, **_description(documented.get(name))} for name, part in schema["properties"].items()}
    return {**schema, "properties": properties, "additionalProperties": False}


def _description(text: str | None) -> dict[str, str]:
    return {"description": text} if text else {}


def _inner(kind: type, name: str) -> type | None:
    """The dataclass called `name` that is `kind` or stands somewhere in its fields."""
    if kind.__name__ == name:
        return kind
    for hint in typing.get_type_hints(kind).values():
        for option in _flat(hint):
            found = _inner(option, name) if isinstance(option, type) and dataclasses.is_dataclass(option) else None
            if found is not None:
                return found
    return None


def _flat(hint: Any) -> list[Any]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, tuple, list, dict):
        return [part for argument in typing.get_args(hint) for part in _flat(argument)]
    return [hint]
