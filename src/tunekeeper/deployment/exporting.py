"""Checkpoint or GGUF file, perhaps with an adapter, to one servable file of the asked type. No project and no ledger needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, DiskFull, UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.adapter import Adapter, folder_digest, open_adapter
from tunekeeper.deployment.checkpoint import Checkpoint, open_checkpoint, weights_digest
from tunekeeper.deployment.compare import plain_kind
from tunekeeper.deployment.gguf import FLOATS, write_adapter, write_model
from tunekeeper.deployment.header import read_gguf, refuse_part
from tunekeeper.deployment.inspect import write_sidecar
from tunekeeper.deployment.publish import scratch_folder, sync, whole_or_absent
from tunekeeper.deployment.quantize import KINDS, quantize_file
from tunekeeper.store.place import file_at
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import read_tokenizer

QUANTIZATIONS = (*FLOATS, *KINDS)
_ASKED = {"role": "user", "content": "hello"}
CONVERSATIONS = (
    (_ASKED,),
    ({"role": "system", "content": "Be brief."}, _ASKED),
    (_ASKED, {"role": "assistant", "content": "hi"}, _ASKED),
)
"""What any chat template renders at least one of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A file that was written, as `export gguf` prints it."""

    path: str
    """Where it lies."""
    digest: str
    """Its digest; also in `<path>.sha256`."""
    bytes: int
    """Its size."""
    quantization: str
    """Its type."""
    fallback_tensors: tuple[str, ...] = ()
    """Tensors whose rows did not fit the type, as `name: type`."""
    notes: tuple[str, ...] = ()
    """What its server must be told or cannot do."""


def check_quantization(kind: str) -> str:
    """`kind` in its proper spelling. Raises UserError naming the known ones."""
    found = next((known for known in QUANTIZATIONS if known.lower() == kind.lower()), None)
    if found is None:
        raise UserError(f"quantization {kind!r} is not known; known: {', '.join(QUANTIZATIONS)}", fix="write --quant Q4_K_M")
    return found


def export_folder(source: Path, adapter: Path | None, kind: str, out: Path, *, adapter_only: bool = False) -> Exported:
    """Convert, merge and quantize `source` (checkpoint folder or GGUF file) into `out`, whole or not at all.

    Raises ArtifactError for what is damaged, foreign or unknown, UserError for a combination that makes no sense.
    """
    kind = check_quantization(kind)
    if not source.exists():
        raise ArtifactError(f"{source}: no such checkpoint folder or GGUF file")
    if source.is_file():
        if adapter is not None:
            raise UserError("an adapter is merged into a checkpoint folder, not into a GGUF file", fix="give --checkpoint FOLDER")
        have = _kind_of(source)
        return with_digest(out, lambda file: finish(file, kind, _from_gguf(source, have, kind, file)))
    checkpoint = open_checkpoint(source)
    digest = weights_digest(source)
    part = open_adapter(adapter, checkpoint, base_digest=digest) if adapter else None
    metadata = {"base_digest": digest} | ({"adapter_digest": folder_digest(adapter)} if adapter else {})
    names: Any = {"name": out.stem, "metadata": metadata}
    if not adapter_only:
        _refuse_template(source)
        return with_digest(out, lambda file: _finished(file, kind, part, write_servable(checkpoint, part, kind, file, **names)))
    if part is None or kind not in FLOATS:
        raise UserError("--adapter-only needs --adapter and one of f32, f16, bf16", fix="add --quant f16")
    return with_digest(
        out, lambda file: _finished(file, kind, part, ((), write_adapter(checkpoint, part, file, kind, **names).notes))
    )


def with_digest(out: Path, write: Callable[[Path], Exported]) -> Exported:
    """What `write` makes of a path beside `out`, put in its place behind its digest: whenever this process is killed, a file
    that is there is whole and has its digest beside it. Raises DiskFull naming `out`, UserError where no file can be."""
    file = file_at(out)
    try:
        with scratch_folder(file.with_name(f"{file.name}.new")) as folder:
            made = write(folder / file.name)
            sync(folder / file.name)
            for name in (f"{file.name}.sha256", file.name):
                (folder / name).replace(file.with_name(name))
            sync(file.parent)
    except DiskFull as error:
        raise DiskFull(f"{out}: no room left on the disk; nothing was written", fix=error.fix) from error
    return replace(made, path=str(out))


def _refuse_template(folder: Path) -> None:
    """Raise ArtifactError for a chat template that renders nothing: a server of the file would hang in it, or end."""
    files = read_tokenizer(folder)
    if files.template is None:
        return
    for messages in CONVERSATIONS:
        try:
            render(files.template, messages, add_generation_prompt=True, special=files.special())
        except ArtifactError as error:
            why = error.message
        else:
            return
    raise ArtifactError(
        f"{folder}: no conversation can be rendered: {why}", fix="put back the chat template that came with the weights"
    )


def _finished(out: Path, kind: str, part: Adapter | None, written: tuple[tuple[str, ...], tuple[str, ...]]) -> Exported:
    fallback, notes = written
    return finish(out, kind, fallback, notes + _unproven(part))


def _unproven(adapter: Adapter | None) -> tuple[str, ...]:
    if adapter is None or adapter.base_digest is not None:
        return ()
    return ("nothing but its dimensions says that the adapter was trained on this base",)


def write_servable(
    checkpoint: Checkpoint,
    adapter: Adapter | None,
    kind: str,
    out: Path,
    *,
    name: str,
    metadata: dict[str, str],
    plain: Path | None = None,
    rows: Iterable[tuple[str, ...]] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Merge and write `out` of any known kind; fallback tensors and notes. `plain`: keep the f16 step at this path. `rows`: texts
    of what was learned, for the choice of a pre-tokenizer."""
    if kind in FLOATS:
        return (), write_model(checkpoint, adapter, out, kind, name=name, metadata=metadata, rows=rows).notes
    if plain is not None:
        notes = write_model(checkpoint, adapter, plain, "f16", name=name, metadata=metadata, rows=rows).notes
        return quantize_file(plain, out, kind).fallback, notes
    with scratch_folder(out.with_name(f"{out.name}.plain")) as scratch:
        step = scratch / "plain.gguf"
        # f16 may overflow or lose bf16's range; the quantizer is fed the exact values.
        notes = write_model(checkpoint, adapter, step, "f32", name=name, metadata=metadata, rows=rows).notes
        return quantize_file(step, out, kind).fallback, notes


def _kind_of(source: Path) -> str:
    """f32, f16 or bf16 of a GGUF file. Raises ArtifactError for one that nothing can be made of."""
    header = read_gguf(source)
    if header.adapter:
        raise ArtifactError(f"{source}: an adapter, not a model", fix="give the model's GGUF file or its checkpoint folder")
    refuse_part(source, header)
    have = plain_kind(source)
    if have is None:
        raise ArtifactError(
            f"{source}: already quantized; quantizing again loses twice", fix="start from an f16, bf16 or f32 file"
        )
    return have


def _from_gguf(source: Path, have: str, kind: str, out: Path) -> tuple[str, ...]:
    if kind != have:
        return quantize_file(source, out, kind).fallback
    with whole_or_absent(out) as part:
        shutil.copyfile(source, part)
    return ()


def finish(out: Path, kind: str, fallback: tuple[str, ...], notes: tuple[str, ...] = ()) -> Exported:
    """Check the written file's header, write its digest beside it, and describe it."""
    read_gguf(out)
    digest = digest_file(out)
    write_sidecar(out, digest)
    return Exported(
        path=str(out), digest=digest, bytes=out.stat().st_size, quantization=kind, fallback_tensors=fallback, notes=notes
    )
