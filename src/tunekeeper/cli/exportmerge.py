"""`tunekeeper export merge`: a version, or a checkpoint with its adapter, as one whole checkpoint folder for vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.versions import version_of
from tunekeeper.core.errors import UserError

if TYPE_CHECKING:
    from tunekeeper.deployment.merging import Merged

app = frame.group("Merge an adapter into its base.")


@app.command("merge")
def merge(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Version name or id, or the beginning of it (v1.0).")
    ] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="f32, f16 or bf16; default: the base's own.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; it must not be there yet.")] = None,
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help="Checkpoint folder, without a project.")] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="PEFT adapter folder, with --checkpoint.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Name of the model, where versions share a name.")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Write safetensors with the adapter merged in, with config, tokenizer and template: what vLLM and transformers load.

    Example: tunekeeper export merge v1.0 --dtype bf16 --out v1.0-merged
    """
    if out is None:
        raise UserError("export merge needs a folder to write", fix="add --out FOLDER")
    if (version is None) == (checkpoint is None):
        raise UserError("export merge needs a VERSION of the project or --checkpoint, not both", fix="tunekeeper model ls")
    if adapter is not None and checkpoint is None:
        raise UserError("--adapter goes with --checkpoint", fix="add --checkpoint FOLDER")
    if checkpoint is None:
        checkpoint, adapter = _of_version(dir, model, version)
    from tunekeeper.deployment.merging import merge_folder, plan_merge

    if dry_run:
        return _say(plan_merge(checkpoint, adapter, dtype, out), json, "would write")
    frame.say(f"merging {adapter or 'nothing'} into {checkpoint}")
    return _say(merge_folder(checkpoint, adapter, dtype, out), json, "wrote")


def _of_version(dir: Path | None, model: str | None, name: str | None) -> tuple[Path, Path | None]:
    """The version's checkpoint and its adapter. Raises ArtifactError when the base is not the one it was trained on."""
    from tunekeeper.deployment.reference import adapter_folder, base_folder
    from tunekeeper.deployment.vllmadapter import read_base

    ws, found = version_of(dir, model, name)
    folder = base_folder(ws, found)
    weights = found.base_digest if found.checkpoint is None else None
    read_base(folder, weights=weights, tokenizer=found.tokenizer_digest, template=found.template_digest)
    return folder, adapter_folder(ws, found.adapter) if found.adapter else None


def _say(made: Merged, json: bool, did: str) -> int:
    size = f"{made.dtype}, {made.shards} file{'s' if made.shards > 1 else ''} of weights, {made.bytes / 1e6:.2f} MB"
    lines = [f"{did} {made.path}: {size}" + (f", {made.digest}" if made.digest else "")]
    lines += [f"  note: {note}" for note in made.notes]
    return frame.emit(made, json, lines)
