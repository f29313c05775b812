"""A project's version or a folder of files, made ready for Ollama; and written beside a Modelfile for those who push by hand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, GateFailed, NotFound
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment import modelfile
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.files import read_subject
from tunekeeper.deployment.ollamapackage import Package, make_package
from tunekeeper.deployment.publish import whole_or_absent
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.weights import Served
from tunekeeper.engines.ollama import check_name
from tunekeeper.workspace import Workspace


def package_version(
    ws: Workspace,
    task: Model,
    section: Config,
    version: Version,
    artifact: Artifact,
    *,
    name: str | None = None,
    template: str | None = None,
    system: str | None = None,
) -> Package:
    """A version's merged file with what its training says of template, stop texts and system prompt.

    `name`: None makes `model:version`. `system`: None takes the prompt that the version was trained or is prompted with. Raises
    GateFailed when its parity blocks, ArtifactError and UserError as `make_package`.
    """
    return packed(described(ws, task, section, version, artifact, name=name, system=system), template=template)


def described(
    ws: Workspace,
    task: Model,
    section: Config,
    version: Version,
    artifact: Artifact,
    *,
    name: str | None = None,
    system: str | None = None,
) -> dict[str, Any]:
    """What a version's package is made of, as JSON for a job. Raises as `package_version`."""
    if artifact.digest is None:
        raise NotFound(f"{version.name} has no GGUF file of its own ({artifact.engine})")
    if artifact.parity is not None and artifact.parity.verdict == "block":
        raise GateFailed(
            f"{version.name} does not answer as it was trained: parity blocks at {artifact.parity.layer}",
            fix=f"tunekeeper export parity {version.name}",
        )
    return {
        "name": named(name, version),
        "file": str(ws.blobs.path(artifact.digest)),
        "digest": artifact.digest,
        "stop": list(artifact.stop),
        "sampling": {"num_ctx": section.context},
        "system": system or version.system,
        "task_system": task.system,
        "messages": [dict(message) for message in version.messages],
        "transcript": str(ws.blobs.path(version.transcript)) if version.transcript else None,
    }


def packed(input: dict[str, Any], *, template: str | None = None) -> Package:
    """The package of a description. Raises ArtifactError when the file is not what was described."""
    references = read_transcript(Path(input["transcript"])) if input["transcript"] else []
    # Rows of several prompts, or of none, were trained as they are: then no prompt is put before them.
    trained = None if references else input["task_system"] or None
    made = make_package(
        input["name"],
        Served(model=Path(input["file"])),
        stop=input["stop"] or None,
        sampling=input["sampling"],
        template=template,
        system=input["system"] or trained,
        messages=input["messages"],
        references=references,
    )
    if made.digest != input["digest"]:
        raise ArtifactError(f"{made.model}: damaged: its digest is {made.digest}", fix="tunekeeper backup restores a good copy")
    return made


def package_folder(
    folder: Path,
    *,
    name: str,
    template: str | None = None,
    system: str | None = None,
    transcript: Path | None = None,
) -> Package:
    """An artifact folder (`serve.json`: gguf, lora, lora_scale, stop, sampling). Raises as `make_package`."""
    subject = read_subject(folder)
    return make_package(
        name,
        subject.served,
        stop=subject.stop,
        sampling=subject.sampling,
        template=template,
        system=system,
        references=read_transcript(transcript) if transcript else [],
    )


def named(name: str | None, version: Version) -> str:
    """The one name of a version: `model:version`, or `name` with the version as its tag. Raises UserError."""
    stem = name or version.model
    return check_name(stem if ":" in stem else f"{stem}:{version.name}")


def write_modelfile(package: Package, path: Path) -> tuple[Path, ...]:
    """Write a Modelfile and, beside it, the GGUF files it names; their paths. For `ollama create NAME -f FILE` by hand.

    Raises ArtifactError for what a Modelfile cannot hold, before anything is written.
    """
    stem = package.name.partition(":")[2]
    pairs: Sequence[tuple[Path, str]] = [(package.model, f"{stem}.gguf")]
    if package.lora is not None:
        pairs = [*pairs, (package.lora, f"{stem}-adapter.gguf")]
    made = modelfile.Modelfile(
        model=f"./{pairs[0][1]}",
        adapter=f"./{pairs[1][1]}" if package.lora is not None else None,
        template=package.template,
        parameters=package.parameters,
        system=package.system,
        messages=package.messages,
    )
    made.text()
    files = tuple(_copied(source, path.parent / name) for source, name in pairs)
    return (modelfile.write(path, made), *files)


def _copied(source: Path, target: Path) -> Path:
    with whole_or_absent(target) as part:
        shutil.copyfile(source, part)
    return target
