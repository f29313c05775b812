"""`tunekeeper export`: gguf, parity, merge, ollama, vllm, mlflow, inspect, verify; of a project's versions, or of files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import exportmerge, exportmlflow, exportollama, exportprune, exportvllm, frame
from tunekeeper.cli.versions import artifact_of, version_of
from tunekeeper.core.errors import NotFound, UserError

if TYPE_CHECKING:
    from tunekeeper.core.nouns.deployment import Artifact, Parity
    from tunekeeper.core.nouns.training import Version
    from tunekeeper.engines import ChatClient
    from tunekeeper.workspace import Workspace

app = frame.group("Stage 4: GGUF, quantization, parity, inspection.")

VersionName = Annotated[
    str | None, typer.Argument(metavar="[VERSION]", help="Version name or id, or the beginning of it (v1.0).")
]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="Checkpoint folder or GGUF file, without a project.")]
Adapter = Annotated[Path | None, typer.Option("--adapter", help="PEFT adapter folder, with --checkpoint.")]
OptionalModel = Annotated[str | None, typer.Option("--model", help="Name of the model, where versions of several share a name.")]
EXITS = {"pass": 0, "block": 1, "inconclusive": 3}


@app.command("gguf")
def gguf(
    version: VersionName = None,
    quant: Annotated[str | None, typer.Option("--quant", help="f32, f16, bf16, Q8_0, Q6_K, Q5_K_M or Q4_K_M.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write.")] = None,
    checkpoint: Checkpoint = None,
    adapter: Adapter = None,
    adapter_only: Annotated[bool, typer.Option("--adapter-only", help="Write the adapter as a GGUF file of its own.")] = False,
    model: OptionalModel = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Write a version, or a checkpoint with its adapter merged in, as one GGUF file.

    Example: tunekeeper export gguf v1.0 --quant Q4_K_M --out v1.0.gguf
    """
    from tunekeeper.deployment.exporting import check_quantization

    if out is None:
        raise UserError("export gguf needs a file to write", fix="add --out FILE.gguf")
    kind = check_quantization(quant) if quant else None
    if checkpoint is not None:
        if version is not None:
            raise UserError("give a VERSION of the project or --checkpoint, not both")
        return _from_files(checkpoint, adapter, kind or "Q4_K_M", out, adapter_only=adapter_only, dry_run=dry_run, json=json)
    if adapter is not None or adapter_only:
        raise UserError("--adapter and --adapter-only go with --checkpoint", fix="add --checkpoint FOLDER")
    ws, found = version_of(dir, model, version)
    if dry_run:
        return frame.emit({"version": found.id, "out": str(out)}, json, [f"would write {found.id} to {out}"])
    artifact = artifact_of(ws, dir, found, kind)
    return _copy(ws, artifact, out, json)


def _from_files(
    checkpoint: Path, adapter: Path | None, kind: str, out: Path, *, adapter_only: bool, dry_run: bool, json: bool
) -> int:
    from tunekeeper.deployment import files

    if dry_run:
        found = files.inspect(adapter, checkpoint) if adapter else files.inspect(checkpoint)
        return frame.emit({**found, "out": str(out)}, json, [f"would write {out} from {checkpoint}"])
    return _say_written(files.export_folder(checkpoint, adapter, kind, out, adapter_only=adapter_only), json)


def _copy(ws: Workspace, artifact: Artifact, out: Path, json: bool) -> int:
    from tunekeeper.deployment.exporting import Exported, finish, with_digest

    kind, blob = artifact.quantization, artifact.digest
    if blob is None or kind is None:
        raise NotFound(f"{artifact.version} has no GGUF file of its own ({artifact.engine})")

    def write(part: Path) -> Exported:
        shutil.copyfile(ws.blobs.path(blob), part)
        return finish(part, kind, artifact.fallback_tensors, tuple(artifact.metadata.get("notes", ())))

    return _say_written(with_digest(out, write), json)


def _say_written(written: Any, json: bool) -> int:
    lines = [f"wrote {written.path}: {written.quantization}, {written.bytes / 1e6:.2f} MB, {written.digest}"]
    lines += [f"  rows do not fit the type, stored as {entry}" for entry in written.fallback_tensors]
    lines += [f"  note: {note}" for note in written.notes]
    return frame.emit(written, json, lines)


