"""`tunekeeper export mlflow`: a version into an MLflow registry; and the way back for `model import --adapter models:/…`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.versions import version_of

if TYPE_CHECKING:
    from tunekeeper.deployment.mlflowfetch import Fetched
    from tunekeeper.deployment.mlflowpush import Exported

app = frame.group("Register versions in MLflow.")


@app.command("mlflow")
def mlflow(
    version: Annotated[str, typer.Argument(help="Version name or id, or the beginning of it (v1.0).")],
    name: Annotated[str | None, typer.Option("--name", help="Registered model; default: the model's name.")] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Its experiment; default: MLFLOW_EXPERIMENT_NAME, the model's name.")
    ] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Point this alias at it, e.g. champion.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Name of the model, where versions share a name.")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Log a version's run and adapter at MLFLOW_TRACKING_URI and register it, once however often it is asked.

    Example: tunekeeper export mlflow v1.0 --alias challenger
    """
    from tunekeeper.deployment.mlflowpush import packed, plan, push
    from tunekeeper.deployment.mlflowserver import MlflowServer

    environ = _environment(dir)
    server = MlflowServer.of(environ)
    ws, found = version_of(dir, model, version)
    package = packed(ws, found)
    registered = name or found.model
    place = experiment or environ.get("MLFLOW_EXPERIMENT_NAME") or found.model
    if dry_run:
        made = plan(server, package, registered, place, alias=alias)
    else:
        made = push(server, package, registered, place, ws.path("work"), now=ws.clock.utc(), alias=alias)
    return frame.emit(made, json, _lines(made, found.id, dry_run=dry_run))


def _lines(made: Exported, version: str, *, dry_run: bool) -> list[str]:
    if dry_run and made.created:
        return [f"would register {version} as {made.name} at {made.server}, experiment {made.experiment}"]
    was = "registered as" if made.created else "was registered already as"
    lines = [f"{version} {was} {made.uri} at {made.server}, run {made.run}"]
    return [*lines, *([f"  {made.name}@{made.alias} is this version now"] if made.alias and not dry_run else [])]


def _environment(dir: Path | None) -> dict[str, str]:
    """The process's environment with what the project's `.env` adds."""
    from tunekeeper.config.project import environment

    return environment(frame.find_project(dir), os.environ)


@contextmanager
def adapter_of(dir: Path | None, text: str, work: Path) -> Iterator[Fetched]:
    """The adapter of `models:/NAME/3`, as long as the block lasts; errors of the block name it and not its scratch folder."""
    from tunekeeper.core.errors import ArtifactError
    from tunekeeper.deployment.mlflowfetch import fetched, read_reference
    from tunekeeper.deployment.mlflowserver import MlflowServer

    reference = read_reference(text)
    with fetched(MlflowServer.of(_environment(dir)), reference, work) as found:
        try:
            yield found
        except ArtifactError as error:
            raise ArtifactError(error.message.replace(str(found.folder), found.uri), fix=error.fix) from None
