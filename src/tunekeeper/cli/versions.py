"""The version that a command names, and the artifact that is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunekeeper.cli import frame
from tunekeeper.core.errors import UserError

if TYPE_CHECKING:
    from tunekeeper.core.nouns.deployment import Artifact
    from tunekeeper.core.nouns.training import Version
    from tunekeeper.workspace import Workspace


def version_of(dir: Path | None, model: str | None, name: str | None) -> tuple[Workspace, Version]:
    """The project's version called `name`: its id, its name, or a beginning that no other shares. Raises NotFound."""
    from tunekeeper.training.versions import find_version

    if name is None:
        raise UserError("name a VERSION, or give --checkpoint", fix="tunekeeper model ls")
    ws = frame.workspace(dir)
    with ws.state.read() as tx:
        return ws, find_version(tx, model, name)


def artifact_of(ws: Workspace, dir: Path | None, version: Version, kind: str | None, *, served: bool = False) -> Artifact:
    """The version's artifact, made and waited for when there is none yet. `served`: as the model's section has it loaded, which
    may be an adapter beside its base; else one whole file."""
    from tunekeeper import deployment, jobs

    config = frame.project(dir)[1].model(version.model)
    section = config.sections["deployment"]
    apart, again = served and section.apart, True
    while True:
        made = deployment.export_version(ws, config.task, section, version, quantization=kind, again=again, apart=apart)
        if not isinstance(made, jobs.Job):
            return made
        again = False
        jobs.wait(ws, made.id, frame.progress(f"exporting {version.name}"))