@app.command("parity")
def parity(
    version: VersionName = None,
    checkpoint: Checkpoint = None,
    adapter: Adapter = None,
    artifact: Annotated[Path | None, typer.Option("--artifact", help="Folder with serve.json, or merged checkpoint.")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="Chat JSONL to compare on, with --checkpoint.")] = None,
    quant: Annotated[
        str | None, typer.Option("--quant", help="Quantization of the version's file; default: the model's.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="At the loaded slot's endpoint, and keep the verdict on the artifact.")
    ] = False,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="Compare any OpenAI-compatible server, http://HOST:PORT/v1, with training.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The model's name at that endpoint; default: the only one.")] = None,
    api_key_env: Annotated[str | None, typer.Option("--api-key-env", help="Variable that holds that server's key.")] = None,
    model: OptionalModel = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Compare served answers with training-time answers, naming the layer that differs. Exit 1: block, 3: inconclusive.

    Example: tunekeeper export parity v1.0
    """
    if endpoint is not None:
        if live or artifact is not None or (checkpoint is None) == (version is None):
            raise UserError("--endpoint goes with a VERSION or with --checkpoint, and takes the place of --artifact and --live")
        from tunekeeper.deployment.remoteparity import client_of
        from tunekeeper.engines.engine import key_of

        server = client_of(endpoint, name, key_of(api_key_env))
        return _say_parity(_at(dir, model, version, checkpoint, adapter, prompts, server), json)
    if name is not None or api_key_env is not None:
        raise UserError("--name and --api-key-env go with --endpoint", fix="add --endpoint http://HOST:PORT/v1")
    if checkpoint is not None:
        if live:
            raise UserError("--live goes with a VERSION whose slot is loaded", fix="leave out --checkpoint")
        if artifact is None or version is not None:
            raise UserError("parity of files needs --checkpoint and --artifact, and no VERSION", fix="add --artifact FOLDER")
        from tunekeeper.deployment import files

        return _say_parity(files.parity_of_folder(checkpoint, adapter, artifact, prompts=prompts), json)
    from tunekeeper.deployment.exporting import check_quantization

    ws, found = version_of(dir, model, version)
    made = artifact_of(ws, dir, found, check_quantization(quant) if quant else None, served=True)
    if live:
        return _live(ws, dir, found, made, json)
    if made.parity is None:
        raise NotFound(f"{found.id} was not compared with training", fix=f"tunekeeper export gguf {found.name} --out FILE")
    return _say_parity(made.parity, json)


def _at(
    dir: Path | None,
    model: str | None,
    version: str | None,
    checkpoint: Path | None,
    adapter: Path | None,
    prompts: Path | None,
    server: ChatClient,
) -> Parity:
    from tunekeeper.deployment import files
    from tunekeeper.deployment.liveparity import measure_at

    if checkpoint is not None:
        return files.parity_of_endpoint(checkpoint, adapter, server, prompts=prompts)
    ws, found = version_of(dir, model, version)
    return measure_at(ws, frame.project(dir)[1].model(found.model).sections["deployment"], found, server)


def _live(ws: Workspace, dir: Path | None, version: Version, artifact: Artifact, json: bool) -> int:
    from tunekeeper.deployment.liveparity import measure
    from tunekeeper.store.ledgers.slots import find_slots

    with ws.control.read() as tx:
        slots = [slot for slot in find_slots(tx, model=version.model) if slot.artifact == artifact.id]
    if not slots:
        raise NotFound(
            f"no slot holds {version.name}", fix=f"tunekeeper retrain run --model {version.model}, or export vllm --arm"
        )
    section = frame.project(dir)[1].model(version.model).sections["deployment"]
    return _say_parity(measure(ws, section, version, artifact, slots[0]).parity, json)


def _say_parity(found: Parity, json: bool) -> int:
    verdict = f"{found.verdict.upper()}{f' at {found.layer}' if found.layer else ''}"
    lines = [verdict, *(f"  {'ok  ' if check.ok else 'DIFF'} {check.layer}: {check.detail}" for check in found.checks)]
    return frame.emit(found, json, lines, code=EXITS[found.verdict])


app.registered_commands.extend(exportmerge.app.registered_commands)
app.registered_commands.extend(exportollama.app.registered_commands)
app.registered_commands.extend(exportvllm.app.registered_commands)
app.registered_commands.extend(exportmlflow.app.registered_commands)
app.registered_commands.extend(exportprune.app.registered_commands)


@app.command("inspect")
def inspect(
    path: Annotated[Path, typer.Argument(help="GGUF, safetensors, checkpoint or adapter folder.")],
    base: Annotated[Path | None, typer.Option("--base", help="Checkpoint folder: does the adapter fit it?")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Check the header of any model file, bounded, running no code of it.

    Example: tunekeeper export inspect adapter/ --base base/
    """
    from tunekeeper.deployment import files

    found = files.inspect(_within(dir, path), _within(dir, base) if base else None)
    return frame.emit(found, json, [f"{key}: {value}" for key, value in found.items() if value not in (None, {})])


@app.command("verify")
def verify(path: Annotated[Path, typer.Argument(help="File or folder.")], dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Compare files with the digests recorded beside them (FILE.sha256).

    Example: tunekeeper export verify v1.0.gguf
    """
    from tunekeeper.deployment import files

    found = files.verify(_within(dir, path))
    return frame.emit(found, json, [f"{name}: {digest}" for name, digest in found["files"].items()])


def _within(dir: Path | None, path: Path) -> Path:
    """A path as given, or in the project `dir` where it is only there."""
    return path if dir is None or path.exists() else dir / path
