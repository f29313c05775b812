"""`tunekeeper export ollama`: a version, or an artifact folder, into an Ollama server or beside a Modelfile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.versions import artifact_of, version_of
from tunekeeper.core.errors import UserError

if TYPE_CHECKING:
    from tunekeeper.core.nouns.deployment import Artifact
    from tunekeeper.core.nouns.training import Version
    from tunekeeper.deployment.config import Config
    from tunekeeper.deployment.ollamapackage import Package
    from tunekeeper.deployment.ollamapush import Pushed
    from tunekeeper.workspace import Workspace

app = frame.group("Push versions to Ollama.")


@app.command("ollama")
def ollama(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Version name or id, or the beginning of it (v1.0).")
    ] = None,
    artifact: Annotated[Path | None, typer.Option("--artifact", help="Folder with serve.json, without a project.")] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="The server; default: the model file's, OLLAMA_HOST, this machine.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name there; default: MODEL:VERSION.")] = None,
    quant: Annotated[
        str | None, typer.Option("--quant", help="Quantization of the version's file; default: the model's.")
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="Go template in place of the converted one; it is checked as well.")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="System prompt; default: what training used.")] = None,
    transcript: Annotated[
        Path | None, typer.Option("--transcript", help="Reference transcript to compare answers with, with --artifact.")
    ] = None,
    modelfile: Annotated[
        Path | None, typer.Option("--modelfile", help="Write this Modelfile and its GGUF files; push only with --endpoint.")
    ] = None,
    arm: Annotated[bool, typer.Option("--arm", help="Put the verified version into the model's standby slot.")] = False,
    unload: Annotated[bool, typer.Option("--unload", help="Give its memory back when it is verified.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Name of the model, where versions share a name.")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Push a version under a name of its own, load it and compare it with training. Exit 1: it differs and was deleted again.

    Example: tunekeeper export ollama v1.0 --endpoint http://127.0.0.1:11434
    """
    if (version is None) == (artifact is None):
        raise UserError("export ollama needs a VERSION of the project or --artifact FOLDER, not both", fix="tunekeeper model ls")
    if arm and (artifact is not None or unload or (modelfile is not None and endpoint is None)):
        raise UserError("--arm goes with a VERSION that is pushed and stays loaded", fix="leave out --artifact and --unload")
    go = None if template is None else _text(template)
    if artifact is not None:
        packed = _Packed(package=_folder(artifact, name, go, system, transcript, quant, model))
    else:
        if transcript is not None:
            raise UserError("a version has its own transcript", fix="leave out --transcript")
        packed = _version(dir, model, version, quant, name, go, system, dry_run=dry_run)
    package = packed.package
    if package is None:
        return frame.emit({"version": version, "exported": False}, json, [f"would export {version} first, then push it"])
    files = _modelfile(package, modelfile, dry_run=dry_run) if modelfile else []
    if modelfile is not None and endpoint is None:
        said = {"name": package.name, "modelfile": str(modelfile), "files": files, "notes": package.notes, "dry_run": dry_run}
        lines = [f"{'would write' if dry_run else 'wrote'} {path}" for path in files]
        return frame.emit(said, json, [*lines, f"then: ollama create {package.name} -f {modelfile}", *_notes(package.notes)])
    pushed, slot = _push(packed, package, endpoint, arm=arm, unload=unload, dry_run=dry_run)
    lines = [*_said(pushed, dry_run=dry_run), *([f"  in slot {slot}"] if slot else [])]
    return frame.emit({**_fields(pushed), "files": files, "slot": slot, "dry_run": dry_run}, json, lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Packed:
    """A package, and for a project's version what it came from."""

    package: Package | None
    """None: it would have to be exported first, and this is a dry run."""
    ws: Workspace | None = None
    """The project."""
    version: Version | None = None
    """The version."""
    artifact: Artifact | None = None
    """Its file."""
    section: Config | None = None
    """The deployment section of its model."""


def _folder(
    artifact: Path,
    name: str | None,
    template: str | None,
    system: str | None,
    transcript: Path | None,
    quant: str | None,
    model: str | None,
) -> Package:
    from tunekeeper.deployment.ollamaverbs import package_folder

    if quant is not None or model is not None:
        raise UserError("--quant and --model go with a VERSION", fix="leave them out")
    if name is None:
        raise UserError("an artifact folder has no name of its own", fix="add --name support-desk:v1.0")
    return package_folder(artifact, name=name, template=template, system=system, transcript=transcript)


def _version(
    dir: Path | None,
    model: str | None,
    version: str | None,
    quant: str | None,
    name: str | None,
    template: str | None,
    system: str | None,
    *,
    dry_run: bool,
) -> _Packed:
    from tunekeeper.deployment.exporting import check_quantization
    from tunekeeper.deployment.ollamaverbs import named, package_version
    from tunekeeper.deployment.verbs import file_engine, find_artifact

    ws, found = version_of(dir, model, version)
    named(name, found)
    config = frame.project(dir)[1].model(found.model)
    section, kind = config.sections["deployment"], check_quantization(quant) if quant else None
    if dry_run and find_artifact(ws, found, file_engine(section), kind or section.quantization) is None:
        return _Packed(package=None)
    made = artifact_of(ws, dir, found, kind)
    package = package_version(ws, config.task, section, found, made, name=name, template=template, system=system)
    return _Packed(package=package, ws=ws, version=found, artifact=made, section=section)


def _modelfile(package: Package, path: Path, *, dry_run: bool) -> list[str]:
    from tunekeeper.deployment.ollamaverbs import write_modelfile

    return [str(path)] if dry_run else [str(each) for each in write_modelfile(package, path)]


def _push(
    packed: _Packed, package: Package, endpoint: str | None, *, arm: bool, unload: bool, dry_run: bool
) -> tuple[Pushed, str | None]:
    """What was done, and the slot that it is armed in."""
    from tunekeeper.deployment import ollamapush, ollamaslots
    from tunekeeper.engines.ollama import OllamaServer, default_endpoint

    named = packed.section.endpoint if packed.section is not None else None
    server = OllamaServer(endpoint or named or default_endpoint())
    if dry_run:
        return ollamapush.plan(server, package), None
    if packed.ws is None:
        return ollamapush.push(server, package, unload=unload, told=frame.say), None
    pushed = ollamaslots.push_version(packed.ws, server, package, unload=unload, told=frame.say)
    if not arm or packed.version is None or packed.artifact is None or packed.section is None:
        return pushed, None
    return pushed, ollamaslots.arm(
        packed.ws, packed.section, packed.version, packed.artifact, endpoint=pushed.endpoint, name=pushed.name,
        seen=pushed.verified,
    ).id  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _fields(pushed: Pushed) -> dict[str, Any]:
    return {name: getattr(pushed, name) for name in pushed.__dataclass_fields__}


def _said(pushed: Pushed, *, dry_run: bool) -> list[str]:
    if dry_run:
        there = f"would create {pushed.name}, sending {len(pushed.sent)} files" if pushed.created else f"{pushed.name} is there"
        return [there, *_notes(pushed.notes)]
    assert pushed.verified is not None
    seen = pushed.verified
    done = "pushed" if pushed.created else "was there already, the same"
    lines = [f"{pushed.name} {done}, verified: ask {pushed.endpoint} for it"]
    lines.append(f"  template: {seen.template}; parameters: {pushed.parameters}")
    told = (
        f"{seen.equal} of {seen.prompts} answers equal training's whole, {seen.agreement:.0%} from the beginning"
        if seen.prompts
        else ""
    )
    lines.append(f"  {told or 'answers were not compared: there is no reference transcript'}")
    lines.append(f"  {'loaded until it is unloaded' if seen.loaded else 'unloaded'}")
    return [*lines, *_notes(pushed.notes)]


def _notes(notes: tuple[str, ...]) -> list[str]:
    return [f"  note: {note}" for note in notes]
