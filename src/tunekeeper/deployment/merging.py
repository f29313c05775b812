"""A checkpoint with its adapter merged in, as a checkpoint folder again: for servers that cannot put the adapter on themselves.

The result is what transformers and vLLM load: config, tokenizer, chat template and safetensors shards, one tensor at a time in
memory, with a sidecar that names the base, the adapter and the digest of every file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np
from numpy.typing import NDArray

from tunekeeper.core.errors import ArtifactError, DiskFull, UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.adapter import SIDECAR, Adapter, folder_digest, open_adapter
from tunekeeper.deployment.checkpoint import read_json, weights_digest
from tunekeeper.deployment.publish import whole_folder
from tunekeeper.deployment.safetensors import READABLE, SIZES, Tensor
from tunekeeper.deployment.source import EMBEDDING, OUTPUT, Source, open_source
from tunekeeper.text.tokenizers import read_tokenizer

Array = NDArray[Any]
DTYPES = {"f32": ("F32", "float32"), "f16": ("F16", "float16"), "bf16": ("BF16", "bfloat16")}
"""Our name → safetensors' name and the one in config.json."""
SHARD = 5_000_000_000
"""Largest size of one shard in bytes, as save_pretrained has it."""
PIECE = 8 << 20
"""Bytes copied at once."""
_ALONG = ("*.json", "*.jinja", "additional_chat_templates/*.jinja", "*.model", "merges.txt", "vocab.txt", "LICENSE*")
"""Files of a base that its merged model needs as well: generation settings, tokenizer, template, licence."""
_OWN = ("config.json", SIDECAR, "model.safetensors.index.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """A checkpoint folder that was written, as `export merge` prints it."""

    path: str
    """Where it lies."""
    digest: str
    """Digest of its weights, as of any base; empty in a plan."""
    bytes: int
    """Size of its shards together."""
    dtype: str
    """f32, f16 or bf16."""
    shards: int
    """Files of weights."""
    base_digest: str
    """Digest of the base's weights."""
    adapter_digest: str | None
    """Digest of the adapter's folder; None when there was none."""
    notes: tuple[str, ...] = ()
    """What its server must be told, or what nothing proves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tensor to write."""

    name: str
    """Its name."""
    dtype: str
    """Its safetensors type."""
    shape: tuple[int, ...]
    """Its dimensions."""
    write: Callable[[BinaryIO], None]
    """Puts its bytes into a file."""

    @property
    def bytes(self) -> int:
        """Its length in the file."""
        return int(np.prod(self.shape, dtype=np.int64)) * SIZES[self.dtype]


def merge_folder(
    checkpoint: Path,
    adapter: Path | None,
    dtype: str | None,
    out: Path,
    *,
    shard: int = SHARD,
    told: Callable[[float], None] = lambda done: None,
) -> Merged:
    """Write `checkpoint` with `adapter` merged in to the folder `out`, whole or not at all. `out` must not be there yet.

    `dtype`: f32, f16 or bf16; None keeps the base's own. `shard`: most bytes of one file. `told`: gets the share done, 0 to 1.
    Raises ArtifactError for what is damaged, foreign or does not fit the type, UserError, DiskFull.
    """
    plan = _plan(checkpoint, adapter, dtype, out, shard)
    with whole_folder(out) as folder:
        _write_shards(folder, plan.shards, plan.merged.bytes, told)
        _write_config(folder, plan.source, plan.merged.dtype, untied=plan.untied)
        _copy_along(checkpoint, folder)
        made = replace(plan.merged, digest=weights_digest(folder))
        _write_sidecar(folder, made)
    return made


def plan_merge(checkpoint: Path, adapter: Path | None, dtype: str | None, out: Path) -> Merged:
    """What `merge_folder` would write, without a digest; changes nothing. Raises as it does."""
    return _plan(checkpoint, adapter, dtype, out, SHARD).merged


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What is to be written, and from what."""

    source: Source
    """The base."""
    shards: list[list[Entry]]
    """Tensors, file by file."""
    untied: bool
    """Whether tied embeddings become two tensors."""
    merged: Merged
    """The result, without its digest."""


def _plan(checkpoint: Path, adapter: Path | None, dtype: str | None, out: Path, shard: int) -> _Plan:
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is not known; known: {', '.join(DTYPES)}", fix="write --dtype bf16")
    if out.exists():
        raise UserError(f"{out} exists", fix="name another folder with --out")
    source, base_digest = open_source(checkpoint), weights_digest(checkpoint)
    read_tokenizer(checkpoint)
    part = open_adapter(adapter, source, base_digest=base_digest) if adapter else None
    kind = dtype or own_dtype(source)
    entries = sorted(_entries(source, part, DTYPES[kind][0]), key=lambda entry: (-SIZES[entry.dtype], entry.name))
    untied = source.tied and any(entry.name == OUTPUT for entry in entries)
    shards = _shards(entries, shard)
    merged = Merged(
        path=str(out), digest="", bytes=sum(entry.bytes for entry in entries), dtype=kind, shards=len(shards),
        base_digest=base_digest, adapter_digest=folder_digest(adapter) if adapter else None, notes=_notes(part, untied),
    )  # fmt: skip
    _check_room(out, merged.bytes)
    return _Plan(source=source, shards=shards, untied=untied, merged=merged)


def read_merged(folder: Path) -> Merged:
    """What the sidecar of a merged folder says, after every file was compared with it. Raises ArtifactError."""
    told = read_json(folder / SIDECAR)
    try:
        merged = Merged(path=str(folder), **{**told["merged"], "notes": tuple(told["merged"]["notes"])})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / SIDECAR}: not of a merged checkpoint ({error})") from error
    check_files(folder, recorded_files(folder))
    return merged


def recorded_files(folder: Path) -> dict[str, str]:
    """File → digest, as a folder's sidecar has them; empty where it names none. Raises ArtifactError for a broken sidecar."""
    files = read_json(folder / SIDECAR).get("files") if (folder / SIDECAR).is_file() else None
    if files is not None and not isinstance(files, dict):
        raise ArtifactError(f"{folder / SIDECAR}: files is no object")
    return {str(name): str(digest) for name, digest in (files or {}).items()}


def check_files(folder: Path, files: dict[str, str]) -> None:
    """Compare the files of a folder with recorded digests. Raises ArtifactError for the first that is not as recorded."""
    for name, digest in sorted(files.items()):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ArtifactError(f"{path}: recorded in {SIDECAR} but missing", fix="make or fetch the folder again")
        if (found := digest_file(path)) != digest:
            raise ArtifactError(
                f"{path}: its digest is {found}, recorded is {digest}: changed or damaged", fix="make or fetch the folder again"
            )


def own_dtype(source: Source) -> str:
    """The type that most of a checkpoint's weights have. Raises ArtifactError where that is none of ours."""
    sizes: dict[str, int] = {}
    for _, tensor in source.weights.places.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.end - tensor.start
    most = max(sizes, key=lambda kind: sizes[kind], default="none")
    found = next((name for name, (kind, _) in DTYPES.items() if kind == most), None)
    if found is None:
        raise ArtifactError(f"{source.folder}: its weights are {most}", fix="use the full-precision checkpoint")
    return found


def _entries(source: Source, adapter: Adapter | None, dtype: str) -> Iterator[Entry]:
    """Every tensor of the merged checkpoint."""
    both = source.tied and adapter is not None and (adapter.touches(EMBEDDING) or adapter.touches(OUTPUT))
    if both and "text_config" in source.config:
        raise ArtifactError(
            f"{source.folder}: a part on the tied embeddings of a model with several towers",
            fix="merge it with PEFT and export the merged checkpoint",
        )
    for name, (path, tensor) in source.weights.places.items():
        if name == OUTPUT and source.tied:
            continue  # transformers takes the embedding
        touched = adapter is not None and adapter.touches(name)
        if not touched and (tensor.dtype == dtype or tensor.dtype not in ("F64", *READABLE)):
            yield Entry(name=name, dtype=tensor.dtype, shape=tensor.shape, write=partial(_copy, path, tensor))
        else:
            make = partial(_made, source, adapter if touched else None, name, name)
            yield Entry(name=name, dtype=dtype, shape=tensor.shape, write=partial(_store, name, make, dtype))
    if both:
        # The adapter changes one side of tied embeddings only, as PEFT computes it: the checkpoint has both.
        make = partial(_made, source, adapter, OUTPUT, EMBEDDING)
        yield Entry(name=OUTPUT, dtype=dtype, shape=source.weights.shape(EMBEDDING), write=partial(_store, OUTPUT, make, dtype))


def _made(source: Source, adapter: Adapter | None, name: str, stored: str) -> Array:
    value = source.weights[stored]
    return value if adapter is None else adapter.apply(name, value)


def _copy(path: Path, tensor: Tensor, file: BinaryIO) -> None:
    with path.open("rb") as source:
        source.seek(tensor.start)
        left = tensor.end - tensor.start
        while left:
            piece = source.read(min(PIECE, left))
            if not piece:
                raise ArtifactError(f"{path}: it became shorter while it was read")
            file.write(piece)
            left -= len(piece)


def _store(name: str, make: Callable[[], Array], dtype: str, file: BinaryIO) -> None:
    value = np.atleast_1d(make())
    rows = max(1, PIECE // max(1, value[:1].size * 4))
    for at in range(0, len(value), rows):  # so that no second copy of a large tensor is made
        file.write(_stored(name, value[at : at + rows], dtype))


def _stored(name: str, value: Array, dtype: str) -> bytes:
    if not np.isfinite(value).all():
        raise ArtifactError(f"tensor {name} holds values that are not numbers", fix="train again with a lower learning rate")
    if dtype == "F16" and value.size and max(float(value.max()), -float(value.min())) > 65504:
        raise ArtifactError(f"tensor {name} has values above 65504, which f16 cannot hold", fix="write --dtype bf16 or f32")
    if dtype == "BF16":
        short: Array = gguf.quants.quantize(np.ascontiguousarray(value, np.float32), gguf.GGMLQuantizationType.BF16)
        return short.tobytes()
    return np.asarray(value, np.float16 if dtype == "F16" else np.float32).tobytes()


def _shards(entries: list[Entry], most: int) -> list[list[Entry]]:
    found: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if found[-1] and size + entry.bytes > most:
            found.append([])
            size = 0
        found[-1].append(entry)
        size += entry.bytes
    return found


def _write_shards(folder: Path, shards: list[list[Entry]], total: int, told: Callable[[float], None]) -> None:
    count = len(shards)
    names = [
        f"model-{number:05}-of-{count:05}.safetensors" if count > 1 else "model.safetensors" for number in range(1, count + 1)
    ]
    done = 0
    for name, entries in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            file.write(_header(entries))
            for entry in entries:
                before = file.tell()
                entry.write(file)
                if file.tell() - before != entry.bytes:
                    raise ArtifactError(
                        f"tensor {entry.name} takes {file.tell() - before} bytes where {entry.bytes} were planned"
                    )
                done += entry.bytes
                told(done / total if total else 1.0)
    if count > 1:
        placed = {entry.name: name for name, entries in zip(names, shards, strict=True) for entry in entries}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _header(entries: list[Entry]) -> bytes:
    told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in entries:
        told[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [at, at + entry.bytes]}
        at += entry.bytes
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers map the tensors: each begins where its type may
    return len(text).to_bytes(8, "little") + text


def _write_config(folder: Path, source: Source, kind: str, *, untied: bool) -> None:
    config = json.loads(json.dumps(source.config))
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in ("dtype", "torch_dtype"):
            if key in part:
                part[key] = DTYPES[kind][1]
    if not {"dtype", "torch_dtype"} & config.keys():
        config["torch_dtype"] = DTYPES[kind][1]
    if untied:
        config["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _copy_along(checkpoint: Path, folder: Path) -> None:
    for pattern in _ALONG:
        for path in sorted(checkpoint.glob(pattern)):
            if path.is_file() and path.name not in _OWN and not path.name.startswith(("adapter_", ".")):
                copy = folder / path.relative_to(checkpoint)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)


def _write_sidecar(folder: Path, made: Merged) -> None:
    tokenizer = read_tokenizer(folder)
    merged = {name: getattr(made, name) for name in made.__dataclass_fields__ if name != "path"}
    files = {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    told = {
        "merged": merged,
        "tokenizer_digest": tokenizer.digest,
        "template_digest": tokenizer.template_digest,
        "files": files,
    }
    (folder / SIDECAR).write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def _notes(adapter: Adapter | None, untied: bool) -> tuple[str, ...]:
    notes = []
    if adapter is not None and adapter.base_digest is None:
        notes.append("nothing but its dimensions says that the adapter was trained on this base")
    if untied:
        notes.append("the adapter changes one side of tied embeddings: the merged checkpoint has an output layer of its own")
    return tuple(notes)


def _check_room(out: Path, total: int) -> None:
    """Before hours of writing: whether there is room at all."""
    home = next(folder for folder in (out.absolute().parent, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(home).free
    if total > free:
        raise DiskFull(
            f"{out}: takes {total / 1e9:.1f} GB, {free / 1e9:.1f} GB are free", fix="free some space, then run it again"
        )
