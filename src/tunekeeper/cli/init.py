"""`tunekeeper init`: a project from nothing."""

from __future__ import annotations

import contextlib
import json as jsonlib
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from tunekeeper.cli import frame
from tunekeeper.core.errors import UserError

PROJECT = """\
# What is served and watched here. Every key and its default: tunekeeper config schema
project: {name}

gateway:
  host: 127.0.0.1
  port: 8080
  workers: 1
"""
MODEL = """\
# One task, one file. Every key and its default: tunekeeper config schema
model: "{model}"
client: ""
task: ""
base: base            # folder of the base checkpoint, relative to the project
# system: "What every request of this task carries."
# format: {{kind: json, fields: {{category: [billing, shipping]}}}}   # a field without a list, as {{note: []}}, takes any value
"""
OWN_SUITE = """\
evaluation:
  suite: "suites/{model}.yaml"   # what gates ask; its own: another model's is refused
"""
"""For every model but the first of a project, which has the default's."""
IGNORE = ".tunekeeper/\n.env\n"


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new project; made when missing.")],
    model: Annotated[list[str] | None, typer.Option("--model", help="Also write models/NAME.yaml; may be repeated.")] = None,
    dry_run: frame.DryRun = False,
    json: frame.Json = False,
) -> int:
    """Make a project from nothing.

    Example: tunekeeper init support --model support-desk
    """
    from tunekeeper.config.project import MODEL_NAME

    models = list(dict.fromkeys(model or ()))
    for name in models:
        if not MODEL_NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot name a model", fix="use small letters, digits, '.', '-' and '_', at most 63")
    root = folder.resolve()
    files = {frame.PROJECT_FILE: PROJECT.format(name=jsonlib.dumps(root.name, ensure_ascii=False)), ".gitignore": IGNORE}
    old = (root / frame.PROJECT_FILE).exists()
    for place, name in enumerate(models):
        files[f"models/{name}.yaml"] = (MODEL + (OWN_SUITE if old or place else "")).format(model=name)
    written = [name for name in files if not (root / name).exists()]
    if old and not any(f"models/{name}.yaml" in written for name in models):
        raise UserError(f"{root / frame.PROJECT_FILE} is there already", fix="name another folder, or a new --model")
    if not dry_run:
        _make(root, {name: files[name] for name in written})
    verb = "would write" if dry_run else "wrote"
    lines = [f"{verb} {root / name}" for name in written]
    first = models[0] if models else None
    lines.append(f"next: tunekeeper data import FILE --model {first or 'NAME'} --dir {shlex.quote(str(folder))}")
    answer = {"project": str(root), "written": written, "model": first, "models": models, "dry_run": dry_run}
    return frame.emit(answer, json, lines)


def _make(root: Path, files: dict[str, str]) -> None:
    """Write the files and the data directory: all of it, or nothing where that fails, so that it can be run again."""
    from tunekeeper.workspace import create_workspace

    data = root / frame.DATA_FOLDER
    new = [folder for folder in (root / "models", root) if not folder.exists()]
    fresh = not data.exists()
    try:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        create_workspace(data, project=root)
    except BaseException:
        for name in files:
            with contextlib.suppress(OSError):
                (root / name).unlink()
        if fresh:
            shutil.rmtree(data, ignore_errors=True)
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
