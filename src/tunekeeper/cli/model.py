"""`tunekeeper model …`: versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.core.nouns.retraining import Model
    from tunekeeper.workspace import Workspace

app = frame.group("Versions: list, show, import.")
OptionalModel = Annotated[str | None, typer.Option("--model", help="Only this model.")]


@app.command("ls")
def ls(model: OptionalModel = None, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Every version: base, dataset, artifacts, verdict of its last exam.

    Example: tunekeeper model ls --model support-desk
    """
    from tunekeeper.store.ledgers.artifacts import find_artifacts
    from tunekeeper.store.ledgers.exams import find_exams
    from tunekeeper.store.ledgers.versions import find_versions

    ws = frame.workspace(dir)
    with ws.state.read() as tx:
        versions = find_versions(tx, model=model)
        artifacts = find_artifacts(tx, model=model)
        exams = find_exams(tx, model=model)
    if not versions:
        frame.refuse_unknown(model, dir)
    found, rows = [], []
    for version in versions:
        made = [each.quantization or each.hosted or each.engine for each in artifacts if each.version == version.id]
        judged = [each.verdict.outcome for each in exams if each.version == version.id and each.verdict is not None]
        verdict = judged[-1] if judged else None
        found.append({"version": version, "artifacts": made, "verdict": verdict})
        rows.append((version.model, version.name, version.dataset, version.run, ", ".join(made) or None, verdict))
    header = ("model", "version", "dataset", "run", "artifacts", "last exam")
    lines = frame.table(rows, header) if rows else ["no version yet: tunekeeper train run"]
    return frame.emit({"versions": found}, json, lines)


@app.command("show")
def show(
    version: Annotated[str, typer.Argument(help="Name, or its beginning (v1.0), or MODEL@NAME.")],
    model: OptionalModel = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """A version with everything it was made of and judged by.

    Example: tunekeeper model show v1.0 --model support-desk
    """
    from tunekeeper.provenance import trace
    from tunekeeper.training.versions import find_version

    ws = frame.workspace(dir)
    with ws.state.read() as tx:
        found = find_version(tx, model, version)
    chain = trace(ws, found.id)
    lines = [f"{link.kind:<10} {' '.join(part for part in (link.id, link.summary) if part)}" for link in chain]
    return frame.emit({"version": found, "chain": chain}, json, lines)


@app.command("import")
def import_(
    model: frame.Model,
    adapter: Annotated[
        Path,
        typer.Option(
            "--adapter",
            help="PEFT folder with adapter_model.safetensors, or models:/NAME/3, models:/NAME@ALIAS of an MLflow registry.",
        ),
    ],
    base: Annotated[Path, typer.Option("--base", help="Checkpoint folder that it was trained on.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Take an adapter from elsewhere into the project; one of another base is refused.

    Example: tunekeeper model import --model support-desk --adapter lora/ --base qwen/
    """
    from tunekeeper.cli.exportmlflow import adapter_of
    from tunekeeper.deployment.mlflowfetch import is_reference

    ws, config = frame.project(dir)
    task = config.model(model).task
    if not is_reference(str(adapter)):
        return _import(ws, task, adapter, base, str(adapter), dry_run=dry_run, json=json)
    with adapter_of(dir, str(adapter), ws.path("work")) as found:
        return _import(ws, task, found.folder, base, found.uri, dry_run=dry_run, json=json)


def _import(ws: Workspace, task: Model, adapter: Path, base: Path, source: str, *, dry_run: bool, json: bool) -> int:
    """`source`: what the adapter is called where it came from."""
    from tunekeeper.deployment.inspect import inspect
    from tunekeeper.training.importing import import_adapter

    fits = inspect(adapter, base) | {"path": source}
    if dry_run:
        return frame.emit({"version": None, "inspected": fits}, json, [f"{source} fits {base}; nothing was changed"])
    made = import_adapter(ws, task, adapter, base, source=source)
    lines = [
        f"{made.name}: adapter {made.adapter} on {base}",
        f"next: tunekeeper deploy start {task.name} {made.name}",
    ]
    return frame.emit({"version": made.name, "id": made.id, "adapter": made.adapter, "inspected": fits}, json, lines)
