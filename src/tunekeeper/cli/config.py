"""`tunekeeper config …`: what is in force, where it came from, and what may be written."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from tunekeeper.cli import frame

app = frame.group("The checked configuration and where each value came from.")


@app.command("show")
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value came from.")] = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Every value in force.

    Example: tunekeeper config show --origin
    """
    from tunekeeper.config import load_project, origins

    found = origins(load_project(frame.find_project(dir)))
    width = max(len(each.key) for each in found)
    lines = [f"{each.key:<{width}}  {frame.to_json(each.value)}{f'  ({each.origin})' if origin else ''}" for each in found]
    document = {each.key: {"value": each.value, "origin": each.origin} if origin else each.value for each in found}
    return frame.emit(document, json, lines)


@app.command("check")
def check(dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Read every file and say whether all of it is understood.

    Example: tunekeeper config check
    """
    from tunekeeper.config import load_project

    config = load_project(frame.find_project(dir))
    return frame.emit({"ok": True, "models": list(config.models)}, json, f"ok: {len(config.models)} model(s)")


@app.command("schema")
def schema(
    model: Annotated[bool, typer.Option("--model", help="Of models/NAME.yaml, in place of tunekeeper.yaml.")] = False,
    json: frame.Json = False,
) -> int:
    """JSON schema of tunekeeper.yaml, or of a model file, for editors.

    Example: tunekeeper config schema --model > models.schema.json
    """
    from tunekeeper.config.schema import model_schema, project_schema

    found = model_schema() if model else project_schema()
    return frame.emit(found, json, jsonlib.dumps(found, indent=2))
